/**
 * Compute a text that is the same for the same set of models.
 * @module
 */

/** Which models the server had when it was last started, and the version of the Worker that saw them. */
interface Seen {
  models: string;
  version?: string;
}

const KEY = "lifeboat.models";
const TAG_BYTES = 16;

/** The models of an instance, kept in its storage by the version of the Worker that saw them. */
export class Models {
  readonly #storage: SyncKvStorage;
  readonly #version: string | undefined;
  readonly #text: (path: string) => Promise<string>;
  #looking: Promise<void> | undefined;
  /** What stands in the storage, which is read once and not with every call; undefined until then. */
  #seen: { models: string | undefined } | undefined;

  /** `text` returns what the server answers at a path. */
  constructor(storage: SyncKvStorage, version: string | undefined, text: (path: string) => Promise<string>) {
    this.#storage = storage;
    this.#version = version;
    this.#text = text;
  }

  /** Returns the models of the last start, undefined where they aren't known, or an older Worker saw them. */
  known(): string | undefined {
    if (this.#seen === undefined) {
      const kept = this.#storage.get<Seen>(KEY);
      this.#seen = { models: kept?.version === this.#version ? kept?.models : undefined };
    }
    return this.#seen.models;
  }

  /** Forgets them: the next start may be of another image. */
  forget(): void {
    this.#looking = undefined;
    this.#seen = { models: undefined };
    this.#storage.delete(KEY);
  }

  /** Finds out, once a start, which models the server has: they are part of the image, so another start may have others. */
  looked(): Promise<void> {
    this.#looking ??= this.#look().catch((error) => {
      this.#looking = undefined;
      console.error(`the models of an instance are not known: ${error}`);
    });
    return this.#looking;
  }

  /** Asks the server for its models and each one's digest, and keeps what that comes to. */
  async #look(): Promise<void> {
    const list = await this.#text("/api/models");
    const { models } = JSON.parse(list) as { models: { name: string }[] };
    const each = await Promise.all(models.map(({ name }) => this.#text(`/api/models/${encodeURIComponent(name)}`)));
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode([list, ...each].join("\n")));
    const bytes = new Uint8Array(digest, 0, TAG_BYTES);
    const tag = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    const version = this.#version === undefined ? {} : { version: this.#version };
    this.#storage.put<Seen>(KEY, { models: tag, ...version });
    this.#seen = { models: tag };
  }
}

/**
 * Fingerprint of a server's models: equal for equal sets of models.
 * @module
 */

/** Stored fingerprint of the last start, and the version of the Worker that computed it. */
interface Seen {
  models: string;
  version?: string;
}

const KEY = "lifeboat.models";
const TAG_BYTES = 16;

/** Fingerprint of an instance's models, stored with the version of the Worker that computed it. */
export class Models {
  readonly #storage: SyncKvStorage;
  readonly #version: string | undefined;
  readonly #text: (path: string) => Promise<string>;
  #looking: Promise<void> | undefined;
  /** Cached copy of the stored value, so that requests don't read the storage; undefined until the first read. */
  #seen: { models: string | undefined } | undefined;

  /** `text` returns the body of the server's response at a path. */
  constructor(storage: SyncKvStorage, version: string | undefined, text: (path: string) => Promise<string>) {
    this.#storage = storage;
    this.#version = version;
    this.#text = text;
  }

  /** Return the fingerprint of the last start, undefined if not known or computed by another version of the Worker. */
  known(): string | undefined {
    if (this.#seen === undefined) {
      const kept = this.#storage.get<Seen>(KEY);
      this.#seen = { models: kept?.version === this.#version ? kept?.models : undefined };
    }
    return this.#seen.models;
  }

  /** Delete the fingerprint: the next start may use another image. */
  forget(): void {
    this.#looking = undefined;
    this.#seen = { models: undefined };
    this.#storage.delete(KEY);
  }

  /** Compute the fingerprint once for each start. Models are part of the image, so they can change only at a start. */
  looked(): Promise<void> {
    this.#looking ??= this.#look().catch((error) => {
      this.#looking = undefined;
      console.error(`the models of an instance are not known: ${error}`);
    });
    return this.#looking;
  }

  /** Request the model list and each model's digest from the server, and store the hash of the responses. */
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

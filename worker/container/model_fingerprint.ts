/**
 * Fingerprint of a server's models: equal for equal sets of models.
 * @module
 */

/** Stored fingerprint of the last start, and the version of the Worker that computed it. */
interface StoredFingerprint {
  models: string;
  version?: string;
}

const KEY = "lifeboat.models";
const FINGERPRINT_BYTES = 16;

/** Fingerprint of an instance's models, stored with the version of the Worker that computed it. */
export class ModelFingerprint {
  readonly #storage: SyncKvStorage;
  readonly #version: string | undefined;
  readonly #fetchText: (path: string) => Promise<string>;
  #computation: Promise<void> | undefined;
  /** Cached copy of the stored value, so that requests don't read the storage; undefined until the first read. */
  #cached: { models: string | undefined } | undefined;

  /** `text` returns the body of the server's response at a path. */
  constructor(storage: SyncKvStorage, version: string | undefined, fetchText: (path: string) => Promise<string>) {
    this.#storage = storage;
    this.#version = version;
    this.#fetchText = fetchText;
  }

  /** Return the fingerprint of the last start, undefined if not known or computed by another version of the Worker. */
  read(): string | undefined {
    if (this.#cached === undefined) {
      const stored = this.#storage.get<StoredFingerprint>(KEY);
      this.#cached = { models: stored?.version === this.#version ? stored?.models : undefined };
    }
    return this.#cached.models;
  }

  /** Delete the fingerprint: the next start may use another image. */
  clear(): void {
    this.#computation = undefined;
    this.#cached = { models: undefined };
    this.#storage.delete(KEY);
  }

  /** Compute the fingerprint once for each start. Models are part of the image, so they can change only at a start. */
  ensureComputed(): Promise<void> {
    this.#computation ??= this.#compute().catch((error) => {
      this.#computation = undefined;
      console.error(`the models of an instance could not be read: ${error}`);
    });
    return this.#computation;
  }

  /** Request the model list and each model's digest from the server, and store the hash of the responses. */
  async #compute(): Promise<void> {
    const list = await this.#fetchText("/api/models");
    const { models } = JSON.parse(list) as { models: { name: string }[] };
    const details = await Promise.all(
      models.map(({ name }) => this.#fetchText(`/api/models/${encodeURIComponent(name)}`)),
    );
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode([list, ...details].join("\n")));
    const bytes = new Uint8Array(digest, 0, FINGERPRINT_BYTES);
    const fingerprint = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    const version = this.#version === undefined ? {} : { version: this.#version };
    this.#storage.put<StoredFingerprint>(KEY, { models: fingerprint, ...version });
    this.#cached = { models: fingerprint };
  }
}

/**
 * Which models an instance has: a text that is the same for the same models, whatever instance they are on.
 * @module
 */

/** Which models the server had when it was last started, and the version of the Worker that saw them. */
interface Seen {
  models: string;
  version?: string;
}

const KEY = "lifeboat.models";
const TAG_BYTES = 16;

/** Returns the models of the last start, undefined where they aren't known, or an older Worker saw them. */
export function knownModels(storage: SyncKvStorage, version: string | undefined): string | undefined {
  const seen = storage.get<Seen>(KEY);
  return seen?.version === version ? seen?.models : undefined;
}

/** Forgets them: the next start may be of another image. */
export function forgetModels(storage: SyncKvStorage): void {
  storage.delete(KEY);
}

/** Asks the server, by `text` of a path, for its models and each one's digest, and keeps what that comes to. */
export async function lookAtModels(
  storage: SyncKvStorage,
  version: string | undefined,
  text: (path: string) => Promise<string>,
): Promise<void> {
  const list = await text("/api/models");
  const { models } = JSON.parse(list) as { models: { name: string }[] };
  const each = await Promise.all(models.map(({ name }) => text(`/api/models/${encodeURIComponent(name)}`)));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode([list, ...each].join("\n")));
  const bytes = new Uint8Array(digest, 0, TAG_BYTES);
  const tag = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  storage.put<Seen>(KEY, { models: tag, ...(version === undefined ? {} : { version }) });
}

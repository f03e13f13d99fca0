/**
 * Format an error for the log.
 * @module
 */

/** Returns the error's words, with the exit code of a container that ended while it was waited for. */
export function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? `: ${reasonOf(error.cause)}` : "";
  return `${error instanceof Error ? error.message : error}${cause}`;
}

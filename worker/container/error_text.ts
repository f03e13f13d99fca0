/**
 * Format an error for the log.
 * @module
 */

/**
 * Return the error's message and those of its causes, such as the exit code of a container that ended during its start.
 */
export function errorText(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? `: ${errorText(error.cause)}` : "";
  return `${error instanceof Error ? error.message : error}${cause}`;
}

/**
 * Every failure that the edge itself answers, as the error envelope the container's own failures have.
 * @module
 */

/** The codes the edge answers with, and their HTTP statuses. */
export const STATUS = {
  invalid_argument: 400,
  permission_denied: 403,
  not_found: 404,
  method_not_allowed: 405,
  unsupported_media_type: 415,
  internal: 500,
  unavailable: 503,
} as const;

export type Code = keyof typeof STATUS;

/** Seconds after which a caller may try again: a container that is starting answers within about three. */
export const RETRY_AFTER_S = 2;

/** Returns the headers that say when to try again, for a code that passes by itself. */
export function waits(code: Code): Record<string, string> {
  return code === "unavailable" ? { "retry-after": String(RETRY_AFTER_S) } : {};
}

/**
 * Returns the error envelope as a response; `unavailable` carries Retry-After.
 *
 * @example
 * envelope("not_found", "there is nothing at /x");
 */
export function envelope(code: Code, message: string): Response {
  return Response.json({ error: message, code }, { status: STATUS[code], headers: waits(code) });
}

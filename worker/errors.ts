/**
 * Every failure that the edge itself answers, as the error envelope the container's own failures have.
 * @module
 */

/** The codes the edge answers with, and their HTTP statuses. */
const STATUS = {
  invalid_argument: 400,
  permission_denied: 403,
  not_found: 404,
  method_not_allowed: 405,
  internal: 500,
  unavailable: 503,
} as const;

export type Code = keyof typeof STATUS;

/** Seconds after which a caller may try again: a container that is starting answers within about three. */
export const RETRY_AFTER_S = 2;

/**
 * Returns the error envelope as a response; `unavailable` carries Retry-After.
 *
 * @example
 * envelope("not_found", "there is nothing at /x");
 */
export function envelope(code: Code, message: string): Response {
  const headers: HeadersInit = code === "unavailable" ? { "retry-after": String(RETRY_AFTER_S) } : {};
  return Response.json({ error: message, code }, { status: STATUS[code], headers });
}

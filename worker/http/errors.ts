/**
 * Create the Worker's own errors, in the server's error envelope.
 * @module
 */

/** Error codes of the Worker, with their HTTP statuses. */
export const STATUS = {
  invalid_argument: 400,
  unauthenticated: 401,
  permission_denied: 403,
  not_found: 404,
  method_not_allowed: 405,
  payload_too_large: 413,
  unsupported_media_type: 415,
  resource_exhausted: 429,
  internal: 500,
  unavailable: 503,
  deadline_exceeded: 504,
} as const;

export type Code = keyof typeof STATUS;

/**
 * Seconds after which a client may retry. A starting container responds within about 3 s. The shortest period of the
 * platform's rate limits is 10 s.
 */
export const RETRY_AFTER_S: Partial<Record<Code, number>> = { unavailable: 2, resource_exhausted: 10 };

/** Return the headers for an error code: Retry-After or WWW-Authenticate. */
export function errorHeaders(code: Code): Record<string, string> {
  const retryAfterS = RETRY_AFTER_S[code];
  if (retryAfterS !== undefined) return { "retry-after": String(retryAfterS) };
  return code === "unauthenticated" ? { "www-authenticate": "Bearer" } : {};
}

/**
 * Return the error envelope as a response; `unavailable` and `resource_exhausted` have Retry-After.
 *
 * @example
 * envelope("not_found", "there is nothing at /x");
 */
export function envelope(code: Code, message: string): Response {
  return Response.json({ error: message, code }, { status: STATUS[code], headers: errorHeaders(code) });
}

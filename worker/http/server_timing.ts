/**
 * Write `Server-Timing`: the parts of a request's time (W3C Server Timing).
 * @module
 */

/** Append one part to the response's `Server-Timing`. The response's headers must be mutable. */
export function withTiming(response: Response, part: string, ms: number, description?: string): Response {
  const said = description === undefined ? "" : `;desc="${description}"`;
  response.headers.append("server-timing", `${part};dur=${ms}${said}`);
  return response;
}

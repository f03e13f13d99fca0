/**
 * Write `Server-Timing`: the parts of a request's time (W3C Server Timing).
 * @module
 */

/** Adds a part to what an answer says already; its headers must be changeable. */
export function withTiming(response: Response, part: string, ms: number, description?: string): Response {
  const said = description === undefined ? "" : `;desc="${description}"`;
  response.headers.append("server-timing", `${part};dur=${ms}${said}`);
  return response;
}

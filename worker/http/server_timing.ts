/**
 * Write `Server-Timing`: the parts of a request's time (W3C Server Timing).
 * @module
 */

/** Append one part to the response's `Server-Timing`. The response's headers must be mutable. */
export function addServerTiming(response: Response, part: string, ms: number, description?: string): Response {
  const descriptionParameter = description === undefined ? "" : `;desc="${description}"`;
  response.headers.append("server-timing", `${part};dur=${ms}${descriptionParameter}`);
  return response;
}

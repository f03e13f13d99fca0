/**
 * The caller's request to the container's, and the container's answer to the caller's: nothing of the platform shows.
 * @module
 */
import { isCall, refuser } from "./rpc";

export const REQUEST_ID = "x-request-id";

/**
 * Headers that would steer the platform or the hop, not the model: the Container class obeys a caller's
 * `cf-container-target-port`, an Upgrade would hold a connection that no route of ours knows, and the runtime, which has
 * answered an Expect itself, would take the server's `100 Continue` for its answer.
 */
const STRIPPED = [
  "cf-container-target-port",
  "connection",
  "expect",
  "keep-alive",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "upgrade",
];

const SOUND_ID = /^[\w.:/+=-]{1,128}$/;

/** Returns the id this request is known by: the caller's own where it is sound, else the platform's ray, else a new one. */
export function requestId(request: Request): string {
  const given = request.headers.get(REQUEST_ID);
  if (given !== null && SOUND_ID.test(given)) return given;
  const ray = request.headers.get("cf-ray");
  return ray !== null && SOUND_ID.test(ray) ? ray : crypto.randomUUID();
}

/**
 * Returns the request as the container gets it: path, query, method and body unchanged and the body not held. Its answer is
 * packed as the caller accepts it.
 */
export function forwarded(request: Request, id: string): Request {
  const headers = new Headers(request.headers);
  for (const name of STRIPPED) headers.delete(name);
  headers.set(REQUEST_ID, id);
  const accepted = request.cf?.clientAcceptEncoding; // the platform has put its own in place of the caller's
  if (typeof accepted === "string") headers.set("accept-encoding", accepted || "identity");
  return new Request(request, { headers, redirect: "manual" });
}

/**
 * Returns the container's answer, unless it is the platform's: those failures are plain text with one of three statuses
 * (no instance, too many starts, failed to start, disconnected). They become `unavailable`, with Retry-After.
 *
 * The server's own failures are JSON, but that it tells a call of which it doesn't know the protocol (404, 405, 415) in
 * plain text: such a one is told by its status. Anywhere else plain text is not the server's, whatever its status.
 */
export async function answered(request: Request, response: Response): Promise<Response> {
  const isJson = (response.headers.get("content-type") ?? "").startsWith("application/json");
  const isCallRefused = response.status < 500 && response.status !== 429 && isCall(request);
  if (response.status < 400 || isJson || isCallRefused) return response;
  const reason = (await response.text()).split("\n", 1)[0] ?? "";
  console.error(`platform failure ${response.status}: ${reason}`);
  return refuser(request)("unavailable", "no container instance can answer now; try again");
}

/**
 * The caller's request to the container's, and whose words an answer is: the server's, or the platform's.
 * @module
 */
import { type Failure, stripHop } from "./hop";
import { decoded, isCall } from "./routes";

export const REQUEST_ID = "x-request-id";

/**
 * Headers that would steer the platform or the hop, not the model: the Container class obeys a caller's
 * `cf-container-target-port`, an Upgrade would hold a connection that no route of ours knows, and the runtime, which has
 * answered an Expect itself, would take the server's `100 Continue` for its answer. Who the caller is, the door has asked.
 */
const STRIPPED = [
  "authorization",
  "cf-container-target-port",
  "connection",
  "expect",
  "keep-alive",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "upgrade",
  "x-api-key",
];

const SOUND_ID = /^[\w.:/+=-]{1,128}$/;

/** Returns the id this request is known by: the caller's own where it is sound, else the platform's ray, else a new one. */
export function requestId(request: Request): string {
  const given = request.headers.get(REQUEST_ID);
  if (given !== null && SOUND_ID.test(given)) return given;
  const ray = request.headers.get("cf-ray");
  return ray !== null && SOUND_ID.test(ray) ? ray : crypto.randomUUID();
}

/** Returns the headers as the container gets them. Its answer is packed as the caller accepts it. */
export function forwardedHeaders(request: Request, id: string): Headers {
  const headers = new Headers(request.headers);
  for (const name of STRIPPED) headers.delete(name);
  stripHop(headers);
  headers.set(REQUEST_ID, id);
  const accepted = request.cf?.clientAcceptEncoding; // the platform has put its own in place of the caller's
  if (typeof accepted === "string") headers.set("accept-encoding", accepted || "identity");
  return headers;
}

/**
 * Returns `gone` where an answer is the platform's: its failures are plain text with one of three statuses (no instance,
 * too many starts, failed to start or disconnected).
 *
 * The server's own failures are JSON, but that it tells a call of which it doesn't know the protocol (404, 405, 415) in
 * plain text: such a one is told by its status. Anywhere else plain text is not the server's, whatever its status.
 */
export function platformFailure(request: Request, response: Response): Failure | undefined {
  if (response.status < 400) return undefined;
  const isJson = (response.headers.get("content-type") ?? "").startsWith("application/json");
  const isCallRefused = response.status < 500 && response.status !== 429 && isCall(decoded(request) ?? "");
  return isJson || isCallRefused ? undefined : "gone";
}

/** Returns whether the server itself says that it can't take the call now, as another instance may. */
export function isRefused(response: Response): boolean {
  const status = Number(response.headers.get("grpc-status") ?? 0); // gRPC-Web, no message: 8 resource_exhausted, 14 unavailable
  return response.status === 429 || response.status === 503 || status === 8 || status === 14;
}

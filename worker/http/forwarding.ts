/**
 * Make the container's request from the client's, and tell the server's responses from the platform's.
 * @module
 */
import { type Failure, stripHop } from "./internal_headers";
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

/** Headers that hold a number, and the digits and unit that it takes at most. */
const NUMBERS = [
  "connect-timeout-ms",
  "content-length",
  "grpc-timeout",
  "inference-header-content-length",
  "x-request-timeout-ms",
];
const NUMBER_CHARS = 20;

/** Returns what is wrong with a header that holds a number, undefined where nothing is that shows here. */
export function wrongHeader(request: Request): string | undefined {
  const name = NUMBERS.find((each) => (request.headers.get(each) ?? "").length > NUMBER_CHARS);
  return name && `${name}: expected a number of at most ${NUMBER_CHARS} characters`;
}

/** Returns the trace context (W3C Trace Context, section 3.2), undefined where it is none: it is logged. */
export function traceparent(request: Request): string | undefined {
  const given = request.headers.get("traceparent") ?? "";
  return /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(given) ? given : undefined;
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

/** Returns what the Container class says in the server's place, undefined where the answer is the server's. */
export async function containerFailure(response: Response): Promise<string | undefined> {
  const isPlain = (response.headers.get("content-type") ?? "").startsWith("text/plain");
  return response.status === 500 && isPlain ? response.text() : undefined;
}

/** Returns whether the Container class says that the connection broke under the call: the server may have ended by it. */
export function isDisconnected(words: string): boolean {
  return words.includes("suddenly disconnected");
}

/** Returns whether the server itself says that it can't take the call now, as another instance may. */
export function isRefused(response: Response): boolean {
  const status = Number(response.headers.get("grpc-status") ?? 0); // gRPC-Web, no message: 8 resource_exhausted, 14 unavailable
  return response.status === 429 || response.status === 503 || status === 8 || status === 14;
}

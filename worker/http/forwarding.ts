/**
 * Build the container's request from the client's; distinguish the server's responses from the platform's.
 * @module
 */
import { type Failure, stripInternalHeaders } from "./internal_headers";
import { decodePath, isRpcPath } from "./routes";

export const REQUEST_ID = "x-request-id";

/**
 * Headers that are not forwarded, because they control the connection or the platform.
 *
 * - The Container class obeys a client's `cf-container-target-port`.
 * - An Upgrade would hold a connection that no route supports.
 * - The runtime responds to Expect itself, and would take the server's `100 Continue` for the final response.
 * - Authentication has already used the credentials.
 */
const REMOVED_HEADERS = [
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

const VALID_ID = /^[\w.:/+=-]{1,128}$/;

/** Return the request id: the client's if valid, else the platform's ray id if valid, else a new UUID. */
export function requestId(request: Request): string {
  const clientId = request.headers.get(REQUEST_ID);
  if (clientId !== null && VALID_ID.test(clientId)) return clientId;
  const ray = request.headers.get("cf-ray");
  return ray !== null && VALID_ID.test(ray) ? ray : crypto.randomUUID();
}

/** Headers whose value is a number, with or without a unit. */
const NUMERIC_HEADERS = [
  "connect-timeout-ms",
  "content-length",
  "grpc-timeout",
  "inference-header-content-length",
  "x-request-timeout-ms",
];
/** Maximum characters of such a value. */
const MAX_NUMBER_CHARS = 20;

/** Return the error message for the first numeric header that is too long, undefined if there is none. */
export function numericHeaderError(request: Request): string | undefined {
  const name = NUMERIC_HEADERS.find((header) => (request.headers.get(header) ?? "").length > MAX_NUMBER_CHARS);
  return name && `${name}: expected a number of at most ${MAX_NUMBER_CHARS} characters`;
}

/** Return `traceparent` if valid (W3C Trace Context, section 3.2), else undefined. Only a valid value is logged. */
export function traceparent(request: Request): string | undefined {
  const value = request.headers.get("traceparent") ?? "";
  return /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(value) ? value : undefined;
}

/** Return the headers of the container's request. They ask for a response in an encoding that the client accepts. */
export function forwardedHeaders(request: Request, id: string): Headers {
  const headers = new Headers(request.headers);
  for (const name of REMOVED_HEADERS) headers.delete(name);
  stripInternalHeaders(headers);
  headers.set(REQUEST_ID, id);
  // The platform replaces the client's Accept-Encoding with its own.
  const acceptedEncodings = request.cf?.clientAcceptEncoding;
  if (typeof acceptedEncodings === "string") headers.set("accept-encoding", acceptedEncodings || "identity");
  return headers;
}

/**
 * Return `gone` if a response is the platform's error, else undefined. The platform's errors are plain text: no
 * instance, too many starts, failed to start, disconnected.
 *
 * The server's errors are JSON, with one exception: it rejects an RPC of an unknown protocol in plain text with 404,
 * 405 or 415. On an RPC path the status therefore decides. On any other path a plain text error is the platform's,
 * whatever its status.
 */
export function platformFailure(request: Request, response: Response): Failure | undefined {
  if (response.status < 400) return undefined;
  const isJson = (response.headers.get("content-type") ?? "").startsWith("application/json");
  const isRpcRejection = response.status < 500 && response.status !== 429 && isRpcPath(decodePath(request) ?? "");
  return isJson || isRpcRejection ? undefined : "gone";
}

/** Return the text of the Container class's own error response, undefined if the response is the server's. */
export async function containerErrorText(response: Response): Promise<string | undefined> {
  const isPlain = (response.headers.get("content-type") ?? "").startsWith("text/plain");
  return response.status === 500 && isPlain ? response.text() : undefined;
}

/** Return whether the Container class reports a lost connection: the request may have ended the server. */
export function isConnectionLost(errorText: string): boolean {
  return errorText.includes("suddenly disconnected");
}

/** Return whether the server rejected the request for overload or shutdown, so that another instance may accept it. */
export function isTemporaryRejection(response: Response): boolean {
  // gRPC-Web without a message: 8 resource_exhausted, 14 unavailable
  const status = Number(response.headers.get("grpc-status") ?? 0);
  return response.status === 429 || response.status === 503 || status === 8 || status === 14;
}

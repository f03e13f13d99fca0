/**
 * Create the Worker's errors for Connect and gRPC-Web.
 * @module
 */
import { type Code, envelope, errorHeaders, STATUS } from "./errors";
import { decodePath, isRpcPath } from "./routes";

/** Create an error response in the protocol of a request. */
export type Reject = (code: Code, message: string) => Response;

/** Connect's name and gRPC's number of each code. An unknown path or method is `unimplemented`. */
const RPC_CODES: Record<Code, [name: string, number: number]> = {
  invalid_argument: ["invalid_argument", 3],
  unauthenticated: ["unauthenticated", 16],
  permission_denied: ["permission_denied", 7],
  not_found: ["unimplemented", 12],
  method_not_allowed: ["unimplemented", 12],
  payload_too_large: ["resource_exhausted", 8],
  unsupported_media_type: ["unimplemented", 12],
  resource_exhausted: ["resource_exhausted", 8],
  internal: ["internal", 13],
  unavailable: ["unavailable", 14],
  deadline_exceeded: ["deadline_exceeded", 4],
};

/** Maximum characters of a content type that is repeated in a response. */
const MAX_TYPE_CHARS = 64;

/** The flag of the last message of a Connect stream (Connect, "Streaming-Response"). */
const END_STREAM = 2;

/** Return whether a request is native gRPC, whose trailers a Worker can't forward. */
export function isNativeGrpc(request: Request): boolean {
  return /^application\/grpc(\+|$)/.test(contentType(request));
}

/**
 * Return the function that creates error responses for `request`: gRPC-Web or a Connect stream by its content type,
 * unary Connect on an RPC path, else the error envelope.
 *
 * @example
 * refuser(request)("unavailable", "no container instance can be reached now; try again");
 */
export function rejectionFor(request: Request): Reject {
  const type = contentType(request);
  if (/^application\/grpc-web(-text)?(\+|$)/.test(type)) return (code, message) => grpcWebError(type, code, message);
  if (/^application\/connect\+/.test(type)) return (code, message) => connectStreamError(type, code, message);
  return isRpcPath(decodePath(request) ?? "") ? connectError : envelope;
}

/** Return the media type of a request, without parameters; empty if it is too long to be a known one. */
function contentType(request: Request): string {
  const type = (request.headers.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
  return type.length > MAX_TYPE_CHARS ? "" : type;
}

/** Return a unary Connect error: JSON for every codec. `payload_too_large` has the status of `resource_exhausted`. */
function connectError(code: Code, message: string): Response {
  const status = code === "payload_too_large" ? STATUS.resource_exhausted : STATUS[code];
  return Response.json({ code: RPC_CODES[code][0], message }, { status, headers: errorHeaders(code) });
}

/** Return a Connect stream's error: status 200, with the error in the end-of-stream message. */
function connectStreamError(type: string, code: Code, message: string): Response {
  const error = { code: RPC_CODES[code][0], message };
  const metadata = Object.fromEntries(Object.entries(errorHeaders(code)).map(([name, value]) => [name, [value]]));
  const payload = new TextEncoder().encode(JSON.stringify({ error, metadata }));
  const body = new Uint8Array(5 + payload.length);
  const header = new DataView(body.buffer);
  header.setUint8(0, END_STREAM);
  header.setUint32(1, payload.length); // big-endian
  body.set(payload, 5);
  return new Response(body, { headers: { "content-type": type } });
}

/** Return a gRPC-Web error: without a message, the trailers are in the headers (PROTOCOL-WEB, "Trailers-Only"). */
function grpcWebError(type: string, code: Code, message: string): Response {
  return new Response(null, { headers: { "content-type": type, ...grpcStatus(code, message), ...errorHeaders(code) } });
}

/** Return the error for native gRPC: a status that its clients read as an error, and the protocols to use. */
export function nativeGrpcError(): Response {
  const message = "native gRPC does not work through the Worker, because trailers are dropped: use Connect or gRPC-Web";
  const response = connectError("unsupported_media_type", message);
  for (const [name, value] of Object.entries(grpcStatus("unsupported_media_type", message))) {
    response.headers.set(name, value);
  }
  return response;
}

/**
 * Return a status as headers. The message is percent-encoded except for printable ASCII (gRPC over HTTP2,
 * "Status-Message").
 */
function grpcStatus(code: Code, message: string): Record<string, string> {
  const encoded = message.toWellFormed().replace(/[^ -$&-~]/gu, encodeURIComponent);
  return { "grpc-status": String(RPC_CODES[code][1]), "grpc-message": encoded };
}

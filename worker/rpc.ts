/**
 * Calls of Connect and gRPC-Web: which paths they have, which of them never pass, and how a caller is told so.
 * @module
 */
import { type Code, envelope, STATUS, waits } from "./errors";

/** Says a failure of the edge's own so that its caller can read it. */
export type Refuse = (code: Code, message: string) => Response;

/** What a call comes by; GET is Connect's, for methods without side effects. */
const METHODS = ["GET", "HEAD", "POST"];

/** Each code on the wires of RPC: Connect's name and gRPC's number. A path or method that isn't there is unimplemented. */
const CODES: Record<Code, [name: string, number: number]> = {
  invalid_argument: ["invalid_argument", 3],
  permission_denied: ["permission_denied", 7],
  not_found: ["unimplemented", 12],
  method_not_allowed: ["unimplemented", 12],
  unsupported_media_type: ["unimplemented", 12],
  internal: ["internal", 13],
  unavailable: ["unavailable", 14],
};

/** /package.Service/Method, in protobuf's names: as the server has it, but that no other name starts a container. */
const CALL = /^\/[A-Za-z]\w*(\.[A-Za-z]\w*)+\/[A-Za-z]\w*$/;
const CONTROL = /^\/inference\.GRPCInferenceService\/RepositoryModel(Load|Unload)$/;

/** The flag of the last message of a Connect stream (Connect, "Streaming-Response"). */
const END_STREAM = 2;

/** Returns the path as the server will read it, undefined where it is no UTF-8: an encoded letter must not pass a rule. */
export function decoded(request: Request): string | undefined {
  try {
    return decodeURIComponent(new URL(request.url).pathname);
  } catch {
    return undefined;
  }
}

/** Returns whether a request's path is that of a call. */
export function isCall(request: Request): boolean {
  return CALL.test(decoded(request) ?? "");
}

/** Returns what the edge itself answers to a call, undefined where the call may pass. */
export function refusal(request: Request): Response | undefined {
  const path = decoded(request) ?? "";
  const refuse = refuser(request);
  if (/^application\/grpc(\+|$)/.test(contentType(request))) return native();
  if (CONTROL.test(path)) return refuse("permission_denied", "model control is not reachable through the edge");
  if (METHODS.includes(request.method)) return undefined;
  const response = refuse(
    "method_not_allowed",
    `${path.slice(0, 128)} takes ${METHODS.join(", ")}, not ${request.method}`,
  );
  response.headers.set("allow", METHODS.join(", "));
  return response;
}

/**
 * Returns how the caller of `request` is told of a failure: by its content type gRPC-Web or a Connect stream, on the path
 * of a call Connect, else the error envelope.
 *
 * @example
 * refuser(request)("unavailable", "no container instance can be reached now; try again");
 */
export function refuser(request: Request): Refuse {
  const type = contentType(request);
  if (/^application\/grpc-web(-text)?(\+|$)/.test(type)) return (code, message) => grpcWeb(type, code, message);
  if (/^application\/connect\+/.test(type)) return (code, message) => connectStream(type, code, message);
  return isCall(request) ? connect : envelope;
}

function contentType(request: Request): string {
  return (request.headers.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

/** A unary call of Connect: JSON whatever the codec, with the status of the code. */
function connect(code: Code, message: string): Response {
  return Response.json({ code: CODES[code][0], message }, { status: STATUS[code], headers: waits(code) });
}

/** A stream of Connect: always 200, and how it ended in its last message. */
function connectStream(type: string, code: Code, message: string): Response {
  const error = { code: CODES[code][0], message };
  const metadata = Object.fromEntries(Object.entries(waits(code)).map(([name, value]) => [name, [value]]));
  const said = new TextEncoder().encode(JSON.stringify({ error, metadata }));
  const body = new Uint8Array(5 + said.length);
  const head = new DataView(body.buffer);
  head.setUint8(0, END_STREAM);
  head.setUint32(1, said.length); // big-endian
  body.set(said, 5);
  return new Response(body, { headers: { "content-type": type } });
}

/** gRPC-Web: what would be trailers stands in the headers where there is no message (PROTOCOL-WEB, "Trailers-Only"). */
function grpcWeb(type: string, code: Code, message: string): Response {
  return new Response(null, { headers: { "content-type": type, ...grpcStatus(code, message), ...waits(code) } });
}

/** Native gRPC, whose trailers no Worker passes on: a status that its clients don't take for an answer, and why. */
function native(): Response {
  const message = "native gRPC can't pass the edge, which drops its trailers: use Connect or gRPC-Web";
  const response = connect("unsupported_media_type", message);
  for (const [name, value] of Object.entries(grpcStatus("unsupported_media_type", message))) {
    response.headers.set(name, value);
  }
  return response;
}

/** A status in headers; of its message all but printable ASCII is percent-encoded (gRPC over HTTP2, "Status-Message"). */
function grpcStatus(code: Code, message: string): Record<string, string> {
  const encoded = message.toWellFormed().replace(/[^ -$&-~]/gu, encodeURIComponent);
  return { "grpc-status": String(CODES[code][1]), "grpc-message": encoded };
}

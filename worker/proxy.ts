/**
 * The caller's request to the container's, and the container's answer to the caller's: nothing of the platform shows.
 * @module
 */
import { envelope } from "./errors";

export const REQUEST_ID = "x-request-id";

/**
 * Headers that would steer the platform or the hop, not the model: the Container class obeys a caller's
 * `cf-container-target-port`, and an Upgrade would hold a connection that no route of ours knows.
 */
const STRIPPED = [
  "cf-container-target-port",
  "connection",
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

/** Returns the request as the container gets it: path, query, method and body unchanged and the body not held. */
export function forwarded(request: Request, id: string): Request {
  const headers = new Headers(request.headers);
  for (const name of STRIPPED) headers.delete(name);
  headers.set(REQUEST_ID, id);
  return new Request(request, { headers, redirect: "manual" });
}

/**
 * Returns the container's answer, unless it is the platform's: those failures are plain text (no instance, too many
 * starts, failed to start, disconnected), the server's own are always JSON. They become 503 with Retry-After.
 */
export async function answered(response: Response): Promise<Response> {
  const ours = response.status < 400 || (response.headers.get("content-type") ?? "").startsWith("application/json");
  if (ours) return response;
  const reason = (await response.text()).split("\n", 1)[0] ?? "";
  console.error(`platform failure ${response.status}: ${reason}`);
  return envelope("unavailable", "no container instance can answer now; try again");
}

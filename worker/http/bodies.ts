/**
 * Limit the request bodies that the Worker holds for retries and the cache.
 * @module
 */

import { type Settings, settingsOf } from "../settings";
import { DEFAULT_TIMEOUT_MS, type Deadline } from "./deadline";
import type { Route } from "./routes";
import { type Reject, rejectionFor } from "./rpc_errors";

/** Maximum bytes of a held body. A larger body is streamed, and its request is sent only once. */
export const MAX_HELD_BODY_BYTES = 262_144;

/** Share of the total limit that is available to large bodies. */
const LARGE_SHARE = 0.75;
/** Maximum bytes of a small body. */
const SMALL_BYTES = 16_384;

/** A held body; null if the request has no body, undefined if the body is streamed. */
export type Body = ArrayBuffer | null | undefined;

/**
 * Count the bytes of bodies that one Worker isolate holds. Each hold expires, because the runtime may drop the handler
 * of a disconnected client before it releases its hold.
 */
export class HeldBodies {
  readonly #maxBytes: number;
  readonly #holds = new Set<{ bytes: number; until: number }>();
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /**
   * Reserve bytes at `now` (ms). Returns the function that releases them, undefined if they exceed the limit. Large
   * bodies leave a part of the limit to small ones, so that a few clients with large bodies don't block all other
   * clients.
   */
  hold(bytes: number, now: number): (() => void) | undefined {
    const limit = bytes > SMALL_BYTES ? this.#maxBytes * LARGE_SHARE : this.#maxBytes;
    if (this.#bytes + bytes > limit) this.#expire(now);
    if (this.#bytes + bytes > limit) return undefined;
    const hold = { bytes, until: now + DEFAULT_TIMEOUT_MS };
    this.#holds.add(hold);
    this.#bytes += bytes;
    return () => this.#release(hold);
  }

  #release(hold: { bytes: number; until: number }): void {
    if (this.#holds.delete(hold)) this.#bytes -= hold.bytes;
  }

  #expire(now: number): void {
    for (const hold of this.#holds) if (hold.until <= now) this.#release(hold);
  }
}

const heldBodiesByEnv = new WeakMap<Env, HeldBodies>();

/** Return the byte counter of this Worker isolate. */
export function heldBodies(env: Env): HeldBodies {
  let held = heldBodiesByEnv.get(env);
  if (held === undefined) {
    held = new HeldBodies(settingsOf(env).maxHeldBytes);
    heldBodiesByEnv.set(env, held);
  }
  return held;
}

/**
 * Return the length of a body to hold, undefined if the body is not held. A body without Content-Length is streamed,
 * because its client may wait for the response before it sends the end of the body.
 */
function lengthToHold(request: Request, route: Route): number | undefined {
  const length = request.headers.get("content-length");
  if (route.isFile || request.body === null || length === null) return undefined;
  return Number(length) <= MAX_HELD_BODY_BYTES ? Number(length) : undefined;
}

/** A body and the function that releases its bytes, or the error response for an incomplete or late body. */
export type BodyResult = { body: Body; release: () => void; response?: never } | { response: Response };

/**
 * Read the body of a request if it is to be held. A request that exceeds MAX_HELD_BYTES is rejected and not streamed: a
 * streamed body would take as much of the runtime's memory.
 */
export async function readBody(
  request: Request,
  route: Route,
  held: HeldBodies,
  { bodyTimeoutMs }: Settings,
  deadline: Deadline,
): Promise<BodyResult> {
  const length = lengthToHold(request, route);
  if (length === undefined) return { body: request.body === null ? null : undefined, release: () => {} };
  const release = held.hold(length, Date.now());
  if (release === undefined) {
    return {
      response: rejectionFor(request)("resource_exhausted", "too many request bodies are being received; try again"),
    };
  }
  const timeoutMs = Math.min(bodyTimeoutMs, deadline.expiresAt - Date.now());
  const body = await readWithTimeout(request.arrayBuffer(), timeoutMs);
  if (body instanceof ArrayBuffer) return { body, release };
  release();
  return { response: bodyErrorResponse(rejectionFor(request), body, deadline.expiresAt <= Date.now(), bodyTimeoutMs) };
}

/** Return the response to an incomplete or late body: 504 after the client's deadline, 408 after BODY_TIMEOUT_MS. */
function bodyErrorResponse(
  reject: Reject,
  cause: "timeout" | "incomplete",
  isPastDeadline: boolean,
  bodyTimeoutMs: number,
): Response {
  if (cause === "incomplete") return reject("invalid_argument", "body: it ended before its stated length");
  if (isPastDeadline) return reject("deadline_exceeded", "body: it did not arrive within the deadline");
  const response = reject("deadline_exceeded", `body: it did not arrive within ${bodyTimeoutMs / 1_000} s`);
  const status = response.status === 504 ? 408 : response.status; // gRPC-Web and Connect streams keep their own status
  return new Response(response.body, { status, headers: response.headers });
}

async function readWithTimeout(
  body: Promise<ArrayBuffer>,
  ms: number,
): Promise<ArrayBuffer | "timeout" | "incomplete"> {
  let timer: number | null = null;
  const timeout = new Promise<"timeout">((resolve) => {
    timer = setTimeout(() => resolve("timeout"), Math.max(0, ms));
  });
  try {
    return await Promise.race([body.catch((): "incomplete" => "incomplete"), timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Limit the request bodies that the Worker holds for retries and the cache.
 * @module
 */

import { type Settings, settingsOf } from "../settings";
import { type Deadline, PATIENCE_MS } from "./deadline";
import type { Route } from "./routes";
import { type Refuse, refuser } from "./rpc_errors";

/** Bytes of a body that is held; a larger one is streamed, and sent once. */
export const KEPT_BYTES = 262_144;

/** The share of the total that bodies above this size may take. */
const LARGE_SHARE = 0.75;
const SMALL_BYTES = 16_384;

/** A body: null where there is none, undefined where it is streamed. */
export type Body = ArrayBuffer | null | undefined;

/** Bytes held by one copy of the Worker. Each hold ends by itself, for the runtime may drop the work of a client that disconnects. */
export class HeldBodies {
  readonly #most: number;
  readonly #holds = new Set<{ bytes: number; until: number }>();
  #bytes = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /**
   * Returns how to give the bytes back, undefined where so many more may not be held at `now` (ms). Large bodies leave a
   * part of the total to small ones, so that a few clients with large ones do not keep all others out.
   */
  hold(bytes: number, now: number): (() => void) | undefined {
    const most = bytes > SMALL_BYTES ? this.#most * LARGE_SHARE : this.#most;
    if (this.#bytes + bytes > most) this.#expire(now);
    if (this.#bytes + bytes > most) return undefined;
    const hold = { bytes, until: now + PATIENCE_MS };
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

const known = new WeakMap<Env, HeldBodies>();

/** Returns the bodies that this copy of the Worker holds. */
export function heldBodies(env: Env): HeldBodies {
  let held = known.get(env);
  if (held === undefined) {
    held = new HeldBodies(settingsOf(env).maxHeldBytes);
    known.set(env, held);
  }
  return held;
}

/**
 * Returns the length of a body that is to be held: of a stated length within the limit. One whose length isn't stated is streamed,
 * as its sender may wait for the answer before the end of it.
 */
function lengthToHold(request: Request, route: Route): number | undefined {
  const length = request.headers.get("content-length");
  if (route.isFile || request.body === null || length === null) return undefined;
  return Number(length) <= KEPT_BYTES ? Number(length) : undefined;
}

/** A body that was read, and how to give its bytes back; or the response to a client that did not send it whole, or in time. */
export type Read = { body: Body; release: () => void; response?: never } | { response: Response };

/**
 * Reads the body of a request where it is to be held. Beyond MAX_HELD_BYTES the request is rejected: a streamed body would
 * take as much of the runtime's memory.
 */
export async function readBody(
  request: Request,
  route: Route,
  held: HeldBodies,
  { bodyTimeoutMs }: Settings,
  deadline: Deadline,
): Promise<Read> {
  const length = lengthToHold(request, route);
  if (length === undefined) return { body: request.body === null ? null : undefined, release: () => {} };
  const release = held.hold(length, Date.now());
  if (release === undefined) {
    return {
      response: refuser(request)("resource_exhausted", "too many request bodies are being received; try again"),
    };
  }
  const timeoutMs = Math.min(bodyTimeoutMs, deadline.at - Date.now());
  const body = await within(request.arrayBuffer(), timeoutMs);
  if (body instanceof ArrayBuffer) return { body, release };
  release();
  return { response: unread(refuser(request), body, deadline.at <= Date.now(), bodyTimeoutMs) };
}

/** The response to a body that didn't come: 504 where the client's own deadline is over, 408 where its time is. */
function unread(refuse: Refuse, why: "late" | "broken", isOver: boolean, bodyTimeoutMs: number): Response {
  if (why === "broken") return refuse("invalid_argument", "body: it ended before its stated length");
  if (isOver) return refuse("deadline_exceeded", "body: it did not arrive within the deadline");
  const response = refuse("deadline_exceeded", `body: it did not arrive within ${bodyTimeoutMs / 1_000} s`);
  const status = response.status === 504 ? 408 : response.status; // gRPC-Web and Connect streams have their own
  return new Response(response.body, { status, headers: response.headers });
}

async function within(reading: Promise<ArrayBuffer>, ms: number): Promise<ArrayBuffer | "late" | "broken"> {
  let timer: number | null = null;
  const late = new Promise<"late">((resolve) => {
    timer = setTimeout(() => resolve("late"), Math.max(0, ms));
  });
  try {
    return await Promise.race([reading.catch((): "broken" => "broken"), late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * What Worker and Durable Object say to each other, in headers that no caller can send and none is shown.
 *
 * Each is a word more that may be missing: an older Worker, or an older image, says and reads fewer of them, and is
 * answered all the same.
 * @module
 */
import type { Suspicion } from "../pool/suspicion";

const PREFIX = "x-lifeboat-";

/** How long the server, once it runs, may take to begin its answer. */
export const ATTEMPT_MS = "x-lifeboat-attempt-ms";
/** `no`: who finds the instance asleep doesn't wait for its start, for another one is ready. */
export const WAIT = "x-lifeboat-wait";
/** `yes`: the cron's question, upon which an instance that isn't ready is started again. */
export const CHECK = "x-lifeboat-check";

/** Why the server didn't answer. */
export const FAILURE = "x-lifeboat-failure";
/** Beside `hung` and `gone`: whether the call can be at fault (`alone`, `shared`, `none`). Absent: it is not known. */
export const SUSPICION = "x-lifeboat-suspicion";
/** Milliseconds that a call waited for its instance's start. */
export const START_MS = "x-lifeboat-start-ms";
/** `1` asks the server to report how busy it is, and how long the model took. */
export const REPORT = "x-lifeboat-report";
/** The calls that the server has under way, this one among them, and their rows: `3/120`. */
export const LOAD = "x-lifeboat-load";

/** Which models the server has: the same text for the same models, on whatever instance. */
export const MODELS = "x-lifeboat-models";

/** When an answer was put into the edge cache, in milliseconds since 1970: kept with it. */
export const KEPT_AT = "x-lifeboat-kept-at";

/** `asleep`: it doesn't run, and is being started, or its health is being checked. `start`: its start failed. `hung`: it didn't answer in time. `gone`: its connection broke. */
export type Failure = "asleep" | "start" | "hung" | "gone";

/** Of an instance that has had this long and doesn't answer it may be said that it hangs. */
const TELLING_MS = 500;

/** Rows that the server runs at a time: so many are one call more. */
const BATCH_ROWS = 256;

/** Takes away every header that only the hop may carry. */
export function stripHop(headers: Headers): void {
  for (const name of [...headers.keys()]) if (name.startsWith(PREFIX)) headers.delete(name);
}

/**
 * Returns whether an attempt has so little time that its end says nothing of the instance: a caller in a hurry must not
 * have instances doubted, avoided, and others started in their place.
 */
export function isHurried(attemptMs: number, attemptTimeoutMs: number): boolean {
  return attemptMs < Math.min(attemptTimeoutMs, TELLING_MS);
}

/** Returns what the Durable Object answers in the server's place; the reason is for the log. */
export function failure(kind: Failure, reason: string, suspicion?: Suspicion): Response {
  const headers = { [FAILURE]: kind, ...(suspicion === undefined ? {} : { [SUSPICION]: suspicion }) };
  return new Response(reason, { status: 503, headers });
}

/** Returns the calls under way at an instance, this one apart, by its report; undefined where there is none to read. */
export function reportedLoad(headers: Headers): number | undefined {
  const [, calls, rows] = /^(\d{1,9})(?:\/(\d{1,9}))?$/.exec(headers.get(LOAD) ?? "") ?? [];
  if (calls === undefined) return undefined;
  return Math.max(0, Number(calls) - 1) + Math.floor(Number(rows ?? 0) / BATCH_ROWS);
}

/**
 * Internal headers between Worker, Durable Object and server. They are removed from requests and responses of clients.
 *
 * Each header is optional: an older Worker or an older image may neither send nor read it.
 * @module
 */
import type { Suspicion } from "../pool/suspicion";

const PREFIX = "x-lifeboat-";

/** Request: milliseconds that a running server may take to begin its response. */
export const ATTEMPT_MS_HEADER = "x-lifeboat-attempt-ms";
/** Request: `no` if the request must not wait for a start, because another instance is ready. */
export const WAIT_HEADER = "x-lifeboat-wait";
/** Request: `yes` for the cron's check, which restarts an instance that is not ready. */
export const CHECK_HEADER = "x-lifeboat-check";

/** Response: the `Failure`, why there is no response of the server. */
export const FAILURE_HEADER = "x-lifeboat-failure";
/**
 * Response, with `hung` and `gone`: the `Suspicion`, whether the request may have caused the failure. Absent if not
 * known.
 */
export const SUSPICION_HEADER = "x-lifeboat-suspicion";
/** Response: milliseconds that the request waited for the instance's start. */
export const START_MS_HEADER = "x-lifeboat-start-ms";
/** Request: `1` asks the server to report its load and the time of the run. */
export const REPORT_HEADER = "x-lifeboat-report";
/** Response: requests in flight at the server, including this one, and their rows: `3/120`. */
export const LOAD_HEADER = "x-lifeboat-load";

/** Response: the fingerprint of the server's models, equal on all instances with the same models. */
export const MODELS_HEADER = "x-lifeboat-models";

/** Cached response: time when it was stored, in milliseconds since 1970. */
export const CACHED_AT_HEADER = "x-lifeboat-kept-at";

/**
 * Why an instance gave no response:
 *
 * - `asleep`: it is being started, or its health is being checked
 * - `start`: its start failed
 * - `hung`: it did not respond in time
 * - `gone`: its connection broke
 */
export type Failure = "asleep" | "start" | "hung" | "gone";

/** Minimum time limit of an attempt whose timeout is evidence that the instance hangs. */
const MIN_CONCLUSIVE_MS = 500;

/** Rows of one batch. So many reported rows count as one more request. */
const BATCH_ROWS = 256;

/** Remove every internal header. */
export function stripInternalHeaders(headers: Headers): void {
  for (const name of [...headers.keys()]) if (name.startsWith(PREFIX)) headers.delete(name);
}

/**
 * Return whether an attempt has so little time that its timeout is no evidence against the instance. Otherwise clients
 * with short deadlines would cause health checks, avoided instances and needless starts.
 */
export function isShortAttempt(attemptMs: number, attemptTimeoutMs: number): boolean {
  return attemptMs < Math.min(attemptTimeoutMs, MIN_CONCLUSIVE_MS);
}

/** Return the Durable Object's response for a failure; the reason is for the log. */
export function failureResponse(kind: Failure, reason: string, suspicion?: Suspicion): Response {
  const headers = { [FAILURE_HEADER]: kind, ...(suspicion === undefined ? {} : { [SUSPICION_HEADER]: suspicion }) };
  return new Response(reason, { status: 503, headers });
}

/** Return the instance's reported requests in flight, excluding this one; undefined without a valid report. */
export function reportedLoad(headers: Headers): number | undefined {
  const [, requests, rows] = /^(\d{1,9})(?:\/(\d{1,9}))?$/.exec(headers.get(LOAD_HEADER) ?? "") ?? [];
  if (requests === undefined) return undefined;
  return Math.max(0, Number(requests) - 1) + Math.floor(Number(rows ?? 0) / BATCH_ROWS);
}

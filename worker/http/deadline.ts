/**
 * Read a request's deadline from its protocol's header.
 * @module
 */

/** Default time limit of a request: enough for the longest start (container.ts) and a run. */
export const DEFAULT_TIMEOUT_MS = 120_000;
/** Maximum time limit: one day, which a timer can hold. */
const MAX_TIMEOUT_MS = 86_400_000;

const UNITS_MS = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** Time (ms) when the response is due, and whether the client stated it. */
export interface Deadline {
  expiresAt: number;
  isFromClient: boolean;
}

/** Return the deadline of a request that arrived at `now` (ms). An invalid header is ignored: the server rejects it. */
export function deadlineOf(request: Request, now: number): Deadline {
  const timeouts = [
    parseMillis(request.headers.get("x-request-timeout-ms")),
    parseMillis(request.headers.get("connect-timeout-ms")),
    parseGrpcTimeout(request.headers.get("grpc-timeout")),
  ].filter((ms) => ms !== undefined);
  return timeouts.length > 0
    ? { expiresAt: now + Math.min(MAX_TIMEOUT_MS, ...timeouts), isFromClient: true }
    : { expiresAt: now + DEFAULT_TIMEOUT_MS, isFromClient: false };
}

/** Set the remaining time in the deadline headers of a retried request. */
export function setRemainingTime(headers: Headers, remainingMs: number): void {
  const remaining = String(Math.max(1, Math.floor(remainingMs)));
  for (const name of ["x-request-timeout-ms", "connect-timeout-ms"])
    if (headers.has(name)) headers.set(name, remaining);
  if (headers.has("grpc-timeout")) headers.set("grpc-timeout", `${remaining}m`);
}

function parseMillis(text: string | null): number | undefined {
  return text !== null && /^\d{1,10}$/.test(text) ? Number(text) : undefined;
}

function parseGrpcTimeout(text: string | null): number | undefined {
  const [, amount, unit] = /^(\d{1,8})([HMSmun])$/.exec(text ?? "") ?? [];
  return amount === undefined ? undefined : Number(amount) * UNITS_MS[unit as keyof typeof UNITS_MS];
}

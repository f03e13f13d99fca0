/**
 * Read a request's deadline from its protocol's header.
 * @module
 */

/** Default time limit of a request: enough for the longest start (container.ts) and a run. */
export const PATIENCE_MS = 120_000;
/** Maximum time limit: one day, which a timer can hold. */
const MOST_MS = 86_400_000;

const UNITS_MS = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** Time (ms) when the response is due, and whether the client stated it. */
export interface Deadline {
  at: number;
  isCallers: boolean;
}

/** Return the deadline of a request that arrived at `now` (ms). An invalid header is ignored: the server rejects it. */
export function deadlineOf(request: Request, now: number): Deadline {
  const said = [
    millis(request.headers.get("x-request-timeout-ms")),
    millis(request.headers.get("connect-timeout-ms")),
    grpc(request.headers.get("grpc-timeout")),
  ].filter((ms) => ms !== undefined);
  return said.length > 0
    ? { at: now + Math.min(MOST_MS, ...said), isCallers: true }
    : { at: now + PATIENCE_MS, isCallers: false };
}

/** Set the remaining time in the deadline headers of a retried request. */
export function shorten(headers: Headers, leftMs: number): void {
  const left = String(Math.max(1, Math.floor(leftMs)));
  for (const name of ["x-request-timeout-ms", "connect-timeout-ms"]) if (headers.has(name)) headers.set(name, left);
  if (headers.has("grpc-timeout")) headers.set("grpc-timeout", `${left}m`);
}

function millis(text: string | null): number | undefined {
  return text !== null && /^\d{1,10}$/.test(text) ? Number(text) : undefined;
}

function grpc(text: string | null): number | undefined {
  const [, amount, unit] = /^(\d{1,8})([HMSmun])$/.exec(text ?? "") ?? [];
  return amount === undefined ? undefined : Number(amount) * UNITS_MS[unit as keyof typeof UNITS_MS];
}

/**
 * Read a request's deadline, in its protocol's header.
 * @module
 */

/** What a caller is waited for who said nothing: a start that takes as long as it may (container.ts), and a call. */
export const PATIENCE_MS = 120_000;
/** More than a day is no deadline, and more than a timer can hold. */
const MOST_MS = 86_400_000;

const UNITS_MS = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** The moment (ms) by which a request must be answered, and whether the caller named it. */
export interface Deadline {
  at: number;
  isCallers: boolean;
}

/** Returns the deadline of a request that came at `now` (ms). What can't be read is the server's to reject. */
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

/** Rewrites the deadline in the headers of a request that is sent again: some of its time is over. */
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

/**
 * Count starts, stops, exits and start times of an instance, in its Durable Object's storage.
 * @module
 */

export interface Counters {
  /** Starts that were begun, and those that failed. */
  starts: number;
  failedStarts: number;
  /** Ends of the container, by its exit code. */
  exits: Record<string, number>;
  /** Calls that waited for a start, and how long starts took until the server listened. */
  coldCalls: number;
  startMs: { last: number; most: number; total: number };
  /** Attempts that the server did not answer in time, and starts again for want of a sign of life. */
  hung: number;
  restarts: number;
  /** The last readiness check: when (ISO 8601), its status and how long it took. */
  ready?: { at: string; status: number; ms: number };
}

const KEY = "lifeboat.counters";

const NONE: Counters = {
  starts: 0,
  failedStarts: 0,
  exits: {},
  coldCalls: 0,
  startMs: { last: 0, most: 0, total: 0 },
  hung: 0,
  restarts: 0,
};

/** Returns the counters as they are; those that an older version didn't have are 0. */
export function counters(storage: SyncKvStorage): Counters {
  return { ...structuredClone(NONE), ...storage.get<Partial<Counters>>(KEY) };
}

/** Changes the counters. */
export function count(storage: SyncKvStorage, change: (counters: Counters) => void): void {
  const changed = counters(storage);
  change(changed);
  storage.put(KEY, changed);
}

/** Counts a start: how many milliseconds it took until the server listened, undefined where it failed. */
export function countStart(storage: SyncKvStorage, startMs: number | undefined): void {
  count(storage, (all) => {
    all.starts += 1;
    if (startMs === undefined) {
      all.failedStarts += 1;
      return;
    }
    const { most, total } = all.startMs;
    all.startMs = { last: startMs, most: Math.max(most, startMs), total: total + startMs };
  });
}

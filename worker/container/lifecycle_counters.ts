/**
 * Count starts, stops, exits and start times of an instance, in its Durable Object's storage.
 * @module
 */

/** Counters of one instance. They are stored under these names, which must not change. */
export interface Counters {
  /** Starts, including those that failed. */
  starts: number;
  failedStarts: number;
  /** Exits of the container, by exit code. */
  exits: Record<string, number>;
  /** Requests that waited for a start. */
  coldCalls: number;
  /** Milliseconds from the start until the server listened. */
  startMs: { last: number; most: number; total: number };
  /** Attempts without a response in time. */
  hung: number;
  /** Restarts after a failed health check. */
  restarts: number;
  /** Last readiness check: its time (ISO 8601), status and duration. */
  ready?: { at: string; status: number; ms: number };
}

const KEY = "lifeboat.counters";

const ZERO_COUNTERS: Counters = {
  starts: 0,
  failedStarts: 0,
  exits: {},
  coldCalls: 0,
  startMs: { last: 0, most: 0, total: 0 },
  hung: 0,
  restarts: 0,
};

/** Return the stored counters; a counter that an older version didn't store is 0. */
export function readCounters(storage: SyncKvStorage): Counters {
  return { ...structuredClone(ZERO_COUNTERS), ...storage.get<Partial<Counters>>(KEY) };
}

/** Apply a change to the stored counters. */
export function updateCounters(storage: SyncKvStorage, change: (counters: Counters) => void): void {
  const updated = readCounters(storage);
  change(updated);
  storage.put(KEY, updated);
}

/** Count a start. `startMs` is the time until the server listened, undefined if the start failed. */
export function recordStart(storage: SyncKvStorage, startMs: number | undefined): void {
  updateCounters(storage, (counters) => {
    counters.starts += 1;
    if (startMs === undefined) {
      counters.failedStarts += 1;
      return;
    }
    const { most, total } = counters.startMs;
    counters.startMs = { last: startMs, most: Math.max(most, startMs), total: total + startMs };
  });
}

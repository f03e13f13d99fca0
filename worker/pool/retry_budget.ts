/**
 * Limit retries to a share of the calls, so that they do not make an outage worse.
 * @module
 */

/** Retries a call earns: one in five. */
const EARNED = 0.2;
/** Retries a second that are there without calls, for a pool that is rarely asked. */
const EARNED_S = 10;
/** What is there at first, and can be saved up: the calls of some seconds that lost their instance all at once. */
const MOST = 500;

/** A bucket of retries, filled by calls and by time. */
export class RetryBudget {
  #left = MOST;
  #seenAt = 0;

  /** Says that a call came in at `now` (ms). */
  called(now: number): void {
    this.#fill(now, EARNED);
  }

  /** Takes one retry; false where none is left. */
  take(now: number): boolean {
    this.#fill(now, 0);
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }

  #fill(now: number, earned: number): void {
    const passed = this.#seenAt === 0 ? 0 : Math.max(0, now - this.#seenAt);
    this.#seenAt = now;
    this.#left = Math.min(MOST, this.#left + earned + (passed / 1_000) * EARNED_S);
  }
}

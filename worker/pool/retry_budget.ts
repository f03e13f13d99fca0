/**
 * Limit retries to a share of the requests, so that they don't make an outage worse.
 * @module
 */

/** Retries added by each request. */
const EARNED = 0.2;
/** Retries added each second, for a pool with few requests. */
const EARNED_S = 10;
/** Initial and maximum number of retries: the requests of some seconds, if all lose their instance at once. */
const MOST = 500;

/** Token bucket of retries, filled by requests and by time. */
export class RetryBudget {
  #left = MOST;
  #seenAt = 0;

  /** Record a request at `now` (ms). */
  called(now: number): void {
    this.#fill(now, EARNED);
  }

  /** Take one retry. Returns false if none is available. */
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

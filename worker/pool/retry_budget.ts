/**
 * Limit retries to a share of the requests, so that they don't make an outage worse.
 * @module
 */

/** Retries added by each request. */
const RETRIES_PER_REQUEST = 0.2;
/** Retries added each second, for a pool with few requests. */
const RETRIES_PER_SECOND = 10;
/** Initial and maximum number of retries: the requests of some seconds, if all lose their instance at once. */
const MAX_RETRIES = 500;

/** Token bucket of retries, filled by requests and by time. */
export class RetryBudget {
  #available = MAX_RETRIES;
  #filledAt = 0;

  /** Record a request at `now` (ms). */
  recordRequest(now: number): void {
    this.#fill(now, RETRIES_PER_REQUEST);
  }

  /** Take one retry. Returns false if none is available. */
  take(now: number): boolean {
    this.#fill(now, 0);
    if (this.#available < 1) return false;
    this.#available -= 1;
    return true;
  }

  #fill(now: number, added: number): void {
    const elapsedMs = this.#filledAt === 0 ? 0 : Math.max(0, now - this.#filledAt);
    this.#filledAt = now;
    this.#available = Math.min(MAX_RETRIES, this.#available + added + (elapsedMs / 1_000) * RETRIES_PER_SECOND);
  }
}

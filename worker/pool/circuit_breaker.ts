/**
 * Avoid an instance that does not respond, and try one request at a time until it does.
 * @module
 */

/** Consecutive failures that open the circuit. A severe failure, such as a hung instance, opens it at once. */
const FAILURE_THRESHOLD = 3;
/** First time for which the circuit is open. Each further opening doubles it. */
const FIRST_OPEN_MS = 1_000;
/** Maximum time for which the circuit is open. */
const MAX_OPEN_MS = 30_000;

/**
 * Circuit breaker of one instance.
 *
 * - closed: requests go to the instance
 * - open: requests avoid the instance, for a limited time
 * - half open, after that time: one request goes to the instance, and closes the circuit or opens it for longer
 */
export class CircuitBreaker {
  #failures = 0;
  #openings = 0;
  #openUntil = 0;
  #isProbing = false;

  /** Return whether a request may go to the instance at `now` (ms). */
  allows(now: number): boolean {
    return this.#openings === 0 || (now >= this.#openUntil && !this.#isProbing);
  }

  /** Whether the circuit is closed. */
  get isClosed(): boolean {
    return this.#openings === 0;
  }

  /** Record that a request is sent. If the circuit is half open, no other request goes to the instance meanwhile. */
  recordAttempt(): void {
    this.#isProbing = this.#openings > 0;
  }

  /** Record a response of the instance: close the circuit. */
  recordSuccess(): void {
    this.#failures = 0;
    this.#openings = 0;
    this.#openUntil = 0;
    this.#isProbing = false;
  }

  /** Record that the request ended with no evidence, for example because the client disconnected. */
  recordUnknown(): void {
    this.#isProbing = false;
  }

  /** Record a failure at `now` (ms); `isSevere` if one such failure opens the circuit. */
  recordFailure(now: number, isSevere: boolean): void {
    this.#isProbing = false;
    if (now < this.#openUntil) return; // the request was in flight when the circuit opened: no new evidence
    this.#failures += 1;
    if (!isSevere && this.#failures < FAILURE_THRESHOLD && this.#openings === 0) return;
    this.#openUntil = now + Math.min(FIRST_OPEN_MS * 2 ** this.#openings, MAX_OPEN_MS);
    this.#openings += 1;
  }
}

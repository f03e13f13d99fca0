/**
 * Avoid instances that do not respond; try one call at a time until they do.
 * @module
 */

/** Failures one after the other that open the circuit; an instance that accepts and never answers opens it at once. */
const FAILURES = 3;
const OPEN_MS = 1_000;
const MOST_OPEN_MS = 30_000;

/** Closed: asked. Open: avoided. Half open, once its time is over: asked by one call, which closes it or opens it for longer. */
export class Circuit {
  #failures = 0;
  #openings = 0;
  #openUntil = 0;
  #isTried = false;

  /** Returns whether the instance may be asked at `now` (ms). */
  allows(now: number): boolean {
    return this.#openings === 0 || (now >= this.#openUntil && !this.#isTried);
  }

  /** Returns whether nothing speaks against the instance. */
  get isClosed(): boolean {
    return this.#openings === 0;
  }

  /** Says that the instance is being asked: where the circuit is half open, by this call alone. */
  asked(): void {
    this.#isTried = this.#openings > 0;
  }

  /** Says that the instance answered. */
  answered(): void {
    this.#failures = 0;
    this.#openings = 0;
    this.#openUntil = 0;
    this.#isTried = false;
  }

  /** Says that it is unknown how the instance is: the client disconnected. */
  left(): void {
    this.#isTried = false;
  }

  /** Says that the instance failed at `now` (ms); `isGrave` where one failure is enough. */
  failed(now: number, isGrave: boolean): void {
    this.#isTried = false;
    if (now < this.#openUntil) return; // of those that were under way: what it tells is known
    this.#failures += 1;
    if (!isGrave && this.#failures < FAILURES && this.#openings === 0) return;
    this.#openUntil = now + Math.min(OPEN_MS * 2 ** this.#openings, MOST_OPEN_MS);
    this.#openings += 1;
  }
}

/**
 * Evidence about who is at fault when a call gets no answer: the call, or the instance.
 *
 * The Durable Object sees every call of its instance, so it collects the evidence; the Worker decides by it whether the call
 * is sent to another instance (docs/decisions/0024-query-of-death.md).
 * @module
 */
import type { Failure } from "../http/internal_headers";

/**
 * `alone`: only this call can have caused the failure. `shared`: other calls failed with it, any of which may have. `none`: the
 * instance had been silent before the call was sent.
 */
export type Suspicion = "alone" | "shared" | "none";

/** How heavily a failure weighs against the call. */
const WEIGHTS: Partial<Record<Failure, Record<Suspicion, number>>> = {
  hung: { alone: 3, shared: 1, none: 0 },
  gone: { alone: 2, shared: 1, none: 0 },
};
/** A call with more weight against it is answered with an error, and sent nowhere. */
const MAX_WEIGHT = 2;
/** How long an instance must have been silent under earlier calls for a later one to be beyond suspicion. */
const SILENCE_MS = 100;

/** Returns how heavily a failure weighs against the call; 0 where the call did not reach the server. */
export function weightOf(failure: Failure | undefined, suspicion: Suspicion | undefined): number {
  return failure === undefined || suspicion === undefined ? 0 : (WEIGHTS[failure]?.[suspicion] ?? 0);
}

/** Returns whether a call with this weight against it may be sent to another instance. */
export function maySpread(weight: number): boolean {
  return weight <= MAX_WEIGHT;
}

/** Returns the suspicion that a header states; undefined where it states none that is known. */
export function suspicionOf(value: string | null): Suspicion | undefined {
  return value === "alone" || value === "shared" || value === "none" ? value : undefined;
}

/** The calls of one instance: how many are under way, and what the last ones came to. */
export class CallEvidence {
  #inFlight = 0;
  #answeredAt = Number.NEGATIVE_INFINITY;
  #failedAt = Number.NEGATIVE_INFINITY;
  #silentSince = 0;

  /** Calls under way. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Records that a call was sent at `now` (ms). Returns for how long the server had then been silent under other calls. */
  began(now: number): number {
    const isSilent = this.#inFlight > 0 || this.#failedAt > this.#answeredAt;
    if (!isSilent) this.#silentSince = now;
    this.#inFlight += 1;
    return now - this.#silentSince;
  }

  /** Records that a call is over, whatever it came to. */
  ended(): void {
    this.#inFlight -= 1;
  }

  /** Records an answer of the server at `now` (ms). */
  answered(now: number): void {
    this.#answeredAt = now;
    this.#silentSince = now;
  }

  /** Returns whether the server answered others during the later half of the wait of a call sent at `began` (ms). */
  isAlive(began: number, now: number): boolean {
    return this.#answeredAt > began && now - this.#answeredAt < (now - began) / 2;
  }

  /**
   * Records that the call sent at `began` (ms), when the server had been silent for `silentMs`, got no answer in time. Returns
   * the suspicion against that call.
   */
  hung(began: number, silentMs: number, now: number): Suspicion {
    const isAlive = this.isAlive(began, now);
    const isShared = this.#hasCompany(began);
    this.#failedAt = now;
    if (isAlive) return "alone";
    if (silentMs >= SILENCE_MS) return "none";
    return isShared ? "shared" : "alone";
  }

  /** Records that the server ended under the call sent at `began` (ms); returns the suspicion against that call. */
  lost(began: number, now: number): Suspicion {
    const isShared = this.#hasCompany(began);
    this.#failedAt = now;
    return isShared ? "shared" : "alone";
  }

  /** Calls that fail together end one after the other: the last one still counts as one of several. */
  #hasCompany(began: number): boolean {
    return this.#inFlight > 1 || this.#failedAt >= began;
  }
}

/**
 * Evidence for the cause of a failure without a response: the request, or the instance.
 *
 * The Durable Object handles every request of its instance, so it collects the evidence. The Worker uses it to decide
 * whether to retry the request on another instance (docs/decisions/0024-query-of-death.md).
 * @module
 */
import type { Failure } from "../http/internal_headers";

/**
 * Suspicion against a request:
 *
 * - `alone`: only this request can have caused the failure
 * - `shared`: other requests failed at the same time, and any of them may be the cause
 * - `none`: the instance was already unresponsive when the request was sent
 */
export type Suspicion = "alone" | "shared" | "none";

/** Weight of a failure against the request. */
const WEIGHTS: Partial<Record<Failure, Record<Suspicion, number>>> = {
  hung: { alone: 3, shared: 1, none: 0 },
  gone: { alone: 2, shared: 1, none: 0 },
};
/** A request with more weight against it is not retried. */
const MAX_WEIGHT = 2;
/**
 * Minimum time that an instance must be unresponsive before a request is sent, for no suspicion against the request.
 */
const SILENCE_MS = 100;

/** Return the weight of a failure against the request; 0 if the request did not reach the server. */
export function weightOf(failure: Failure | undefined, suspicion: Suspicion | undefined): number {
  return failure === undefined || suspicion === undefined ? 0 : (WEIGHTS[failure]?.[suspicion] ?? 0);
}

/** Return whether a request with this weight may be sent to another instance. */
export function maySpread(weight: number): boolean {
  return weight <= MAX_WEIGHT;
}

/** Return the suspicion in a header; undefined for any other value. */
export function suspicionOf(value: string | null): Suspicion | undefined {
  return value === "alone" || value === "shared" || value === "none" ? value : undefined;
}

/** Requests of one instance: how many are in flight, and when the last ones succeeded and failed. */
export class CallEvidence {
  #inFlight = 0;
  #answeredAt = Number.NEGATIVE_INFINITY;
  #failedAt = Number.NEGATIVE_INFINITY;
  #silentSince = 0;

  /** Requests in flight. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * Record a request sent at `now` (ms). Returns for how long the server was already unresponsive to other requests.
   */
  began(now: number): number {
    const isSilent = this.#inFlight > 0 || this.#failedAt > this.#answeredAt;
    if (!isSilent) this.#silentSince = now;
    this.#inFlight += 1;
    return now - this.#silentSince;
  }

  /** Record the end of a request, with any result. */
  ended(): void {
    this.#inFlight -= 1;
  }

  /** Record a response of the server at `now` (ms). */
  answered(now: number): void {
    this.#answeredAt = now;
    this.#silentSince = now;
  }

  /** Return whether the server responded to other requests in the second half of the time since `began` (ms). */
  isAlive(began: number, now: number): boolean {
    return this.#answeredAt > began && now - this.#answeredAt < (now - began) / 2;
  }

  /**
   * Record a timeout of the request sent at `began` (ms), when the server was already unresponsive for `silentMs`.
   * Returns the suspicion against the request.
   */
  hung(began: number, silentMs: number, now: number): Suspicion {
    const isAlive = this.isAlive(began, now);
    const isShared = this.#hasCompany(began);
    this.#failedAt = now;
    if (isAlive) return "alone";
    if (silentMs >= SILENCE_MS) return "none";
    return isShared ? "shared" : "alone";
  }

  /**
   * Record that the server ended during the request sent at `began` (ms). Returns the suspicion against the request.
   */
  lost(began: number, now: number): Suspicion {
    const isShared = this.#hasCompany(began);
    this.#failedAt = now;
    return isShared ? "shared" : "alone";
  }

  /** Return whether other requests failed with this one. They end one after another, so the last one counts too. */
  #hasCompany(began: number): boolean {
    return this.#inFlight > 1 || this.#failedAt >= began;
  }
}

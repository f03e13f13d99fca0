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
const MIN_UNRESPONSIVE_MS = 100;

/** Return the weight of a failure against the request; 0 if the request did not reach the server. */
export function suspicionWeight(failure: Failure | undefined, suspicion: Suspicion | undefined): number {
  return failure === undefined || suspicion === undefined ? 0 : (WEIGHTS[failure]?.[suspicion] ?? 0);
}

/** Return whether a request with this weight may be sent to another instance. */
export function isRetrySafe(weight: number): boolean {
  return weight <= MAX_WEIGHT;
}

/** Return the suspicion in a header; undefined for any other value. */
export function parseSuspicion(value: string | null): Suspicion | undefined {
  return value === "alone" || value === "shared" || value === "none" ? value : undefined;
}

/** Requests of one instance: how many are in flight, and when the last ones succeeded and failed. */
export class FailureEvidence {
  #inFlight = 0;
  #lastResponseAt = Number.NEGATIVE_INFINITY;
  #lastFailureAt = Number.NEGATIVE_INFINITY;
  #unresponsiveSince = 0;

  /** Requests in flight. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * Record a request sent at `now` (ms). Returns for how long the server was already unresponsive to other requests.
   */
  recordRequest(now: number): number {
    const isUnresponsive = this.#inFlight > 0 || this.#lastFailureAt > this.#lastResponseAt;
    if (!isUnresponsive) this.#unresponsiveSince = now;
    this.#inFlight += 1;
    return now - this.#unresponsiveSince;
  }

  /** Record the end of a request, with any result. */
  recordEnd(): void {
    this.#inFlight -= 1;
  }

  /** Record a response of the server at `now` (ms). */
  recordResponse(now: number): void {
    this.#lastResponseAt = now;
    this.#unresponsiveSince = now;
  }

  /** Return whether the server responded to other requests in the second half of the time since `sentAt` (ms). */
  hasRespondedRecently(sentAt: number, now: number): boolean {
    return this.#lastResponseAt > sentAt && now - this.#lastResponseAt < (now - sentAt) / 2;
  }

  /**
   * Record a timeout of the request sent at `sentAt` (ms), when the server was already unresponsive for
   * `unresponsiveMs`. Returns the suspicion against the request.
   */
  recordTimeout(sentAt: number, unresponsiveMs: number, now: number): Suspicion {
    const isResponsive = this.hasRespondedRecently(sentAt, now);
    const isShared = this.#isShared(sentAt);
    this.#lastFailureAt = now;
    if (isResponsive) return "alone";
    if (unresponsiveMs >= MIN_UNRESPONSIVE_MS) return "none";
    return isShared ? "shared" : "alone";
  }

  /**
   * Record that the server ended during the request sent at `sentAt` (ms). Returns the suspicion against the request.
   */
  recordDisconnect(sentAt: number, now: number): Suspicion {
    const isShared = this.#isShared(sentAt);
    this.#lastFailureAt = now;
    return isShared ? "shared" : "alone";
  }

  /** Return whether other requests failed with this one. They end one after another, so the last one counts too. */
  #isShared(sentAt: number): boolean {
    return this.#inFlight > 1 || this.#lastFailureAt >= sentAt;
  }
}

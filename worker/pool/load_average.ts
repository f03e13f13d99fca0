/**
 * Moving average of the requests in flight at all instances, over the last seconds.
 * @module
 */
import type { Instance } from "./instance.ts";

/** Time after which an instance's report of other isolates' requests expires. */
export const REPORT_MS = 2_000;
/** Time constant of the average. A short burst that one instance can process starts no other instance. */
const SMOOTH_MS = 2_000;

/** Exponential moving average of the requests in flight. */
export class Load {
  #own = 0;
  #others = 0;
  #average = 0;
  #seenAt = 0;

  /** Average at the last update. */
  get average(): number {
    return this.#average;
  }

  /**
   * Record the requests in flight at an instance from `now` (ms) on. The previous number counts until now; reported
   * requests of other isolates count until their report expires. Requests that wait for a start are no load.
   */
  count(instance: Instance, now: number): void {
    const passed = Math.max(0, now - this.#seenAt);
    this.#smooth(this.#own + this.#others, Math.min(passed, REPORT_MS));
    this.#smooth(this.#own, Math.max(0, passed - REPORT_MS));
    this.#seenAt = now;
    const { own, others } = instance.counted;
    const isAtWork = instance.state === "ready";
    instance.counted = { own: isAtWork ? instance.inFlight : 0, others: isAtWork ? instance.others : 0 };
    this.#own += instance.counted.own - own;
    this.#others += instance.counted.others - others;
  }

  #smooth(load: number, forMs: number): void {
    this.#average += (load - this.#average) * -Math.expm1(-forMs / SMOOTH_MS);
  }
}

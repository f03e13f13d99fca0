/**
 * Moving average of the requests in flight at all instances, over the last seconds.
 * @module
 */
import type { Instance } from "./instance.ts";

/** Time after which an instance's report of other isolates' requests expires. */
export const REPORT_LIFETIME_MS = 2_000;
/** Time constant of the average. A short burst that one instance can process starts no other instance. */
const TIME_CONSTANT_MS = 2_000;

/** Exponential moving average of the requests in flight. */
export class LoadAverage {
  #own = 0;
  #others = 0;
  #average = 0;
  #updatedAt = 0;

  /** Average at the last update. */
  get average(): number {
    return this.#average;
  }

  /**
   * Record the requests in flight at an instance from `now` (ms) on. The previous number counts until now; reported
   * requests of other isolates count until their report expires. Requests that wait for a start are no load.
   */
  update(instance: Instance, now: number): void {
    const elapsedMs = Math.max(0, now - this.#updatedAt);
    this.#smooth(this.#own + this.#others, Math.min(elapsedMs, REPORT_LIFETIME_MS));
    this.#smooth(this.#own, Math.max(0, elapsedMs - REPORT_LIFETIME_MS));
    this.#updatedAt = now;
    const { own, others } = instance.countedLoad;
    const isReady = instance.state === "ready";
    instance.countedLoad = { own: isReady ? instance.inFlight : 0, others: isReady ? instance.othersInFlight : 0 };
    this.#own += instance.countedLoad.own - own;
    this.#others += instance.countedLoad.others - others;
  }

  #smooth(load: number, durationMs: number): void {
    this.#average += (load - this.#average) * -Math.expm1(-durationMs / TIME_CONSTANT_MS);
  }
}

/**
 * Average the calls that instances work on, over the last seconds.
 * @module
 */
import type { Instance } from "./instance.ts";

/** What an instance said of others' calls is forgotten after this long. */
export const REPORT_MS = 2_000;
/** Over how long the load is averaged that decides on starts: a burst that one instance works off starts no other. */
const SMOOTH_MS = 2_000;

export class Load {
  #own = 0;
  #others = 0;
  #average = 0;
  #seenAt = 0;

  /** The average, as of the last change. */
  get average(): number {
    return this.#average;
  }

  /**
   * Takes in what there is to do at an instance from `now` (ms) on. What was under way until now counts for as long as it
   * was, and what was reported of others for as long as a report holds. A start is waited for, no load.
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

/**
 * An instance of the platform, as far as a queue sees one: one thread, a quota of CPU, a start that takes its time.
 * @module
 */
import type { Random } from "./random.ts";

/** `basic` has a quarter of a CPU: in each period of 100 ms a thread may run for 25 ms, and then waits for the next one. */
const PERIOD_MS = 100;
const QUOTA_MS = 25;
/** Some machines are busier than others: one in ten instances runs at half the speed. */
const SLOW_SHARE = 0.1;
const SLOW = 2;
/** A start takes one to three seconds. */
const START_MS = [1_000, 3_000] as const;

export class Machine {
  /** When it listens; infinite where it sleeps. */
  readyAt = Number.POSITIVE_INFINITY;
  /** Calls that wait or run there. */
  inFlight = 0;
  /** Milliseconds of CPU that it used, and that it was awake. */
  cpuMs = 0;
  awakeMs = 0;
  lastAt = 0;
  #startedAt = 0;
  #freeAt = 0;
  #period = 0;
  #used = 0;
  readonly #speed: number;
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
    this.#speed = random() < SLOW_SHARE ? SLOW : 1;
  }

  /** Starts it where it sleeps; returns when it will be ready. */
  start(now: number): number {
    if (this.readyAt === Number.POSITIVE_INFINITY) {
      this.#startedAt = now;
      this.readyAt = now + START_MS[0] + this.#random() * (START_MS[1] - START_MS[0]);
      this.#freeAt = this.readyAt;
      this.lastAt = this.readyAt;
    }
    return this.readyAt;
  }

  /** Lets it sleep that nobody has asked for `sleepMs`. */
  rest(now: number, sleepMs: number): void {
    if (this.readyAt > now || this.inFlight > 0 || now - this.lastAt < sleepMs) return;
    this.awakeMs += now - this.#startedAt;
    this.readyAt = Number.POSITIVE_INFINITY;
  }

  /** The time that it has been awake until now. */
  awakeUntil(now: number): number {
    return this.awakeMs + (this.readyAt < Number.POSITIVE_INFINITY ? now - this.#startedAt : 0);
  }

  /** Takes a call of so much CPU into its queue; returns when it is done. */
  take(now: number, cpuMs: number): number {
    this.inFlight += 1;
    let at = Math.max(now, this.#freeAt, this.start(now));
    let left = cpuMs * this.#speed;
    this.cpuMs += left;
    for (;;) {
      const period = Math.floor(at / PERIOD_MS);
      if (period !== this.#period) {
        this.#period = period;
        this.#used = 0;
      }
      const here = Math.min(left, QUOTA_MS - this.#used, (period + 1) * PERIOD_MS - at);
      at += here;
      left -= here;
      this.#used += here;
      if (left <= 1e-9) break;
      at = (period + 1) * PERIOD_MS; // throttled, or the period is over
    }
    this.#freeAt = at;
    return at;
  }
}

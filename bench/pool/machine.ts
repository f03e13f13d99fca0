/**
 * Model of one platform instance: a queue for one thread, a CPU quota and a start time.
 * @module
 */
import type { Random } from "./random.ts";

/** `basic` has a quarter of a CPU: a thread runs for at most 25 ms in each period of 100 ms. */
const PERIOD_MS = 100;
const QUOTA_MS = 25;
/** Share of instances on busy machines; they run at half the speed. */
const SLOW_SHARE = 0.1;
const SLOW = 2;
/** Minimum and maximum milliseconds of a start. */
const START_MS = [1_000, 3_000] as const;

export class Machine {
  /** Time when the instance listens; infinite while it sleeps. */
  readyAt = Number.POSITIVE_INFINITY;
  /** Number of calls that wait or run. */
  inFlight = 0;
  /** Milliseconds of CPU used, and milliseconds awake before the last sleep. */
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

  /** Starts the instance if it sleeps. Returns the time when it is ready. */
  start(now: number): number {
    if (this.readyAt === Number.POSITIVE_INFINITY) {
      this.#startedAt = now;
      this.readyAt = now + START_MS[0] + this.#random() * (START_MS[1] - START_MS[0]);
      this.#freeAt = this.readyAt;
      this.lastAt = this.readyAt;
    }
    return this.readyAt;
  }

  /** Puts the instance to sleep if it had no call for `sleepMs`. */
  rest(now: number, sleepMs: number): void {
    if (this.readyAt > now || this.inFlight > 0 || now - this.lastAt < sleepMs) return;
    this.awakeMs += now - this.#startedAt;
    this.readyAt = Number.POSITIVE_INFINITY;
  }

  /** Returns the total milliseconds awake until now. */
  awakeUntil(now: number): number {
    return this.awakeMs + (this.readyAt < Number.POSITIVE_INFINITY ? now - this.#startedAt : 0);
  }

  /** Queues a call that takes `cpuMs` of CPU. Returns the time when it is done. */
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

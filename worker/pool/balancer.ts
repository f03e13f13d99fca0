/**
 * Which instance of a region answers, and when the next one is started: state in, choice out; no platform, no clock and no
 * chance but those it is given, so that the simulation of `bench/pool/` runs this very file.
 * @module
 */
import { type Instance, unknown } from "./instance.ts";
import { Load, REPORT_MS } from "./load_average.ts";

export interface Limits {
  /** Instances that are always kept. */
  warm: number;
  /** Instances that there may be. */
  max: number;
  /** The share of an instance's time at work, between 0 and 1, above which the next one is started. */
  target: number;
  /** How long an instance that nobody asks is sure to stay awake. */
  awakeMs: number;
}

/** How a call ended: `answered` by the server; `asleep`, the instance doesn't run; `hung`, no answer came; `left`, unknown. */
export type Outcome = "answered" | "asleep" | "failed" | "hung" | "left";

/** How much of the newest latency the average takes. */
const NEWEST = 0.2;
/** How long it takes for a latency that isn't measured again to be half as far from that of all instances: what was slow is tried. */
const HALF_MS = 500;
/** Latencies below are alike: a millisecond more or less must not send all calls to one instance. */
const LEAST_MS = 5;
/** How long an instance must have been too many before it is left to sleep. */
const SURPLUS_MS = 30_000;
/** Where one fewer would do at this share of the target, one is too many. */
const SURPLUS_SHARE = 0.6;
/** A start of which nothing was heard for this long is no longer waited for. */
const START_MS = 45_000;
const REVIEW_MS = 100;

export class Policy {
  readonly instances: Instance[] = [];
  readonly #limits: Limits;
  readonly #random: () => number;
  readonly #load = new Load();
  #active: number;
  #needed: number;
  #reviewedAt = Number.NEGATIVE_INFINITY;
  #neededAt = 0;
  #latencyMs = 0;
  #routable: Instance[] = [];

  /** `random` returns a number from 0 to 1, 1 excluded. */
  constructor(limits: Limits, random: () => number) {
    this.#limits = limits;
    this.#random = random;
    this.#active = limits.warm;
    this.#needed = limits.warm;
    for (let index = 0; index < limits.warm; index++) this.#add("presumed");
    this.#list();
  }

  /** Those that requests go to. */
  get routable(): readonly Instance[] {
    return this.#routable;
  }

  /** How many of them there should be. */
  get active(): number {
    return this.#active;
  }

  /** Calls that instances are at work on, averaged over the last seconds. */
  get load(): number {
    return this.#load.average;
  }

  /**
   * Returns one of the instances that should answer at once, the better of two by chance; `avoided` ones apart. A call that
   * can be sent again `mayTry` one that was broken.
   */
  find(now: number, avoided: ReadonlySet<Instance>, mayTry: boolean): Instance | undefined {
    this.#review(now);
    const fits = (each: Instance) => !avoided.has(each) && (mayTry ? each.circuit.allows(now) : each.circuit.isClosed);
    const first = this.#draw(fits);
    const second = first && this.#draw((each) => each !== first && fits(each));
    if (first === undefined || second === undefined || !first.circuit.isClosed) return first;
    return !second.circuit.isClosed || this.#cost(second, now) < this.#cost(first, now) ? second : first;
  }

  /**
   * Returns an instance whatever it takes, where `find` has none: one that was avoided and isn't known to be broken, one that
   * is starting, one that will be, and where all is broken the least busy.
   */
  settle(now: number, avoided: ReadonlySet<Instance>): Instance {
    const again = this.#draw(({ circuit }) => circuit.isClosed);
    if (again !== undefined) return again;
    const sound = this.instances.filter(({ circuit }) => circuit.allows(now));
    const starting = sound.filter(({ state }) => state === "starting").sort((a, b) => a.inFlight - b.inFlight);
    if (starting[0] !== undefined) return starting[0];
    const down = sound.find(({ state }) => state === "down");
    if (down !== undefined) return down;
    if (this.instances.length < this.#limits.max) return this.#add("down");
    const others = this.instances.filter((instance) => !avoided.has(instance));
    return (others.length > 0 ? others : this.instances).reduce((a, b) => (b.inFlight < a.inFlight ? b : a));
  }

  /** Returns whether another instance than this one could answer now. */
  hasOther(instance: Instance, now: number): boolean {
    return this.#routable.some((other) => other !== instance && other.circuit.allows(now));
  }

  /** Returns the instances to start now, which count as starting from here on. */
  wanted(now: number): Instance[] {
    this.#review(now);
    const sound = this.instances.filter(({ state, circuit }) => state !== "down" && circuit.isClosed);
    const missing = Math.min(this.#needed - sound.length, Math.max(1, sound.length)); // at most double
    const starts: Instance[] = [];
    for (const instance of this.instances) {
      if (starts.length < missing && instance.state === "down" && instance.circuit.allows(now)) starts.push(instance);
    }
    while (starts.length < missing && this.instances.length < this.#limits.max) starts.push(this.#add("down"));
    for (const instance of starts) this.#become(instance, "starting", now);
    return starts;
  }

  /** Says that a call has gone to an instance. */
  began(instance: Instance, now: number): void {
    instance.circuit.asked();
    instance.inFlight += 1;
    this.#load.count(instance, now);
  }

  /**
   * Says how a call ended: after how many milliseconds, where they tell of the instance's speed, and how many calls the
   * instance itself said it had under way, this one apart.
   */
  ended(instance: Instance, now: number, outcome: Outcome, latencyMs?: number, reported?: number): void {
    instance.inFlight -= 1;
    if (reported !== undefined) {
      instance.others = Math.max(0, reported - instance.inFlight);
      instance.reportedAt = now;
    }
    if (outcome === "answered") {
      instance.answeredAt = now;
      const isNews = instance.state !== "ready" || !instance.circuit.isClosed;
      instance.circuit.answered();
      if (isNews) this.#become(instance, "ready", now);
      if (latencyMs !== undefined) {
        this.#latencyMs += (latencyMs - this.#latencyMs) * (this.#latencyMs === 0 ? 1 : NEWEST / 4);
        const before = this.#latency(instance, now);
        instance.latencyMs = before + (latencyMs - before) * (instance.latencyMs === 0 ? 1 : NEWEST);
        instance.measuredAt = now;
      }
    } else if (outcome === "asleep") {
      this.#become(instance, "starting", now);
    } else if (outcome === "left") {
      instance.circuit.left();
    } else {
      instance.circuit.failed(now, outcome === "hung");
      this.#list();
    }
    this.#load.count(instance, now);
  }

  /** Says how a start in the background ended. */
  started(instance: Instance, now: number, isReady: boolean): void {
    if (isReady) {
      instance.answeredAt = now;
      instance.circuit.answered();
    } else {
      instance.circuit.failed(now, true);
    }
    this.#become(instance, isReady ? "ready" : this.#rest(instance), now);
  }

  #draw(fits: (instance: Instance) => boolean): Instance | undefined {
    const from = this.#routable;
    const start = Math.floor(this.#random() * from.length);
    for (let step = 0; step < from.length; step++) {
      const instance = from[(start + step) % from.length] as Instance;
      if (fits(instance)) return instance;
    }
    return undefined;
  }

  /** What one more call there would wait for: those before it, each as long as calls there take of late. */
  #cost(instance: Instance, now: number): number {
    return (instance.inFlight + instance.others + 1) * Math.max(this.#latency(instance, now), LEAST_MS);
  }

  /** How long calls there take, as far as that is known: the longer ago it was seen, the more like everywhere. */
  #latency({ latencyMs, measuredAt }: Instance, now: number): number {
    if (latencyMs === 0) return this.#latencyMs;
    return this.#latencyMs + (latencyMs - this.#latencyMs) * 0.5 ** ((now - measuredAt) / HALF_MS);
  }

  #add(state: Instance["state"]): Instance {
    const instance = unknown(this.instances.length, state);
    this.instances.push(instance);
    return instance;
  }

  #rest(instance: Instance): "presumed" | "down" {
    return instance.index < this.#limits.warm ? "presumed" : "down";
  }

  #become(instance: Instance, state: Instance["state"], now: number): void {
    instance.state = state;
    instance.since = now;
    this.#load.count(instance, now);
    this.#list();
  }

  /** Those that requests go to: the first ones that are sound, as many as are active, and the broken among them. */
  #list(): void {
    let left = this.#active;
    this.#routable = this.instances.filter(({ state, circuit }) => {
      const isListed = state === "presumed" || (state === "ready" && left > 0);
      if (isListed && circuit.isClosed) left -= 1;
      return isListed;
    });
  }

  /**
   * Decides how many instances requests go to. An instance whose share `u` of time is at work has `u / (1 - u)` calls
   * under way on average (processor sharing), which is what can be counted from here.
   */
  #review(now: number): void {
    if (now - this.#reviewedAt < REVIEW_MS) return;
    this.#reviewedAt = now;
    for (const instance of this.instances) {
      if (now - instance.reportedAt > REPORT_MS) instance.others = 0;
      const isOver = instance.inFlight === 0 && now - instance.answeredAt > this.#limits.awakeMs;
      const isLost = instance.state === "starting" && now - instance.since > START_MS;
      if ((instance.state === "ready" && isOver) || isLost) instance.state = this.#rest(instance);
      this.#load.count(instance, now);
    }
    const each = this.#limits.target / (1 - this.#limits.target);
    const bound = (count: number) => Math.min(Math.max(count, this.#limits.warm), this.#limits.max);
    this.#needed = bound(Math.ceil(this.#load.average / each));
    const enough = bound(Math.ceil(this.#load.average / (each * SURPLUS_SHARE)));
    if (enough >= this.#active) this.#neededAt = now;
    if (this.#needed > this.#active) {
      this.#active = Math.min(this.#needed, 2 * this.#active);
      this.#neededAt = now;
    } else if (now - this.#neededAt > SURPLUS_MS) {
      this.#active = enough;
      this.#neededAt = now;
    }
    this.#list();
  }
}

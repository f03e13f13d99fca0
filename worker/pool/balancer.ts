/**
 * Choose an instance of a region for each request, and decide when to start the next instance.
 *
 * This module has no platform calls, and takes time and random numbers as arguments, so `bench/pool/` simulates it as
 * it is.
 * @module
 */
import { type Instance, unknown } from "./instance.ts";
import { Load, REPORT_MS } from "./load_average.ts";

/** Limits of the pool in one region. */
export interface Limits {
  /** Number of instances that are always awake. */
  warm: number;
  /** Maximum number of instances. */
  max: number;
  /** Utilisation of an instance, between 0 and 1, above which the next one starts. */
  target: number;
  /** Milliseconds that an instance surely stays awake without a request. */
  awakeMs: number;
}

/**
 * How a request to an instance ended:
 *
 * - `answered`: the server responded
 * - `asleep`: the instance doesn't run
 * - `failed`: the request failed
 * - `hung`: no response came in time
 * - `left`: the request says nothing about the instance, for example because the client disconnected
 */
export type Outcome = "answered" | "asleep" | "failed" | "hung" | "left";

/** Weight of the newest latency in the moving average. */
const NEWEST = 0.2;
/** Half-life of an old latency: it decays to the average of all instances, so that a slow instance is tried again. */
const HALF_MS = 500;
/** Lower latencies count as equal: a difference of a millisecond must not send all requests to one instance. */
const LEAST_MS = 5;
/** Time for which an instance must be surplus before requests stop going to it. */
const SURPLUS_MS = 30_000;
/** An instance is surplus if the others alone would stay below this share of the target. */
const SURPLUS_SHARE = 0.6;
/** A start without a result after this time counts as lost. */
const START_MS = 45_000;
/** Minimum interval between reviews of the number of instances. */
const REVIEW_MS = 100;

/** State of one region's instances, as this Worker isolate knows it, and the choices made from it. */
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

  /** `random` returns a number from 0 to 1, excluding 1. */
  constructor(limits: Limits, random: () => number) {
    this.#limits = limits;
    this.#random = random;
    this.#active = limits.warm;
    this.#needed = limits.warm;
    for (let index = 0; index < limits.warm; index++) this.#add("presumed");
    this.#list();
  }

  /** Instances that requests go to. */
  get routable(): readonly Instance[] {
    return this.#routable;
  }

  /** Target number of routable instances. */
  get active(): number {
    return this.#active;
  }

  /** Requests in flight at ready instances, averaged over the last seconds. */
  get load(): number {
    return this.#load.average;
  }

  /**
   * Return a routable instance that is not `avoided`: the better of two random ones. With `mayTry`, for requests that
   * can be retried, it may be an instance whose circuit is half open.
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
   * Return an instance if `find` has none. In this order: an avoided instance with a closed circuit, a starting
   * instance, an instance to be started, and if all circuits are open, the instance with the fewest requests.
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

  /** Return whether another instance can take a request now. */
  hasOther(instance: Instance, now: number): boolean {
    return this.#routable.some((other) => other !== instance && other.circuit.allows(now));
  }

  /** Return the instances to start now, and mark them as starting. */
  wanted(now: number): Instance[] {
    this.#review(now);
    const sound = this.instances.filter(({ state, circuit }) => state !== "down" && circuit.isClosed);
    const missing = Math.min(this.#needed - sound.length, Math.max(1, sound.length)); // at most doubles the number
    const starts: Instance[] = [];
    for (const instance of this.instances) {
      if (starts.length < missing && instance.state === "down" && instance.circuit.allows(now)) starts.push(instance);
    }
    while (starts.length < missing && this.instances.length < this.#limits.max) starts.push(this.#add("down"));
    for (const instance of starts) this.#become(instance, "starting", now);
    return starts;
  }

  /** Record that a request is sent to an instance. */
  began(instance: Instance, now: number): void {
    instance.circuit.asked();
    instance.inFlight += 1;
    this.#load.count(instance, now);
  }

  /**
   * Record how a request ended. `latencyMs` is given only if it reflects the instance's speed. `reported` is the number
   * of other requests in flight that the instance reported.
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

  /** Record how a start in the background ended. */
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

  /** Return the expected time of one more request: all requests in flight and itself, times the recent latency. */
  #cost(instance: Instance, now: number): number {
    return (instance.inFlight + instance.others + 1) * Math.max(this.#latency(instance, now), LEAST_MS);
  }

  /** Return an instance's estimated latency, which decays to the average of all instances since it was measured. */
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

  /** Update the routable instances: presumed ones, and ready ones up to the target. Open circuits don't count. */
  #list(): void {
    let left = this.#active;
    this.#routable = this.instances.filter(({ state, circuit }) => {
      const isListed = state === "presumed" || (state === "ready" && left > 0);
      if (isListed && circuit.isClosed) left -= 1;
      return isListed;
    });
  }

  /**
   * Decide how many instances requests go to. An instance with utilisation `u` has `u / (1 - u)` requests in flight on
   * average (processor sharing), and the Worker can count the requests in flight.
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

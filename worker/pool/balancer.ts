/**
 * Choose an instance of a region for each request, and decide when to start the next instance.
 *
 * This module has no platform calls, and takes time and random numbers as arguments, so `bench/pool/` simulates it as
 * it is.
 * @module
 */
import { type Instance, newInstance } from "./instance.ts";
import { LoadAverage, REPORT_LIFETIME_MS } from "./load_average.ts";

/** Limits of the pool in one region. */
export interface Limits {
  /** Number of instances that are always awake. */
  warmInstances: number;
  /** Maximum number of instances. */
  maxInstances: number;
  /** Utilisation of an instance, between 0 and 1, above which the next one starts. */
  targetUtilisation: number;
  /** Milliseconds that an instance surely stays awake without a request. */
  awakeMs: number;
}

/**
 * How a request to an instance ended:
 *
 * - `responded`: the server responded
 * - `asleep`: the instance doesn't run
 * - `failed`: the request failed
 * - `hung`: no response came in time
 * - `unknown`: the request says nothing about the instance, for example because the client disconnected
 */
export type Outcome = "responded" | "asleep" | "failed" | "hung" | "unknown";

/** Weight of the newest latency in the moving average. */
const NEWEST_WEIGHT = 0.2;
/** Half-life of an old latency: it decays to the average of all instances, so that a slow instance is tried again. */
const LATENCY_HALF_LIFE_MS = 500;
/** Lower latencies count as equal: a difference of a millisecond must not send all requests to one instance. */
const MIN_LATENCY_MS = 5;
/** Time for which an instance must be surplus before requests stop going to it. */
const SURPLUS_MS = 30_000;
/** An instance is surplus if the others alone would stay below this share of the target. */
const SURPLUS_SHARE = 0.6;
/** A start without a result after this time counts as lost. */
const START_TIMEOUT_MS = 45_000;
/** Minimum interval between reviews of the number of instances. */
const REVIEW_INTERVAL_MS = 100;

/** State of one region's instances, as this Worker isolate knows it, and the choices made from it. */
export class Balancer {
  readonly instances: Instance[] = [];
  readonly #limits: Limits;
  readonly #random: () => number;
  readonly #loadAverage = new LoadAverage();
  #targetCount: number;
  #neededCount: number;
  #reviewedAt = Number.NEGATIVE_INFINITY;
  #lastNeededAt = 0;
  #meanLatencyMs = 0;
  #routable: Instance[] = [];

  /** `random` returns a number from 0 to 1, excluding 1. */
  constructor(limits: Limits, random: () => number) {
    this.#limits = limits;
    this.#random = random;
    this.#targetCount = limits.warmInstances;
    this.#neededCount = limits.warmInstances;
    for (let index = 0; index < limits.warmInstances; index++) this.#add("presumed");
    this.#updateRoutable();
  }

  /** Instances that requests go to. */
  get routable(): readonly Instance[] {
    return this.#routable;
  }

  /** Target number of routable instances. */
  get targetCount(): number {
    return this.#targetCount;
  }

  /** Requests in flight at ready instances, averaged over the last seconds. */
  get load(): number {
    return this.#loadAverage.average;
  }

  /**
   * Return a routable instance that is not `avoided`: the better of two random ones. With `mayProbe`, for requests that
   * can be retried, it may be an instance whose circuit is half open.
   */
  find(now: number, avoided: ReadonlySet<Instance>, mayProbe: boolean): Instance | undefined {
    this.#review(now);
    const isEligible = (each: Instance) =>
      !avoided.has(each) && (mayProbe ? each.circuit.allows(now) : each.circuit.isClosed);
    const first = this.#pickRandom(isEligible);
    const second = first && this.#pickRandom((each) => each !== first && isEligible(each));
    if (first === undefined || second === undefined || !first.circuit.isClosed) return first;
    return !second.circuit.isClosed || this.#expectedWait(second, now) < this.#expectedWait(first, now)
      ? second
      : first;
  }

  /**
   * Return an instance if `find` has none. In this order: an avoided instance with a closed circuit, a starting
   * instance, an instance to be started, and if all circuits are open, the instance with the fewest requests.
   */
  findFallback(now: number, avoided: ReadonlySet<Instance>): Instance {
    const available = this.#pickRandom(({ circuit }) => circuit.isClosed);
    if (available !== undefined) return available;
    const usable = this.instances.filter(({ circuit }) => circuit.allows(now));
    const starting = usable.filter(({ state }) => state === "starting").sort((a, b) => a.inFlight - b.inFlight);
    if (starting[0] !== undefined) return starting[0];
    const down = usable.find(({ state }) => state === "down");
    if (down !== undefined) return down;
    if (this.instances.length < this.#limits.maxInstances) return this.#add("down");
    const others = this.instances.filter((instance) => !avoided.has(instance));
    return (others.length > 0 ? others : this.instances).reduce((a, b) => (b.inFlight < a.inFlight ? b : a));
  }

  /** Return whether another instance can take a request now. */
  hasAlternative(instance: Instance, now: number): boolean {
    return this.#routable.some((other) => other !== instance && other.circuit.allows(now));
  }

  /** Return the instances to start now, and mark them as starting. */
  scaleUp(now: number): Instance[] {
    this.#review(now);
    const healthy = this.instances.filter(({ state, circuit }) => state !== "down" && circuit.isClosed);
    // One review at most doubles the number of instances.
    const missing = Math.min(this.#neededCount - healthy.length, Math.max(1, healthy.length));
    const starts: Instance[] = [];
    for (const instance of this.instances) {
      if (starts.length < missing && instance.state === "down" && instance.circuit.allows(now)) starts.push(instance);
    }
    while (starts.length < missing && this.instances.length < this.#limits.maxInstances) starts.push(this.#add("down"));
    for (const instance of starts) this.#setState(instance, "starting", now);
    return starts;
  }

  /** Record that a request is sent to an instance. */
  recordRequest(instance: Instance, now: number): void {
    instance.circuit.recordAttempt();
    instance.inFlight += 1;
    this.#loadAverage.update(instance, now);
  }

  /**
   * Record how a request ended. `latencyMs` is given only if it reflects the instance's speed. `reportedOthers` is the
   * number of other requests in flight that the instance reported.
   */
  recordOutcome(instance: Instance, now: number, outcome: Outcome, latencyMs?: number, reportedOthers?: number): void {
    instance.inFlight -= 1;
    if (reportedOthers !== undefined) {
      instance.othersInFlight = Math.max(0, reportedOthers - instance.inFlight);
      instance.reportedAt = now;
    }
    if (outcome === "responded") {
      instance.lastResponseAt = now;
      const isStateChange = instance.state !== "ready" || !instance.circuit.isClosed;
      instance.circuit.recordSuccess();
      if (isStateChange) this.#setState(instance, "ready", now);
      if (latencyMs !== undefined) {
        this.#meanLatencyMs += (latencyMs - this.#meanLatencyMs) * (this.#meanLatencyMs === 0 ? 1 : NEWEST_WEIGHT / 4);
        const previousMs = this.#estimateLatency(instance, now);
        instance.latencyMs = previousMs + (latencyMs - previousMs) * (instance.latencyMs === 0 ? 1 : NEWEST_WEIGHT);
        instance.latencyMeasuredAt = now;
      }
    } else if (outcome === "asleep") {
      this.#setState(instance, "starting", now);
    } else if (outcome === "unknown") {
      instance.circuit.recordUnknown();
    } else {
      instance.circuit.recordFailure(now, outcome === "hung");
      this.#updateRoutable();
    }
    this.#loadAverage.update(instance, now);
  }

  /** Record how a start in the background ended. */
  recordStart(instance: Instance, now: number, isReady: boolean): void {
    if (isReady) {
      instance.lastResponseAt = now;
      instance.circuit.recordSuccess();
    } else {
      instance.circuit.recordFailure(now, true);
    }
    this.#setState(instance, isReady ? "ready" : this.#idleState(instance), now);
  }

  #pickRandom(isEligible: (instance: Instance) => boolean): Instance | undefined {
    const candidates = this.#routable;
    const start = Math.floor(this.#random() * candidates.length);
    for (let step = 0; step < candidates.length; step++) {
      const instance = candidates[(start + step) % candidates.length] as Instance;
      if (isEligible(instance)) return instance;
    }
    return undefined;
  }

  /** Return the expected time of one more request: all requests in flight and itself, times the recent latency. */
  #expectedWait(instance: Instance, now: number): number {
    return (
      (instance.inFlight + instance.othersInFlight + 1) * Math.max(this.#estimateLatency(instance, now), MIN_LATENCY_MS)
    );
  }

  /** Return an instance's estimated latency, which decays to the average of all instances since it was measured. */
  #estimateLatency({ latencyMs, latencyMeasuredAt }: Instance, now: number): number {
    if (latencyMs === 0) return this.#meanLatencyMs;
    return (
      this.#meanLatencyMs +
      (latencyMs - this.#meanLatencyMs) * 0.5 ** ((now - latencyMeasuredAt) / LATENCY_HALF_LIFE_MS)
    );
  }

  #add(state: Instance["state"]): Instance {
    const instance = newInstance(this.instances.length, state);
    this.instances.push(instance);
    return instance;
  }

  #idleState(instance: Instance): "presumed" | "down" {
    return instance.index < this.#limits.warmInstances ? "presumed" : "down";
  }

  #setState(instance: Instance, state: Instance["state"], now: number): void {
    instance.state = state;
    instance.stateSince = now;
    this.#loadAverage.update(instance, now);
    this.#updateRoutable();
  }

  /** Update the routable instances: presumed ones, and ready ones up to the target. Open circuits don't count. */
  #updateRoutable(): void {
    let remaining = this.#targetCount;
    this.#routable = this.instances.filter(({ state, circuit }) => {
      const isRoutable = state === "presumed" || (state === "ready" && remaining > 0);
      if (isRoutable && circuit.isClosed) remaining -= 1;
      return isRoutable;
    });
  }

  /**
   * Decide how many instances requests go to. An instance with utilisation `u` has `u / (1 - u)` requests in flight on
   * average (processor sharing), and the Worker can count the requests in flight.
   */
  #review(now: number): void {
    if (now - this.#reviewedAt < REVIEW_INTERVAL_MS) return;
    this.#reviewedAt = now;
    for (const instance of this.instances) {
      if (now - instance.reportedAt > REPORT_LIFETIME_MS) instance.othersInFlight = 0;
      const isLikelyAsleep = instance.inFlight === 0 && now - instance.lastResponseAt > this.#limits.awakeMs;
      const isStartLost = instance.state === "starting" && now - instance.stateSince > START_TIMEOUT_MS;
      if ((instance.state === "ready" && isLikelyAsleep) || isStartLost) instance.state = this.#idleState(instance);
      this.#loadAverage.update(instance, now);
    }
    const requestsPerInstance = this.#limits.targetUtilisation / (1 - this.#limits.targetUtilisation);
    const clamp = (count: number) => Math.min(Math.max(count, this.#limits.warmInstances), this.#limits.maxInstances);
    this.#neededCount = clamp(Math.ceil(this.#loadAverage.average / requestsPerInstance));
    const sufficientCount = clamp(Math.ceil(this.#loadAverage.average / (requestsPerInstance * SURPLUS_SHARE)));
    if (sufficientCount >= this.#targetCount) this.#lastNeededAt = now;
    if (this.#neededCount > this.#targetCount) {
      this.#targetCount = Math.min(this.#neededCount, 2 * this.#targetCount);
      this.#lastNeededAt = now;
    } else if (now - this.#lastNeededAt > SURPLUS_MS) {
      this.#targetCount = sufficientCount;
      this.#lastNeededAt = now;
    }
    this.#updateRoutable();
  }
}

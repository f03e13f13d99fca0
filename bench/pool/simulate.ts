/**
 * Simulation of the pool under load, without a platform. Several independent copies of the Worker's balancer send calls
 * to instances with the quota of `basic`. It is seeded: the same case always gives the same figures.
 * @module
 */

import { Balancer } from "../../worker/pool/balancer.ts";
import type { Instance } from "../../worker/pool/instance.ts";
import { Events } from "./events.ts";
import { Machine } from "./machine.ts";
import { exponential, type Random, seeded } from "./random.ts";

/** Algorithms that choose an instance. "two choices" is the Worker's policy. */
export const CHOICES = ["two choices", "round robin", "random", "one instance"] as const;
export type Choice = (typeof CHOICES)[number];

export interface Case {
  choice: Choice;
  /** Incoming work, as the number of instances that it would keep busy all the time. */
  load: number;
  max: number;
  target: number;
  seed: number;
  /** Seconds during which the load rises, and seconds of measurement after that. */
  riseS: number;
  holdS: number;
}

export interface Figures {
  choice: Choice;
  load: number;
  requests: number;
  /** Milliseconds from the Worker to the instance and back. */
  p50Ms: number;
  p99Ms: number;
  /** Average number of instances awake. */
  instances: number;
  /** Dollars per million requests: memory and disk of instances awake, and CPU used. */
  usdPerMillion: number;
}

/** Average CPU milliseconds of a call; a quarter of a CPU runs fifty calls per second. */
const CPU_MS = 5;
const QUOTA = 0.25;
/** Number of copies of the Worker, each with its own policy. */
const COPIES = 8;
/** Milliseconds from the Worker to the instance, or back. */
const HOP_MS = 2;
const SLEEP_MS = 60_000;
/** Prices of the platform: per second awake with 1 GiB of memory and 4 GB of disk, and per second of CPU. */
const AWAKE_USD_S = 0.0000025 + 4 * 0.00000007;
const CPU_USD_S = 0.00002;

/** Returns the figures of a case. */
export function simulate(options: Case): Figures {
  return new Simulation(options).run();
}

class Simulation {
  readonly #options: Case;
  readonly #random: Random;
  readonly #events = new Events();
  readonly #machines: Machine[] = [];
  readonly #copies: { balancer: Balancer; turn: number }[];
  readonly #latencies: number[] = [];
  #now = 0;

  constructor(options: Case) {
    this.#options = options;
    this.#random = seeded(options.seed);
    const max = options.choice === "one instance" ? 1 : options.max;
    const limits = {
      warmInstances: 1,
      maxInstances: max,
      targetUtilisation: options.target,
      awakeMs: SLEEP_MS * 0.8,
    };
    this.#copies = Array.from({ length: COPIES }, () => ({ balancer: new Balancer(limits, this.#random), turn: 0 }));
    this.#machine(0).start(-3_000); // warm from the beginning, because of the cron
  }

  run(): Figures {
    const { riseS, holdS } = this.#options;
    const measured = riseS * 1_000;
    const end = measured + holdS * 1_000;
    let awake = 0;
    let cpu = 0;
    const sum = (of: (machine: Machine) => number) => this.#machines.reduce((total, machine) => total + of(machine), 0);
    this.#arrive(end);
    this.#rest(end);
    this.#events.add(measured, () => {
      awake = sum((machine) => machine.awakeUntil(this.#now));
      cpu = sum(({ cpuMs }) => cpuMs);
      this.#latencies.length = 0;
    });
    for (let event = this.#events.next(); event !== undefined && event.at <= end; event = this.#events.next()) {
      this.#now = event.at;
      event.run();
    }
    this.#now = end;
    return this.#figures(
      sum((machine) => machine.awakeUntil(end)) - awake,
      sum(({ cpuMs }) => cpuMs) - cpu,
      end - measured,
    );
  }

  #arrive(end: number): void {
    const { load, riseS } = this.#options;
    const share = Math.min(1, 0.02 + this.#now / (riseS * 800)); // reaches 1 at four fifths of the rise
    const between = CPU_MS / (QUOTA * load * share);
    const at = this.#now + exponential(this.#random, between);
    if (at >= end) return;
    this.#events.add(at, () => {
      this.#call();
      this.#arrive(end);
    });
  }

  #call(): void {
    const copy = this.#copies[Math.floor(this.#random() * COPIES)] as { balancer: Balancer; turn: number };
    const { balancer } = copy;
    const began = this.#now;
    const instance = this.#chosen(copy) ?? balancer.findFallback(began, new Set());
    balancer.recordRequest(instance, began);
    const machine = this.#machine(instance.index);
    const cpuMs = exponential(this.#random, CPU_MS);
    this.#events.add(began + HOP_MS, () => {
      machine.lastAt = this.#now;
      const waited = machine.readyAt > this.#now;
      this.#events.add(machine.take(this.#now, cpuMs), () => {
        machine.inFlight -= 1;
        machine.lastAt = this.#now;
        const reported = machine.inFlight;
        this.#events.add(this.#now + HOP_MS, () => {
          const latency = this.#now - began;
          this.#latencies.push(latency);
          balancer.recordOutcome(instance, this.#now, "responded", waited ? undefined : latency, reported);
        });
      });
    });
    for (const wanted of balancer.scaleUp(began)) this.#start(balancer, wanted);
  }

  /** Returns the instance for a call. With every algorithm, the balancer decides the number of instances. */
  #chosen(copy: { balancer: Balancer; turn: number }): Instance | undefined {
    const found = copy.balancer.find(this.#now, new Set(), true);
    const { routable } = copy.balancer;
    if (this.#options.choice === "random") return routable[Math.floor(this.#random() * routable.length)];
    if (this.#options.choice !== "round robin") return found;
    copy.turn += 1;
    return routable[copy.turn % routable.length];
  }

  #start(balancer: Balancer, instance: Instance): void {
    const ready = Math.max(this.#machine(instance.index).start(this.#now), this.#now) + 2 * HOP_MS;
    this.#events.add(ready, () => balancer.recordStart(instance, this.#now, true));
  }

  #rest(end: number): void {
    this.#events.add(this.#now + 1_000, () => {
      for (const machine of this.#machines.slice(1)) machine.rest(this.#now, SLEEP_MS);
      if (this.#now < end) this.#rest(end);
    });
  }

  #machine(index: number): Machine {
    while (this.#machines.length <= index) this.#machines.push(new Machine(this.#random));
    return this.#machines[index] as Machine;
  }

  #figures(awakeMs: number, cpuMs: number, measuredMs: number): Figures {
    const { choice, load } = this.#options;
    const sorted = Float64Array.from(this.#latencies).sort();
    const at = (share: number) => round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0);
    const usd = (awakeMs * AWAKE_USD_S + cpuMs * CPU_USD_S) / 1_000;
    return {
      choice,
      load,
      requests: sorted.length,
      p50Ms: at(0.5),
      p99Ms: at(0.99),
      instances: round(awakeMs / measuredMs),
      usdPerMillion: round((usd / sorted.length) * 1e6),
    };
  }
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}

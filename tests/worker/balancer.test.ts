import { describe, expect, it } from "vitest";
import { Balancer } from "../../worker/pool/balancer";
import type { Instance } from "../../worker/pool/instance";

const LIMITS = { warmInstances: 2, maxInstances: 4, targetUtilisation: 0.7, awakeMs: 60_000 };
const NONE: ReadonlySet<Instance> = new Set();

/** Return a seeded generator of numbers between 0 and 1 (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Return a balancer whose warm instances have responded once. */
function warmBalancer(limits = LIMITS): { balancer: Balancer; at: (index: number) => Instance } {
  const balancer = new Balancer(limits, seeded(1));
  const at = (index: number) => balancer.instances[index] as Instance;
  for (let index = 0; index < limits.warmInstances; index++) {
    balancer.recordRequest(at(index), 0);
    balancer.recordOutcome(at(index), 0, "responded", 5, 0);
  }
  return { balancer, at };
}

/** Keep `requestsPerInstance` requests in flight at each ready instance. Returns the time after `durationMs`. */
function applyLoad(balancer: Balancer, requestsPerInstance: number, durationMs: number, startMs = 0): number {
  const calls = balancer.instances
    .filter(({ state }) => state === "ready")
    .flatMap((one) => Array(requestsPerInstance).fill(one));
  for (const instance of calls) balancer.recordRequest(instance, startMs);
  for (let now = startMs; now <= startMs + durationMs; now += 100) balancer.find(now, NONE, true);
  return startMs + durationMs;
}

describe("the chosen instance", () => {
  it("is the one with fewer requests in flight", () => {
    const { balancer, at } = warmBalancer();
    balancer.recordRequest(at(0), 1);
    for (let i = 0; i < 20; i++) expect(balancer.find(1, NONE, true)).toBe(at(1));
  });

  it("is the one with the lower latency", () => {
    const { balancer, at } = warmBalancer();
    for (let i = 0; i < 20; i++) {
      balancer.recordRequest(at(0), 1);
      balancer.recordOutcome(at(0), 1, "responded", 80, 0);
    }
    for (let i = 0; i < 20; i++) expect(balancer.find(2, NONE, true)).toBe(at(1));
  });

  it("may be a slow one again after some seconds without a measurement", () => {
    const { balancer, at } = warmBalancer();
    for (const ms of [80, 80, 80]) {
      balancer.recordRequest(at(0), 1);
      balancer.recordOutcome(at(0), 1, "responded", ms, 0);
    }
    expect(balancer.find(2, NONE, true)).toBe(at(1));
    balancer.recordRequest(at(1), 3_999);
    balancer.recordOutcome(at(1), 3_999, "responded", 5, 0); // the other instance has a recent measurement
    const indices = Array.from({ length: 100 }, (_, each) => {
      const instance = balancer.find(4_000 + each, NONE, true) as Instance;
      balancer.recordRequest(instance, 4_000 + each);
      return instance.index;
    });
    expect(indices.filter((index) => index === 0).length).toBeGreaterThan(30);
  });

  it("is the one with fewer requests of other isolates, until its report expires", () => {
    const { balancer, at } = warmBalancer();
    balancer.recordRequest(at(0), 1);
    balancer.recordOutcome(at(0), 1, "responded", 5, 7);
    for (let i = 0; i < 20; i++) expect(balancer.find(2, NONE, true)).toBe(at(1));
    const indices = new Set(Array.from({ length: 20 }, () => balancer.find(5_000, NONE, true)?.index));
    expect(indices).toEqual(new Set([0, 1]));
  });

  it("is random between equal instances, and reproducible with the same random numbers", () => {
    const draws = () => {
      const { balancer } = warmBalancer();
      return Array.from({ length: 50 }, () => balancer.find(1, NONE, true)?.index);
    };
    expect(new Set(draws())).toEqual(new Set([0, 1]));
    expect(draws()).toEqual(draws());
  });
});

describe("an instance with an open circuit", () => {
  it("is avoided at once after a timeout, then tried by one request, and avoided for longer if that fails", () => {
    const { balancer, at } = warmBalancer();
    balancer.recordRequest(at(0), 0);
    balancer.recordOutcome(at(0), 0, "hung");
    const chosen = (now: number) => new Set(Array.from({ length: 20 }, () => balancer.find(now, NONE, true)?.index));
    expect(chosen(999)).toEqual(new Set([1]));
    expect(chosen(1_000).has(0)).toBe(true);
    balancer.recordRequest(at(0), 1_000);
    expect(chosen(1_000)).toEqual(new Set([1])); // a request is already trying it
    balancer.recordOutcome(at(0), 1_000, "hung");
    expect(chosen(2_999)).toEqual(new Set([1]));
    balancer.recordRequest(at(0), 3_000);
    balancer.recordOutcome(at(0), 3_000, "responded", 5, 0);
    expect(chosen(3_000)).toEqual(new Set([0, 1]));
  });

  it.each(["hung", "failed"] as const)("is not avoided for longer because many requests in flight %s", (outcome) => {
    const { balancer, at } = warmBalancer();
    for (let i = 0; i < 50; i++) balancer.recordRequest(at(0), 0);
    for (let i = 0; i < 50; i++) balancer.recordOutcome(at(0), 100 + i, outcome);
    const other = new Set([at(1)]);
    expect(balancer.find(1_000, other, true)).toBeUndefined();
    expect(balancer.find(1_200, other, true)).toBe(at(0));
  });

  it("is avoided again at once if it hangs after a response", () => {
    const { balancer, at } = warmBalancer();
    for (const outcome of ["hung", "responded", "hung"] as const) {
      balancer.recordRequest(at(0), 0);
      balancer.recordOutcome(at(0), 0, outcome);
    }
    expect(balancer.find(0, new Set([at(1)]), true)).toBeUndefined();
  });

  it("is avoided after three failures that are not timeouts", () => {
    const { balancer, at } = warmBalancer();
    for (let i = 0; i < 3; i++) {
      expect(balancer.find(0, new Set([at(1)]), true)).toBe(at(0));
      balancer.recordRequest(at(0), 0);
      balancer.recordOutcome(at(0), 0, "failed");
    }
    expect(balancer.find(0, new Set([at(1)]), true)).toBeUndefined();
  });

  it("is never tried by a request that can't be retried", () => {
    const { balancer, at } = warmBalancer();
    balancer.recordRequest(at(0), 0);
    balancer.recordOutcome(at(0), 0, "hung");
    for (let i = 0; i < 20; i++) expect(balancer.find(10_000, NONE, false)).toBe(at(1));
  });

  it("is replaced by another instance, and still used if there is no other", () => {
    const alone = { ...LIMITS, warmInstances: 1, maxInstances: 2 };
    const { balancer, at } = warmBalancer(alone);
    balancer.recordRequest(at(0), 0);
    balancer.recordOutcome(at(0), 0, "hung");
    expect(balancer.scaleUp(200)).toEqual([at(1)]);
    expect(balancer.findFallback(200, new Set([at(0)]))).toBe(at(1));
    balancer.recordStart(at(1), 300, true);
    expect(balancer.find(400, NONE, false)).toBe(at(1));
    const only = warmBalancer({ ...alone, maxInstances: 1 });
    only.balancer.recordRequest(only.at(0), 0);
    only.balancer.recordOutcome(only.at(0), 0, "hung");
    expect(only.balancer.findFallback(200, new Set([only.at(0)]))).toBe(only.at(0));
  });
});

describe("the number of instances", () => {
  it("grows with the load, at most to double and to the maximum", () => {
    const { balancer } = warmBalancer();
    const now = applyLoad(balancer, 3, 5_000); // utilisation 3 / 4
    expect(balancer.scaleUp(now).map(({ index }) => index)).toEqual([2]);
    const busy = warmBalancer();
    expect(busy.balancer.scaleUp(applyLoad(busy.balancer, 50, 10_000)).map(({ index }) => index)).toEqual([2, 3]);
  });

  it("does not grow for a short burst", () => {
    const { balancer, at } = warmBalancer();
    for (let i = 0; i < 50; i++) balancer.recordRequest(at(0), 0);
    for (let i = 0; i < 50; i++) balancer.recordOutcome(at(0), 50, "responded", 50, 0);
    for (let now = 0; now < 5_000; now += 100) expect(balancer.scaleUp(now)).toEqual([]);
  });

  it("does not grow because of an expired report", () => {
    const { balancer, at } = warmBalancer();
    balancer.recordRequest(at(0), 0);
    balancer.recordOutcome(at(0), 10, "responded", 10, 9);
    expect(balancer.scaleUp(20_000)).toEqual([]);
    expect(balancer.load).toBeLessThan(0.1);
  });

  it("does not grow for requests that wait for a start", () => {
    const balancer = new Balancer({ ...LIMITS, warmInstances: 1 }, seeded(1));
    for (let i = 0; i < 50; i++) balancer.recordRequest(balancer.instances[0] as Instance, 0);
    for (let now = 0; now < 5_000; now += 100) expect(balancer.scaleUp(now)).toEqual([]);
  });

  it("includes an instance from when it is ready until it may be asleep", () => {
    const { balancer, at } = warmBalancer();
    const now = applyLoad(balancer, 3, 5_000);
    balancer.scaleUp(now);
    const others = new Set([at(0), at(1)]);
    expect(balancer.find(now, others, true)).toBeUndefined();
    balancer.recordStart(at(2), now, true);
    expect(balancer.find(now, others, true)).toBe(at(2));
    expect(balancer.find(now + LIMITS.awakeMs + 1, others, true)).toBeUndefined();
  });

  it("shrinks after fewer instances were sufficient for some time", () => {
    const { balancer, at } = warmBalancer();
    let now = applyLoad(balancer, 3, 5_000);
    balancer.scaleUp(now);
    balancer.recordStart(at(2), now, true);
    for (const instance of [at(0), at(1)])
      for (let i = 0; i < 3; i++) balancer.recordOutcome(instance, now, "responded", 5, 0);
    const until = now + 29_000;
    for (; now < until; now += 100) balancer.find(now, NONE, true);
    expect(balancer.targetCount).toBe(3);
    for (; now < until + 10_000; now += 100) balancer.find(now, NONE, true);
    expect(balancer.targetCount).toBe(2);
    expect(balancer.find(now, new Set([at(0), at(1)]), true)).toBeUndefined();
    expect(balancer.scaleUp(now)).toEqual([]);
  });

  it("does not grow again after a surplus instance fell asleep", () => {
    const { balancer, at } = warmBalancer({ ...LIMITS, awakeMs: 3_000 });
    let now = applyLoad(balancer, 3, 5_000);
    balancer.scaleUp(now);
    balancer.recordStart(at(2), now, true);
    for (const one of [at(0), at(1)]) for (let i = 0; i < 3; i++) balancer.recordOutcome(one, now, "responded", 5, 0);
    for (const until = now + 20_000; now < until; now += 100) balancer.find(now, NONE, true);
    expect(balancer.scaleUp(now)).toEqual([]);
  });

  it("retries a failed start after some time", () => {
    const { balancer, at } = warmBalancer();
    const now = applyLoad(balancer, 3, 5_000);
    balancer.scaleUp(now);
    balancer.recordStart(at(2), now, false);
    expect(balancer.scaleUp(now + 100)[0]?.index).toBe(3);
    balancer.recordStart(at(3), now + 100, false);
    expect(balancer.scaleUp(now + 200)).toEqual([]);
    expect(balancer.scaleUp(now + 1_200)[0]?.index).toBe(2);
  });
});

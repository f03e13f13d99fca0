import { describe, expect, it } from "vitest";
import { Balancer } from "../../worker/pool/balancer";
import type { Instance } from "../../worker/pool/instance";

const LIMITS = { warmInstances: 2, maxInstances: 4, targetUtilisation: 0.7, awakeMs: 60_000 };
const NOBODY: ReadonlySet<Instance> = new Set();

/** The same numbers in the same order, between 0 and 1 (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A policy with instances that answered once. */
function warmed(limits = LIMITS): { policy: Balancer; at: (index: number) => Instance } {
  const policy = new Balancer(limits, seeded(1));
  const at = (index: number) => policy.instances[index] as Instance;
  for (let index = 0; index < limits.warmInstances; index++) {
    policy.recordRequest(at(index), 0);
    policy.recordOutcome(at(index), 0, "responded", 5, 0);
  }
  return { policy, at };
}

/** Lets each instance that requests go to have so many calls under way for so long. */
function press(policy: Balancer, each: number, forMs: number, from = 0): number {
  const calls = policy.instances.filter(({ state }) => state === "ready").flatMap((one) => Array(each).fill(one));
  for (const instance of calls) policy.recordRequest(instance, from);
  for (let now = from; now <= from + forMs; now += 100) policy.find(now, NOBODY, true);
  return from + forMs;
}

describe("who answers", () => {
  it("is the less busy of two", () => {
    const { policy, at } = warmed();
    policy.recordRequest(at(0), 1);
    for (let i = 0; i < 20; i++) expect(policy.find(1, NOBODY, true)).toBe(at(1));
  });

  it("is the quicker of two, where one has been slow", () => {
    const { policy, at } = warmed();
    for (let i = 0; i < 20; i++) {
      policy.recordRequest(at(0), 1);
      policy.recordOutcome(at(0), 1, "responded", 80, 0);
    }
    for (let i = 0; i < 20; i++) expect(policy.find(2, NOBODY, true)).toBe(at(1));
  });

  it("is one that has been slow as well, when that is some seconds ago: nothing is learnt of whom nobody asks", () => {
    const { policy, at } = warmed();
    for (const ms of [80, 80, 80]) {
      policy.recordRequest(at(0), 1);
      policy.recordOutcome(at(0), 1, "responded", ms, 0);
    }
    expect(policy.find(2, NOBODY, true)).toBe(at(1));
    policy.recordRequest(at(1), 3_999);
    policy.recordOutcome(at(1), 3_999, "responded", 5, 0); // which is still known to be quick
    const asked = Array.from({ length: 100 }, (_, each) => {
      const instance = policy.find(4_000 + each, NOBODY, true) as Instance;
      policy.recordRequest(instance, 4_000 + each);
      return instance.index;
    });
    expect(asked.filter((index) => index === 0).length).toBeGreaterThan(30);
  });

  it("is the one that others keep less busy, by its own report, until that is old", () => {
    const { policy, at } = warmed();
    policy.recordRequest(at(0), 1);
    policy.recordOutcome(at(0), 1, "responded", 5, 7);
    for (let i = 0; i < 20; i++) expect(policy.find(2, NOBODY, true)).toBe(at(1));
    const drawn = new Set(Array.from({ length: 20 }, () => policy.find(5_000, NOBODY, true)?.index));
    expect(drawn).toEqual(new Set([0, 1]));
  });

  it("is by chance either, where they are alike: the same chance makes the same choice", () => {
    const draws = () => {
      const { policy } = warmed();
      return Array.from({ length: 50 }, () => policy.find(1, NOBODY, true)?.index);
    };
    expect(new Set(draws())).toEqual(new Set([0, 1]));
    expect(draws()).toEqual(draws());
  });
});

describe("a broken instance", () => {
  it("is avoided at once where it hung, tried by one call after a while, and for longer where that fails", () => {
    const { policy, at } = warmed();
    policy.recordRequest(at(0), 0);
    policy.recordOutcome(at(0), 0, "hung");
    const chosen = (now: number) => new Set(Array.from({ length: 20 }, () => policy.find(now, NOBODY, true)?.index));
    expect(chosen(999)).toEqual(new Set([1]));
    expect(chosen(1_000).has(0)).toBe(true);
    policy.recordRequest(at(0), 1_000);
    expect(chosen(1_000)).toEqual(new Set([1])); // it is being tried
    policy.recordOutcome(at(0), 1_000, "hung");
    expect(chosen(2_999)).toEqual(new Set([1]));
    policy.recordRequest(at(0), 3_000);
    policy.recordOutcome(at(0), 3_000, "responded", 5, 0);
    expect(chosen(3_000)).toEqual(new Set([0, 1]));
  });

  it.each(["hung", "failed"] as const)("is avoided no longer because many calls were under way that %s", (outcome) => {
    const { policy, at } = warmed();
    for (let i = 0; i < 50; i++) policy.recordRequest(at(0), 0);
    for (let i = 0; i < 50; i++) policy.recordOutcome(at(0), 100 + i, outcome);
    const other = new Set([at(1)]);
    expect(policy.find(1_000, other, true)).toBeUndefined();
    expect(policy.find(1_200, other, true)).toBe(at(0));
  });

  it("is avoided again at once where it hangs just after it was found to answer", () => {
    const { policy, at } = warmed();
    for (const outcome of ["hung", "responded", "hung"] as const) {
      policy.recordRequest(at(0), 0);
      policy.recordOutcome(at(0), 0, outcome);
    }
    expect(policy.find(0, new Set([at(1)]), true)).toBeUndefined();
  });

  it("is avoided after three failures of another kind", () => {
    const { policy, at } = warmed();
    for (let i = 0; i < 3; i++) {
      expect(policy.find(0, new Set([at(1)]), true)).toBe(at(0));
      policy.recordRequest(at(0), 0);
      policy.recordOutcome(at(0), 0, "failed");
    }
    expect(policy.find(0, new Set([at(1)]), true)).toBeUndefined();
  });

  it("is never tried by a call that can't be sent again", () => {
    const { policy, at } = warmed();
    policy.recordRequest(at(0), 0);
    policy.recordOutcome(at(0), 0, "hung");
    for (let i = 0; i < 20; i++) expect(policy.find(10_000, NOBODY, false)).toBe(at(1));
  });

  it("is replaced by another, and asked all the same where there is none", () => {
    const alone = { ...LIMITS, warmInstances: 1, maxInstances: 2 };
    const { policy, at } = warmed(alone);
    policy.recordRequest(at(0), 0);
    policy.recordOutcome(at(0), 0, "hung");
    expect(policy.scaleUp(200)).toEqual([at(1)]);
    expect(policy.findFallback(200, new Set([at(0)]))).toBe(at(1));
    policy.recordStart(at(1), 300, true);
    expect(policy.find(400, NOBODY, false)).toBe(at(1));
    const only = warmed({ ...alone, maxInstances: 1 });
    only.policy.recordRequest(only.at(0), 0);
    only.policy.recordOutcome(only.at(0), 0, "hung");
    expect(only.policy.findFallback(200, new Set([only.at(0)]))).toBe(only.at(0));
  });
});

describe("how many there are", () => {
  it("grows by what the load asks for, at most to the double and to the limit", () => {
    const { policy } = warmed();
    const now = press(policy, 3, 5_000); // 3 of 4 parts of the time at work
    expect(policy.scaleUp(now).map(({ index }) => index)).toEqual([2]);
    const busy = warmed();
    expect(busy.policy.scaleUp(press(busy.policy, 50, 10_000)).map(({ index }) => index)).toEqual([2, 3]);
  });

  it("doesn't grow for a burst that passes", () => {
    const { policy, at } = warmed();
    for (let i = 0; i < 50; i++) policy.recordRequest(at(0), 0);
    for (let i = 0; i < 50; i++) policy.recordOutcome(at(0), 50, "responded", 50, 0);
    for (let now = 0; now < 5_000; now += 100) expect(policy.scaleUp(now)).toEqual([]);
  });

  it("doesn't grow for what others were last reported to have under way, when nobody has asked since", () => {
    const { policy, at } = warmed();
    policy.recordRequest(at(0), 0);
    policy.recordOutcome(at(0), 10, "responded", 10, 9);
    expect(policy.scaleUp(20_000)).toEqual([]);
    expect(policy.load).toBeLessThan(0.1);
  });

  it("doesn't grow for those who wait for a start", () => {
    const policy = new Balancer({ ...LIMITS, warmInstances: 1 }, seeded(1));
    for (let i = 0; i < 50; i++) policy.recordRequest(policy.instances[0] as Instance, 0);
    for (let now = 0; now < 5_000; now += 100) expect(policy.scaleUp(now)).toEqual([]);
  });

  it("sends nobody to an instance until it is ready, and to none that has surely fallen asleep", () => {
    const { policy, at } = warmed();
    const now = press(policy, 3, 5_000);
    policy.scaleUp(now);
    const others = new Set([at(0), at(1)]);
    expect(policy.find(now, others, true)).toBeUndefined();
    policy.recordStart(at(2), now, true);
    expect(policy.find(now, others, true)).toBe(at(2));
    expect(policy.find(now + LIMITS.awakeMs + 1, others, true)).toBeUndefined();
  });

  it("shrinks when fewer would do, for long enough", () => {
    const { policy, at } = warmed();
    let now = press(policy, 3, 5_000);
    policy.scaleUp(now);
    policy.recordStart(at(2), now, true);
    for (const one of [at(0), at(1)]) for (let i = 0; i < 3; i++) policy.recordOutcome(one, now, "responded", 5, 0);
    const until = now + 29_000;
    for (; now < until; now += 100) policy.find(now, NOBODY, true);
    expect(policy.targetCount).toBe(3);
    for (; now < until + 10_000; now += 100) policy.find(now, NOBODY, true);
    expect(policy.targetCount).toBe(2);
    expect(policy.find(now, new Set([at(0), at(1)]), true)).toBeUndefined();
    expect(policy.scaleUp(now)).toEqual([]);
  });

  it("starts none again that fell asleep while it was too many", () => {
    const { policy, at } = warmed({ ...LIMITS, awakeMs: 3_000 });
    let now = press(policy, 3, 5_000);
    policy.scaleUp(now);
    policy.recordStart(at(2), now, true);
    for (const one of [at(0), at(1)]) for (let i = 0; i < 3; i++) policy.recordOutcome(one, now, "responded", 5, 0);
    for (const until = now + 20_000; now < until; now += 100) policy.find(now, NOBODY, true);
    expect(policy.scaleUp(now)).toEqual([]);
  });

  it("tries a start again that failed, after a while", () => {
    const { policy, at } = warmed();
    const now = press(policy, 3, 5_000);
    policy.scaleUp(now);
    policy.recordStart(at(2), now, false);
    expect(policy.scaleUp(now + 100)[0]?.index).toBe(3);
    policy.recordStart(at(3), now + 100, false);
    expect(policy.scaleUp(now + 200)).toEqual([]);
    expect(policy.scaleUp(now + 1_200)[0]?.index).toBe(2);
  });
});

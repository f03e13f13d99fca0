import { describe, expect, it } from "vitest";
import recorded from "../../bench/pool/results.json";
import { type Choice, simulate } from "../../bench/pool/simulate";

/** As bench/pool/main.ts runs the cases of a small load. */
const small = (choice: Choice, load: number) =>
  simulate({ choice, load, max: 1_000, target: 0.7, seed: 8, riseS: 60, holdS: 600 });

const named = ({ choice, load }: { choice: string; load: number }) =>
  recorded.find((each) => each.choice === choice && each.load === load);

describe("the simulation", () => {
  it.each(["two choices", "round robin", "random", "one instance"] as const)(
    "of %s has the recorded figures, to the digit",
    (choice) => {
      const figures = small(choice, 0.2);
      const was = named(figures);
      expect([figures.requests, figures.p50Ms, figures.p99Ms]).toEqual([was?.requests, was?.p50Ms, was?.p99Ms]);
      expect([figures.instances, figures.usdPerMillion]).toEqual([was?.instances, was?.usdPerMillion]);
    },
  );

  it("grows the pool with the load: two instances' work takes more than two, and its figures are the recorded ones", () => {
    const figures = small("two choices", 2);
    expect(figures.instances).toBeGreaterThan(2);
    expect(figures.instances).toBe(named(figures)?.instances);
    expect(figures.p99Ms).toBeLessThan(small("random", 2).p99Ms);
  });
});

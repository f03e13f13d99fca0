import { describe, expect, it } from "vitest";
import recorded from "../../bench/pool/results.json";
import { type Choice, simulate } from "../../bench/pool/simulate";

/** Simulate a case of a small load, with the parameters of bench/pool/main.ts. */
const simulateSmallLoad = (choice: Choice, load: number) =>
  simulate({ choice, load, max: 1_000, target: 0.7, seed: 8, riseS: 60, holdS: 600 });

const recordedFigures = ({ choice, load }: { choice: string; load: number }) =>
  recorded.find((each) => each.choice === choice && each.load === load);

describe("the simulation", () => {
  it.each(["two choices", "round robin", "random", "one instance"] as const)(
    "of %s has exactly the recorded figures",
    (choice) => {
      const figures = simulateSmallLoad(choice, 0.2);
      const expected = recordedFigures(figures);
      expect([figures.requests, figures.p50Ms, figures.p99Ms]).toEqual([
        expected?.requests,
        expected?.p50Ms,
        expected?.p99Ms,
      ]);
      expect([figures.instances, figures.usdPerMillion]).toEqual([expected?.instances, expected?.usdPerMillion]);
    },
  );

  it("grows the pool with the load: the load of two instances needs more than two", () => {
    const figures = simulateSmallLoad("two choices", 2);
    expect(figures.instances).toBeGreaterThan(2);
    expect(figures.instances).toBe(recordedFigures(figures)?.instances);
    expect(figures.p99Ms).toBeLessThan(simulateSmallLoad("random", 2).p99Ms);
  });
});

/**
 * Chance that comes out the same each time: a seeded source, and the distributions that are drawn from it.
 * @module
 */

export type Random = () => number;

/** Returns numbers from 0 to 1, 1 excluded, in an order that the seed decides (mulberry32). */
export function seeded(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** An exponential time: between the arrivals of callers who know nothing of each other. */
export function exponential(random: Random, mean: number): number {
  return -Math.log(1 - random()) * mean;
}

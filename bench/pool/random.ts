/**
 * Reproducible random numbers: a seeded generator and the distributions based on it.
 * @module
 */

export type Random = () => number;

/** Returns a generator of numbers in [0, 1), determined by the seed (mulberry32). */
export function seeded(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Returns an exponentially distributed time: the time between arrivals of independent clients. */
export function exponential(random: Random, mean: number): number {
  return -Math.log(1 - random()) * mean;
}

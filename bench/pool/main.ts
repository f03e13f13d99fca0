/**
 * Simulates all cases:  node bench/pool/main.ts
 * Prints the figures as JSON to stdout, and each case to stderr as soon as it is done.
 * @module
 */
import { CHOICES, type Figures, simulate } from "./simulate.ts";

const LOADS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 400, 650];
/** Maximum load of the case with one instance: above it, the queue would grow without limit. */
const MOST_FOR_ONE = 0.9;
const LIMITS = { max: 1_000, target: 0.7, seed: 8 };

const all: Figures[] = [];
for (const load of [...LOADS, 0.8, MOST_FOR_ONE].sort((a, b) => a - b)) {
  for (const choice of CHOICES) {
    if (choice === "one instance" ? load > MOST_FOR_ONE : !LOADS.includes(load)) continue;
    const holdS = load < 5 ? 600 : load < 50 ? 120 : 40;
    const figures = simulate({ ...LIMITS, choice, load, riseS: 60, holdS });
    all.push(figures);
    console.error(JSON.stringify(figures));
  }
}
console.log(JSON.stringify(all));

/**
 * Respond to `GET /status` with the pool's state, read from each Durable Object. It starts no container.
 * @module
 */

import { type Region, type Settings, settingsOf } from "../settings";
import { nameOf, type Pool, placesOf, stubOf } from "./pool";

/** Instances in one group of reads. Names are in order, so the reads end after a group without any start. */
const GROUP = 10;

/** Return the body of `GET /status`. */
export async function status(env: Env, pool: Pool): Promise<Record<string, unknown>> {
  const settings = settingsOf(env);
  const here = pool.seen();
  const regions = await Promise.all(
    placesOf(settings).map(async (region) => {
      const seen = here.find((each) => each.region === region);
      const instances = (await reports(env, settings, region)).map(({ name, report }, index) => {
        const instance = seen?.instances[index];
        const known = instance && {
          state: instance.state,
          in_flight: instance.inFlight,
          latency_ms: Math.round(instance.latencyMs),
          circuit: instance.circuit.isClosed ? "closed" : "open",
        };
        return { name, ...report, here: known };
      });
      return { region, active: seen?.active, load: Number(seen?.load.toFixed(3)), instances };
    }),
  );
  const { warm, max, target } = settings;
  return { warm, max, target, version: env.CF_VERSION_METADATA?.id, regions };
}

async function reports(env: Env, { max, warm }: Settings, region: Region | undefined) {
  const all: { name: string; report: Record<string, unknown> }[] = [];
  while (all.length < max) {
    const from = all.length;
    const names = Array.from({ length: Math.min(GROUP, max - from) }, (_, index) => nameOf(region, from + index));
    const group = await Promise.all(names.map(async (name) => ({ name, report: await report(env, name, region) })));
    all.push(...group);
    if (all.length >= warm && group.every(({ report: { starts } }) => starts === 0)) break;
  }
  return all;
}

/** Return an instance's report; the state of an unreachable one is `unknown`. */
async function report(env: Env, name: string, region: Region | undefined): Promise<Record<string, unknown>> {
  try {
    const { state, inFlight, starts, failedStarts, exits, coldCalls, startMs, hung, restarts, ready } = await stubOf(
      env,
      name,
      region,
    ).report();
    const mean = starts > failedStarts ? Math.round(startMs.total / (starts - failedStarts)) : 0;
    return {
      state,
      in_flight: inFlight,
      starts,
      failed_starts: failedStarts,
      exits,
      cold_calls: coldCalls,
      start_ms: { last: startMs.last, mean, most: startMs.most },
      hung,
      restarts,
      ready,
    };
  } catch (error) {
    console.error(`${name} can't be asked how it is: ${error}`);
    return { state: "unknown" };
  }
}

/**
 * Respond to `GET /status` with the pool's state, read from each Durable Object. It starts no container.
 * @module
 */

import { type Region, type Settings, settingsOf } from "../settings";
import { nameOf, type Pool, regionsOf, stubOf } from "./pool";

/** Instances in one group of reads. Names are in order, so the reads end after a group without any start. */
const GROUP_SIZE = 10;

/** Return the body of `GET /status`. */
export async function status(env: Env, pool: Pool): Promise<Record<string, unknown>> {
  const settings = settingsOf(env);
  const snapshot = pool.snapshot();
  const regions = await Promise.all(
    regionsOf(settings).map(async (region) => {
      const regionState = snapshot.find((each) => each.region === region);
      const instances = (await readReports(env, settings, region)).map(({ name, report }, index) => {
        const instance = regionState?.instances[index];
        const isolateView = instance && {
          state: instance.state,
          in_flight: instance.inFlight,
          latency_ms: Math.round(instance.latencyMs),
          circuit: instance.circuit.isClosed ? "closed" : "open",
        };
        return { name, ...report, here: isolateView };
      });
      return { region, active: regionState?.targetCount, load: Number(regionState?.load.toFixed(3)), instances };
    }),
  );
  const { warmInstances: warm, maxInstances: max, targetUtilisation: target } = settings;
  return { warm, max, target, version: env.CF_VERSION_METADATA?.id, regions };
}

async function readReports(env: Env, { maxInstances, warmInstances }: Settings, region: Region | undefined) {
  const reports: { name: string; report: Record<string, unknown> }[] = [];
  while (reports.length < maxInstances) {
    const from = reports.length;
    const names = Array.from({ length: Math.min(GROUP_SIZE, maxInstances - from) }, (_, index) =>
      nameOf(region, from + index),
    );
    const group = await Promise.all(names.map(async (name) => ({ name, report: await readReport(env, name, region) })));
    reports.push(...group);
    if (reports.length >= warmInstances && group.every(({ report: { starts } }) => starts === 0)) break;
  }
  return reports;
}

/** Return an instance's report; the state of an unreachable one is `unknown`. */
async function readReport(env: Env, name: string, region: Region | undefined): Promise<Record<string, unknown>> {
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
    console.error(`the status of ${name} could not be read: ${error}`);
    return { state: "unknown" };
  }
}

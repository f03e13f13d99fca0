/**
 * Keep warm instances awake: the cron sends each a readiness request.
 * @module
 */
import { CHECK } from "../http/internal_headers";
import { type Region, settingsOf } from "../settings";
import { nameOf, placesOf, READY, stubOf } from "./pool";

/**
 * Send a readiness request to every warm instance. The request starts an instance that doesn't run, restarts one that
 * doesn't respond, and renews its activity. A start alone would not renew the activity, and would accept any response
 * on the port.
 *
 * Throws an Error that names each instance without a 200 response, so that the platform marks the cron run as failed.
 */
export async function keepWarm(env: Env): Promise<void> {
  const settings = settingsOf(env);
  const kept = placesOf(settings).flatMap((region) =>
    Array.from({ length: settings.warm }, (_, index) => ({ region, name: nameOf(region, index) })),
  );
  const results = await Promise.allSettled(kept.map(({ name, region }) => ready(env, name, region)));
  const failed = results.flatMap((result, index) =>
    result.status === "rejected" ? [`${kept[index]?.name}: ${result.reason}`] : [],
  );
  if (failed.length > 0) throw new Error(`not ready: ${failed.join("; ")}`);
  const times = results.map((result, index) => `${kept[index]?.name} ${(result as { value?: number }).value} ms`);
  console.log(`warm: ${times.join(", ")}`);
}

/** Send a readiness request to one instance. Returns its duration in milliseconds. */
async function ready(env: Env, name: string, region: Region | undefined): Promise<number> {
  const began = Date.now();
  const response = await stubOf(env, name, region).fetch(READY, { headers: { [CHECK]: "yes" } });
  const body = await response.text(); // a body that is not read to its end counts as an unfinished request
  if (response.status !== 200) throw new Error(`readiness answered ${response.status} ${body.slice(0, 200)}`);
  return Date.now() - began;
}

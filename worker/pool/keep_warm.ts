/**
 * Keep warm instances awake: the cron sends each a readiness request.
 * @module
 */
import { CHECK } from "../http/internal_headers";
import { type Region, settingsOf } from "../settings";
import { nameOf, placesOf, READY, stubOf } from "./pool";

/**
 * Asks every warm instance whether it is ready, which starts it where it isn't running, starts it again where it doesn't
 * answer, and renews its activity: a start alone would renew nothing, and any answer on the port would count as ready.
 * Throws, so that the cron is marked as failed, naming each instance that did not answer 200.
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

/** How long it took to be ready, in milliseconds. */
async function ready(env: Env, name: string, region: Region | undefined): Promise<number> {
  const began = Date.now();
  const response = await stubOf(env, name, region).fetch(READY, { headers: { [CHECK]: "yes" } });
  const body = await response.text(); // read to the end, or the request would count as unfinished
  if (response.status !== 200) throw new Error(`readiness answered ${response.status} ${body.slice(0, 200)}`);
  return Date.now() - began;
}

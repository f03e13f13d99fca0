/**
 * Keep warm instances awake: the cron sends each a readiness request.
 * @module
 */
import { CHECK_HEADER } from "../http/internal_headers";
import { type Region, settingsOf } from "../settings";
import { nameOf, READY_URL, regionsOf, stubOf } from "./pool";

/**
 * Send a readiness request to every warm instance. The request starts an instance that doesn't run, restarts one that
 * doesn't respond, and renews its activity. A start alone would not renew the activity, and would accept any response
 * on the port.
 *
 * Throws an Error that names each instance without a 200 response, so that the platform marks the cron run as failed.
 */
export async function keepWarm(env: Env): Promise<void> {
  const settings = settingsOf(env);
  const warmInstances = regionsOf(settings).flatMap((region) =>
    Array.from({ length: settings.warmInstances }, (_, index) => ({ region, name: nameOf(region, index) })),
  );
  const results = await Promise.allSettled(warmInstances.map(({ name, region }) => checkReadiness(env, name, region)));
  const failed = results.flatMap((result, index) =>
    result.status === "rejected" ? [`${warmInstances[index]?.name}: ${result.reason}`] : [],
  );
  if (failed.length > 0) throw new Error(`not ready: ${failed.join("; ")}`);
  const durations = results.map(
    (result, index) => `${warmInstances[index]?.name} ${(result as { value?: number }).value} ms`,
  );
  console.log(`warm: ${durations.join(", ")}`);
}

/** Send a readiness request to one instance. Returns its duration in milliseconds. */
async function checkReadiness(env: Env, name: string, region: Region | undefined): Promise<number> {
  const startedAt = Date.now();
  const response = await stubOf(env, name, region).fetch(READY_URL, { headers: { [CHECK_HEADER]: "yes" } });
  const body = await response.text(); // a body that is not read to its end counts as an unfinished request
  if (response.status !== 200) throw new Error(`readiness responded with ${response.status} ${body.slice(0, 200)}`);
  return Date.now() - startedAt;
}

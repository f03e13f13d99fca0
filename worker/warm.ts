/**
 * The cron's work: each warm instance answers a real readiness request, so that none falls asleep or stays broken.
 * @module
 */
import { warmInstances } from "./pool";

/** The host is not looked at: the Durable Object sends the request to its own container. */
const READY = "http://container/v2/health/ready";

/**
 * Asks every warm instance whether it is ready, which starts it where it isn't running and renews its activity: a start
 * alone would renew nothing, and any answer on the port would count as ready. Throws, so that the cron is marked as
 * failed, naming each instance that did not answer 200.
 */
export async function keepWarm(env: Env): Promise<void> {
  const names = warmInstances(env);
  const results = await Promise.allSettled(names.map((name) => ready(env, name)));
  const failed = results.flatMap((result, index) =>
    result.status === "rejected" ? [`${names[index]}: ${result.reason}`] : [],
  );
  if (failed.length > 0) throw new Error(`not ready: ${failed.join("; ")}`);
  console.log(`warm: ${names.join(", ")}`);
}

async function ready(env: Env, name: string): Promise<void> {
  const response = await env.INFERENCE.getByName(name).fetch(READY);
  const body = await response.text(); // read to the end, or the request would count as unfinished
  if (response.status !== 200) throw new Error(`readiness answered ${response.status} ${body.slice(0, 200)}`);
}

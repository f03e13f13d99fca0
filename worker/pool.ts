/**
 * Which instance answers, and which are kept warm.
 * @module
 */

/** Returns the names of the instances that are kept warm, by the variable WARM_INSTANCES (a whole number from 1). */
export function warmInstances(env: Env): string[] {
  const count = Number(env.WARM_INSTANCES);
  if (!Number.isInteger(count) || count < 1) {
    throw new Error(`WARM_INSTANCES: expected a whole number from 1; got ${env.WARM_INSTANCES}`);
  }
  return Array.from({ length: count }, (_, index) => `inference-${index}`);
}

/** Returns the instance for one request: one of the warm ones, by chance. A caller can't choose, so can't start others. */
export function pick(env: Env): DurableObjectStub {
  const names = warmInstances(env);
  const name = names[Math.floor(Math.random() * names.length)] ?? "inference-0";
  return env.INFERENCE.getByName(name);
}

/**
 * What the platform calls: requests, the cron, and the class of the Durable Object.
 * @module
 */
import { app } from "./app";
import { keepWarm } from "./warm";

export { InferenceContainer } from "./container";

export default {
  fetch: app.fetch,
  scheduled: (_controller, env) => keepWarm(env),
} satisfies ExportedHandler<Env>;

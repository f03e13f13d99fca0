/**
 * Export the request handler, the cron handler and the Durable Object class.
 * @module
 */
import { app } from "./app";
import { keepWarm } from "./pool/keep_warm";

export { InferenceContainer } from "./container/container";

export default {
  fetch: app.fetch,
  scheduled: (_controller, env) => keepWarm(env),
} satisfies ExportedHandler<Env>;

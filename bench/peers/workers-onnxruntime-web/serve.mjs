/** Becomes workerd, the Workers runtime, with the Worker beside this file. */
import { dirname, resolve } from "node:path";
import { parseArgs } from "node:util";
import workerd from "workerd";

const { values } = parseArgs({ options: { port: { type: "string" }, model: { type: "string" } } });
process.execve(workerd.default, [
  workerd.default,
  "serve",
  resolve(import.meta.dirname, "config.capnp"),
  `--import-path=${dirname(resolve(values.model))}`,
  `--socket-addr=http=127.0.0.1:${values.port}`,
]);

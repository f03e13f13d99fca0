/**
 * State of one instance, as this Worker isolate knows it.
 * @module
 */
import { Circuit } from "./circuit_breaker.ts";

/**
 * State from which the balancer chooses an instance.
 *
 * - `down`: not known to run
 * - `presumed`: one of the warm instances, so it probably runs
 * - `starting`: being started
 * - `ready`: has responded
 */
export interface Instance {
  readonly index: number;
  readonly circuit: Circuit;
  state: "down" | "presumed" | "starting" | "ready";
  /** Time (ms) of the last change of state. */
  since: number;
  /** Requests in flight from this isolate. */
  inFlight: number;
  /** Requests in flight from other isolates, by the instance's last report. */
  others: number;
  /** Times (ms) of the last report and of the last response. */
  reportedAt: number;
  answeredAt: number;
  /** Moving average of the time to a response; 0 before the first one. */
  latencyMs: number;
  /** Time (ms) of the last measurement of the latency. */
  measuredAt: number;
  /** Parts of `inFlight` and `others` that the load average counts. */
  counted: { own: number; others: number };
}

/** Return an instance with no measurements. */
export function unknown(index: number, state: Instance["state"]): Instance {
  const idle = { since: 0, inFlight: 0, others: 0, reportedAt: 0, answeredAt: 0, latencyMs: 0, measuredAt: 0 };
  return { index, circuit: new Circuit(), state, ...idle, counted: { own: 0, others: 0 } };
}

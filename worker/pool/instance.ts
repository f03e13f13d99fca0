/**
 * State of one instance, as this Worker isolate knows it.
 * @module
 */
import { CircuitBreaker } from "./circuit_breaker.ts";

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
  readonly circuit: CircuitBreaker;
  state: "down" | "presumed" | "starting" | "ready";
  /** Time (ms) of the last change of state. */
  stateSince: number;
  /** Requests in flight from this isolate. */
  inFlight: number;
  /** Requests in flight from other isolates, by the instance's last report. */
  othersInFlight: number;
  /** Times (ms) of the last report and of the last response. */
  reportedAt: number;
  lastResponseAt: number;
  /** Moving average of the time to a response; 0 before the first one. */
  latencyMs: number;
  /** Time (ms) of the last measurement of the latency. */
  latencyMeasuredAt: number;
  /** Parts of `inFlight` and `othersInFlight` that the load average counts. */
  countedLoad: { own: number; others: number };
}

/** Return an instance with no measurements. */
export function newInstance(index: number, state: Instance["state"]): Instance {
  const idle = {
    stateSince: 0,
    inFlight: 0,
    othersInFlight: 0,
    reportedAt: 0,
    lastResponseAt: 0,
    latencyMs: 0,
    latencyMeasuredAt: 0,
  };
  return { index, circuit: new CircuitBreaker(), state, ...idle, countedLoad: { own: 0, others: 0 } };
}

/**
 * State of one instance, as this copy of the Worker knows it.
 * @module
 */
import { Circuit } from "./circuit_breaker.ts";

/** What the choice is made by. Nothing is known of an instance that is `down`; of a `presumed` one that it is kept warm. */
export interface Instance {
  readonly index: number;
  readonly circuit: Circuit;
  state: "down" | "presumed" | "starting" | "ready";
  /** When it came into its state. */
  since: number;
  /** Calls under way from here. */
  inFlight: number;
  /** Calls under way from elsewhere, as the instance last reported. */
  others: number;
  reportedAt: number;
  answeredAt: number;
  /** Moving average of the time to an answer; 0 where none was seen. */
  latencyMs: number;
  measuredAt: number;
  /** What of both is part of the load. */
  counted: { own: number; others: number };
}

/** Returns an instance of which nothing is known but its place in the order. */
export function unknown(index: number, state: Instance["state"]): Instance {
  const idle = { since: 0, inFlight: 0, others: 0, reportedAt: 0, answeredAt: 0, latencyMs: 0, measuredAt: 0 };
  return { index, circuit: new Circuit(), state, ...idle, counted: { own: 0, others: 0 } };
}

/**
 * Limit retries of calls that may have hung or ended an instance.
 * @module
 */
import type { Failure } from "../http/internal_headers";
import { maySpread, type Suspicion, weightOf } from "./suspicion";

/** Retries of suspected calls that a client may have at first. */
const FIRST = 5;
/** What an answered call adds, and what a client can save up: the calls under way when an instance ends. */
const EARNED = 0.2;
const MAX_SAVED = 200;
/** Clients that are remembered; beyond that the one that called longest ago is forgotten. */
const MAX_CLIENTS = 1_000;

/** Retries of suspected calls that each client has left: a client whose calls are not answered soon has none. */
export class ClientBudgets {
  readonly #left = new Map<string, number>();

  /** Records that a call of the client was answered, with no error. */
  answered(client: string): void {
    this.#put(client, Math.min(MAX_SAVED, this.#get(client) + EARNED));
  }

  /** Records that a call of the client is suspected. Returns whether the client had a retry left for it. */
  suspected(client: string): boolean {
    const left = this.#get(client);
    this.#put(client, Math.max(0, left - 1));
    return left >= 1;
  }

  #get(client: string): number {
    return this.#left.get(client) ?? FIRST;
  }

  #put(client: string, left: number): void {
    this.#left.delete(client);
    this.#left.set(client, left);
    const [oldest] = this.#left.keys();
    if (this.#left.size > MAX_CLIENTS && oldest !== undefined) this.#left.delete(oldest);
  }
}

/** One call, and what speaks against it: the instances that hung or ended under it. */
export class Suspect {
  readonly #budgets: ClientBudgets;
  readonly #client: string;
  #weight = 0;

  constructor(budgets: ClientBudgets, client: string) {
    this.#budgets = budgets;
    this.#client = client;
  }

  /** Takes in how an attempt failed. Returns whether the call may be sent again as far as it is no danger to others. */
  mayRetry(failure: Failure | undefined, suspicion: Suspicion | undefined): boolean {
    const weight = weightOf(failure, suspicion);
    if (weight === 0) return true;
    this.#weight += weight;
    return this.#budgets.suspected(this.#client) && maySpread(this.#weight);
  }
}

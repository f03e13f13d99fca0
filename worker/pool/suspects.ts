/**
 * Limit retries of requests that may have hung or ended an instance.
 * @module
 */
import type { Failure } from "../http/internal_headers";
import { maySpread, type Suspicion, weightOf } from "./suspicion";

/** Initial retries of suspected requests for each client. */
const FIRST = 5;
/** Retries added by each successful request. */
const EARNED = 0.2;
/** Maximum retries of a client: about its requests in flight when an instance ends. */
const MAX_SAVED = 200;
/** Maximum number of clients; the least recently active one is removed first. */
const MAX_CLIENTS = 1_000;

/** Retry budget of each client for suspected requests. A client whose requests keep failing soon has none left. */
export class ClientBudgets {
  readonly #left = new Map<string, number>();

  /** Record a successful request of the client. */
  answered(client: string): void {
    this.#put(client, Math.min(MAX_SAVED, this.#get(client) + EARNED));
  }

  /** Record a suspected request of the client. Returns whether the client had a retry left. */
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

/** Evidence against one request: the instances that hung or ended while they processed it. */
export class Suspect {
  readonly #budgets: ClientBudgets;
  readonly #client: string;
  #weight = 0;

  constructor(budgets: ClientBudgets, client: string) {
    this.#budgets = budgets;
    this.#client = client;
  }

  /** Record how an attempt ended. Returns whether a retry is safe for other instances. */
  mayRetry(failure: Failure | undefined, suspicion: Suspicion | undefined): boolean {
    const weight = weightOf(failure, suspicion);
    if (weight === 0) return true;
    this.#weight += weight;
    return this.#budgets.suspected(this.#client) && maySpread(this.#weight);
  }
}

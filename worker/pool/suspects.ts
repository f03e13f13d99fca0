/**
 * Limit retries of requests that may have hung or ended an instance.
 * @module
 */
import type { Failure } from "../http/internal_headers";
import { isRetrySafe, type Suspicion, suspicionWeight } from "./suspicion";

/** Initial retries of suspected requests for each client. */
const INITIAL_RETRIES = 5;
/** Retries added by each successful request. */
const RETRIES_PER_SUCCESS = 0.2;
/** Maximum retries of a client: about its requests in flight when an instance ends. */
const MAX_RETRIES = 200;
/** Maximum number of clients; the least recently active one is removed first. */
const MAX_CLIENTS = 1_000;

/** Retry budget of each client for suspected requests. A client whose requests keep failing soon has none left. */
export class ClientBudgets {
  readonly #retries = new Map<string, number>();

  /** Record a successful request of the client. */
  recordSuccess(client: string): void {
    this.#put(client, Math.min(MAX_RETRIES, this.#get(client) + RETRIES_PER_SUCCESS));
  }

  /** Record a suspected request of the client. Returns whether the client had a retry left. */
  takeRetry(client: string): boolean {
    const retries = this.#get(client);
    this.#put(client, Math.max(0, retries - 1));
    return retries >= 1;
  }

  #get(client: string): number {
    return this.#retries.get(client) ?? INITIAL_RETRIES;
  }

  #put(client: string, retries: number): void {
    this.#retries.delete(client);
    this.#retries.set(client, retries);
    const [oldest] = this.#retries.keys();
    if (this.#retries.size > MAX_CLIENTS && oldest !== undefined) this.#retries.delete(oldest);
  }
}

/** Evidence against one request: the instances that hung or ended while they processed it. */
export class SuspicionTracker {
  readonly #budgets: ClientBudgets;
  readonly #client: string;
  #weight = 0;

  constructor(budgets: ClientBudgets, client: string) {
    this.#budgets = budgets;
    this.#client = client;
  }

  /** Record how an attempt ended. Returns whether a retry is safe for other instances. */
  allowsRetry(failure: Failure | undefined, suspicion: Suspicion | undefined): boolean {
    const weight = suspicionWeight(failure, suspicion);
    if (weight === 0) return true;
    this.#weight += weight;
    return this.#budgets.takeRetry(this.#client) && isRetrySafe(this.#weight);
  }
}

/**
 * The instances of all regions, by name: choose one, send a request to it, start more.
 *
 * A Worker runs in many isolates that share no state. Each has its own pool, and learns an instance's load from the
 * instance's reports. Names are numbered in order, so isolates that need one more instance start the same one.
 * @module
 */

import { DEFAULT_TIMEOUT_MS } from "../http/deadline";
import { platformFailure } from "../http/forwarding";
import {
  FAILURE_HEADER,
  type Failure,
  MODELS_HEADER,
  reportedLoad,
  START_MS_HEADER,
  SUSPICION_HEADER,
  stripInternalHeaders,
} from "../http/internal_headers";
import { type Region, type Settings, settingsOf } from "../settings";
import { Balancer, type Outcome } from "./balancer";
import type { Instance } from "./instance";
import { sortByDistance } from "./regions";
import { ClientBudgets } from "./suspects";
import { parseSuspicion, type Suspicion } from "./suspicion";

/** One instance of the pool. */
export interface Member {
  readonly name: string;
  readonly region: Region | undefined;
  readonly balancer: Balancer;
  readonly instance: Instance;
}

/** Result of one attempt: the server's response, or the failure. */
export interface AttemptResult {
  response?: Response;
  failure?: Failure;
  /** Text for the log. */
  reason?: string;
  /** Whether the request may have hung or ended the instance. */
  suspicion?: Suspicion | undefined;
  /** Milliseconds that the request waited for a start. */
  startMs?: number;
  /** Fingerprint of the instance's models. */
  models?: string;
}

/** Time limit of one attempt, and whether its end is evidence about the instance. */
export interface AttemptOptions {
  timeoutMs: number;
  /** Whether the body is streamed, so that the time depends on the client. */
  isStreamed: boolean;
  /** Whether the time limit is too short for its end to be evidence. */
  isShort?: boolean;
  /** Aborted if the client disconnects. */
  signal: AbortSignal;
}

/** Continues work after the response; the platform allows 30 s. */
export type Background = (work: Promise<unknown>) => void;

/** Readiness URL. Its host is ignored: the Durable Object sends the request to its own container. */
export const READY_URL = "http://container/v2/health/ready";
/** Time limit of a start in the background. */
const START_TIMEOUT_MS = 25_000;
/** Time after its limit for which an unfinished request is still counted as in flight. */
const EXPIRY_GRACE_MS = 1_000;
/** Share of SLEEP_AFTER for which an instance without requests counts as awake. */
const AWAKE_SHARE = 0.8;

const pools = new WeakMap<Env, Pool>();

/** Return the pool of this Worker isolate. */
export function poolOf(env: Env): Pool {
  let pool = pools.get(env);
  if (pool === undefined) {
    pool = new Pool(env, settingsOf(env));
    pools.set(env, pool);
  }
  return pool;
}

/** Return the name of an instance: its number, after its region if regions are configured. */
export function nameOf(region: Region | undefined, index: number): string {
  return region === undefined ? `inference-${index}` : `inference-${region}-${index}`;
}

/** Return the stub of an instance. The first use of the name places the instance in the region. */
export function stubOf(env: Env, name: string, region: Region | undefined): DurableObjectStub<InferenceObject> {
  return env.INFERENCE.getByName(name, region === undefined ? {} : { locationHint: region });
}

type InferenceObject = Env["INFERENCE"] extends DurableObjectNamespace<infer Class> ? Class : never;

/** The pool of one Worker isolate. */
export class Pool {
  readonly #env: Env;
  readonly #balancers = new Map<Region | undefined, Balancer>();
  /** Retry budgets of clients for requests that may have hung or ended an instance. */
  readonly clientBudgets = new ClientBudgets();
  readonly #namesStarting = new Set<string>();
  readonly #openRequests = new Set<{ expiresAt: number; end: (outcome: Outcome) => void }>();

  constructor(env: Env, settings: Settings) {
    this.#env = env;
    const limits = { ...settings, awakeMs: settings.sleepAfterMs * AWAKE_SHARE };
    for (const region of regionsOf(settings)) this.#balancers.set(region, new Balancer(limits, Math.random));
  }

  /** Choose an instance: a routable one in the nearest region, preferably not in `triedMembers`. */
  choose(cf: Request["cf"], triedMembers: readonly Member[], mayProbe: boolean): Member {
    const routableMember = this.find(cf, triedMembers, mayProbe);
    if (routableMember !== undefined) return routableMember;
    const [region, balancer] = this.#balancersByDistance(cf)[0] as [Region | undefined, Balancer];
    const avoided = new Set(triedMembers.map(({ instance }) => instance));
    return newMember(region, balancer, balancer.findFallback(Date.now(), avoided));
  }

  /** Return a routable instance that is not in `triedMembers`, undefined if there is none. */
  find(cf: Request["cf"], triedMembers: readonly Member[], mayProbe: boolean): Member | undefined {
    const now = Date.now();
    for (const request of this.#openRequests) if (request.expiresAt < now) request.end("unknown");
    const avoided = new Set(triedMembers.map(({ instance }) => instance));
    for (const [region, balancer] of this.#balancersByDistance(cf)) {
      const instance = balancer.find(now, avoided, mayProbe);
      if (instance !== undefined) return newMember(region, balancer, instance);
    }
    return undefined;
  }

  /** Return whether another instance can take a request now. */
  hasAlternative({ instance }: Member): boolean {
    return [...this.#balancers.values()].some((balancer) => balancer.hasAlternative(instance, Date.now()));
  }

  /** Send a request to an instance. Never throws: an unreachable Durable Object results in `gone`. */
  async send(
    member: Member,
    request: Request,
    { timeoutMs, isStreamed, isShort = false, signal }: AttemptOptions,
  ): Promise<AttemptResult> {
    const { instance } = member;
    const startedAt = Date.now();
    const end = this.#track(member, Math.min(timeoutMs, DEFAULT_TIMEOUT_MS) + EXPIRY_GRACE_MS);
    signal.addEventListener("abort", () => end("unknown"), { once: true });
    const timeoutOutcome = isStreamed || isShort ? "unknown" : "hung";
    // A streaming client may have broken the connection, not the instance.
    const disconnectOutcome = isStreamed ? "unknown" : "failed";
    try {
      const response = await withTimeout(stubOf(this.#env, member.name, member.region).fetch(request), timeoutMs);
      if (response === undefined) {
        end(instance.state === "ready" ? timeoutOutcome : "unknown"); // a start may take longer than this time limit
        return { failure: "hung", reason: `no response in ${timeoutMs} ms` };
      }
      const startMs = Number(response.headers.get(START_MS_HEADER) ?? 0);
      const failure = (response.headers.get(FAILURE_HEADER) as Failure | null) ?? platformFailure(request, response);
      const latency = startMs > 0 || isStreamed ? undefined : Date.now() - startedAt;
      if (failure === undefined) {
        end("responded", latency, reportedLoad(response.headers));
        const models = response.headers.get(MODELS_HEADER) ?? undefined;
        return { response: withoutInternalHeaders(response), startMs, ...(models === undefined ? {} : { models }) };
      }
      const suspicion = parseSuspicion(response.headers.get(SUSPICION_HEADER));
      // With a suspicion, the Durable Object checks the instance's health itself.
      const hungOutcome = suspicion === undefined ? timeoutOutcome : "unknown";
      // With `alone`, the request ended the instance, so the failure is no evidence against the instance.
      const goneOutcome = suspicion === "alone" ? "unknown" : disconnectOutcome;
      end({ asleep: "asleep", start: "failed", hung: hungOutcome, gone: goneOutcome }[failure] as Outcome);
      return { failure, reason: firstLine(await response.text()), suspicion };
    } catch (error) {
      end(disconnectOutcome);
      return { failure: "gone", reason: `not reachable: ${error}` };
    }
  }

  /** Start the instances that the load requires, in the background. */
  scaleUp(background: Background): void {
    for (const [region, balancer] of this.#balancers) {
      for (const instance of balancer.scaleUp(Date.now()))
        background(this.startInstance(newMember(region, balancer, instance)));
    }
  }

  /** Start an instance, wait until it is ready, and make it routable. */
  async startInstance({ name, region, balancer, instance }: Member): Promise<void> {
    if (this.#namesStarting.has(name)) return;
    this.#namesStarting.add(name);
    const readiness = stubOf(this.#env, name, region)
      .fetch(READY_URL)
      .then(async (response) => ({ status: response.status, body: firstLine(await response.text()) }))
      .catch((error) => ({ status: 0, body: String(error) }));
    const result = await withTimeout(readiness, START_TIMEOUT_MS);
    this.#namesStarting.delete(name);
    balancer.recordStart(instance, Date.now(), result?.status === 200);
    const problem = result === undefined ? `not ready in ${START_TIMEOUT_MS} ms` : `${result.status} ${result.body}`;
    if (result?.status === 200) console.log(`${name} joined`);
    else console.error(`${name} did not start: ${problem}`);
  }

  /** Return the fingerprint of the nearest instance's models, without starting it; undefined if unknown or late. */
  async models(cf: Request["cf"], timeoutMs: number): Promise<string | undefined> {
    const { name, region } = this.choose(cf, [], false);
    try {
      return await withTimeout(stubOf(this.#env, name, region).models(), timeoutMs);
    } catch (error) {
      console.error(`the models of ${name} could not be read: ${error}`);
      return undefined;
    }
  }

  /** Return each region's number of routable instances, load and instances, as this isolate knows them. */
  snapshot(): { region: Region | undefined; targetCount: number; load: number; instances: readonly Instance[] }[] {
    return [...this.#balancers].map(([region, { targetCount, load, instances }]) => ({
      region,
      targetCount,
      load,
      instances,
    }));
  }

  /**
   * Count a request as in flight. Returns the function that ends it; only the first call has an effect. A request also
   * ends after `durationMs`, because the runtime may drop a disconnected client's handler without an abort event.
   */
  #track({ balancer, instance }: Member, durationMs: number) {
    balancer.recordRequest(instance, Date.now());
    const openRequest = {
      expiresAt: Date.now() + durationMs,
      end: (outcome: Outcome, latencyMs?: number, reportedOthers?: number) => {
        if (this.#openRequests.delete(openRequest))
          balancer.recordOutcome(instance, Date.now(), outcome, latencyMs, reportedOthers);
      },
    };
    this.#openRequests.add(openRequest);
    return openRequest.end;
  }

  #balancersByDistance(cf: Request["cf"]): [Region | undefined, Balancer][] {
    if (this.#balancers.size === 1) return [...this.#balancers];
    const regions = sortByDistance([...this.#balancers.keys()] as Region[], cf);
    return regions.map((region) => [region, this.#balancers.get(region) as Balancer]);
  }
}

/** Return the regions of the instances; undefined lets the platform choose. */
export function regionsOf({ regions }: Settings): (Region | undefined)[] {
  return regions.length === 0 ? [undefined] : [...new Set(regions)];
}

function newMember(region: Region | undefined, balancer: Balancer, instance: Instance): Member {
  return { name: nameOf(region, instance.index), region, balancer, instance };
}

/** Return the response for the client, without internal headers. */
function withoutInternalHeaders(response: Response): Response {
  const copy = new Response(response.body, response); // the headers of a received response are immutable
  stripInternalHeaders(copy.headers);
  return copy;
}

async function withTimeout<Value>(work: Promise<Value>, ms: number): Promise<Value | undefined> {
  let timer: number | null = null;
  const timeout = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

function firstLine(text: string): string {
  return (text.split("\n", 1)[0] ?? "").slice(0, 200);
}

/**
 * The instances of all regions, by name: choose one, send a request to it, start more.
 *
 * A Worker runs in many isolates that share no state. Each has its own pool, and learns an instance's load from the
 * instance's reports. Names are numbered in order, so isolates that need one more instance start the same one.
 * @module
 */

import { PATIENCE_MS } from "../http/deadline";
import { platformFailure } from "../http/forwarding";
import { FAILURE, type Failure, MODELS, reportedLoad, START_MS, SUSPICION, stripHop } from "../http/internal_headers";
import { type Region, type Settings, settingsOf } from "../settings";
import { type Outcome, Policy } from "./balancer";
import type { Instance } from "./instance";
import { nearest } from "./regions";
import { ClientBudgets } from "./suspects";
import { type Suspicion, suspicionOf } from "./suspicion";

/** One instance of the pool. */
export interface Member {
  readonly name: string;
  readonly region: Region | undefined;
  readonly policy: Policy;
  readonly instance: Instance;
}

/** Result of one attempt: the server's response, or the failure. */
export interface Reply {
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
export interface Wait {
  timeoutMs: number;
  /** Whether the body is streamed, so that the time depends on the client. */
  isStreamed: boolean;
  /** Whether the time limit is too short for its end to be evidence. */
  isHurried?: boolean;
  /** Aborted if the client disconnects. */
  signal: AbortSignal;
}

/** Continues work after the response; the platform allows 30 s. */
export type Background = (work: Promise<unknown>) => void;

/** Readiness URL. Its host is ignored: the Durable Object sends the request to its own container. */
export const READY = "http://container/v2/health/ready";
/** Time limit of a start in the background. */
const WAKE_MS = 25_000;
/** Time after its limit for which an unfinished request is still counted as in flight. */
const LEASE_MS = 1_000;
/** Share of SLEEP_AFTER for which an instance without requests counts as awake. */
const MARGIN = 0.8;

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
export function stubOf(env: Env, name: string, region: Region | undefined): DurableObjectStub<Instances> {
  return env.INFERENCE.getByName(name, region === undefined ? {} : { locationHint: region });
}

type Instances = Env["INFERENCE"] extends DurableObjectNamespace<infer Class> ? Class : never;

/** The pool of one Worker isolate. */
export class Pool {
  readonly #env: Env;
  readonly #policies = new Map<Region | undefined, Policy>();
  /** Retry budgets of clients for requests that may have hung or ended an instance. */
  readonly clients = new ClientBudgets();
  readonly #waking = new Set<string>();
  readonly #calls = new Set<{ until: number; end: (outcome: Outcome) => void }>();

  constructor(env: Env, settings: Settings) {
    this.#env = env;
    const limits = { ...settings, awakeMs: settings.sleepAfterMs * MARGIN };
    for (const region of placesOf(settings)) this.#policies.set(region, new Policy(limits, Math.random));
  }

  /** Choose an instance: a routable one in the nearest region, preferably not in `tried`. */
  pick(cf: Request["cf"], tried: readonly Member[], mayTry: boolean): Member {
    const found = this.find(cf, tried, mayTry);
    if (found !== undefined) return found;
    const [region, policy] = this.#near(cf)[0] as [Region | undefined, Policy];
    return member(region, policy, policy.settle(Date.now(), new Set(tried.map(({ instance }) => instance))));
  }

  /** Return a routable instance that is not in `tried`, undefined if there is none. */
  find(cf: Request["cf"], tried: readonly Member[], mayTry: boolean): Member | undefined {
    const now = Date.now();
    for (const call of this.#calls) if (call.until < now) call.end("left");
    const avoided = new Set(tried.map(({ instance }) => instance));
    for (const [region, policy] of this.#near(cf)) {
      const instance = policy.find(now, avoided, mayTry);
      if (instance !== undefined) return member(region, policy, instance);
    }
    return undefined;
  }

  /** Return whether another instance can take a request now. */
  hasOther({ instance }: Member): boolean {
    return [...this.#policies.values()].some((policy) => policy.hasOther(instance, Date.now()));
  }

  /** Send a request to an instance. Never throws: an unreachable Durable Object results in `gone`. */
  async ask(
    member: Member,
    request: Request,
    { timeoutMs, isStreamed, isHurried = false, signal }: Wait,
  ): Promise<Reply> {
    const { instance } = member;
    const began = Date.now();
    const end = this.#begin(member, Math.min(timeoutMs, PATIENCE_MS) + LEASE_MS);
    signal.addEventListener("abort", () => end("left"), { once: true });
    const silent = isStreamed || isHurried ? "left" : "hung";
    // A streaming client may have broken the connection, not the instance.
    const broken = isStreamed ? "left" : "failed";
    try {
      const response = await within(stubOf(this.#env, member.name, member.region).fetch(request), timeoutMs);
      if (response === undefined) {
        end(instance.state === "ready" ? silent : "left"); // a start may take longer than this time limit
        return { failure: "hung", reason: `no answer in ${timeoutMs} ms` };
      }
      const startMs = Number(response.headers.get(START_MS) ?? 0);
      const told = (response.headers.get(FAILURE) as Failure | null) ?? platformFailure(request, response);
      const latency = startMs > 0 || isStreamed ? undefined : Date.now() - began;
      if (told === undefined) {
        end("answered", latency, reportedLoad(response.headers));
        const models = response.headers.get(MODELS) ?? undefined;
        return { response: shown(response), startMs, ...(models === undefined ? {} : { models }) };
      }
      const suspicion = suspicionOf(response.headers.get(SUSPICION));
      // A suspected request is no evidence against the instance: its Durable Object checks the instance's health.
      const hung = suspicion === undefined ? silent : "left";
      const gone = suspicion === "alone" ? "left" : broken;
      end({ asleep: "asleep", start: "failed", hung, gone }[told] as Outcome);
      return { failure: told, reason: firstLine(await response.text()), suspicion };
    } catch (error) {
      end(broken);
      return { failure: "gone", reason: `not reached: ${error}` };
    }
  }

  /** Start the instances that the load requires, in the background. */
  grow(background: Background): void {
    for (const [region, policy] of this.#policies) {
      for (const instance of policy.wanted(Date.now())) background(this.wake(member(region, policy, instance)));
    }
  }

  /** Start an instance, wait until it is ready, and make it routable. */
  async wake({ name, region, policy, instance }: Member): Promise<void> {
    if (this.#waking.has(name)) return;
    this.#waking.add(name);
    const answer = stubOf(this.#env, name, region)
      .fetch(READY)
      .then(async (response) => ({ status: response.status, body: firstLine(await response.text()) }))
      .catch((error) => ({ status: 0, body: String(error) }));
    const said = await within(answer, WAKE_MS);
    this.#waking.delete(name);
    policy.started(instance, Date.now(), said?.status === 200);
    const told = said === undefined ? `not ready in ${WAKE_MS} ms` : `${said.status} ${said.body}`;
    if (said?.status === 200) console.log(`${name} joined`);
    else console.error(`${name} did not start: ${told}`);
  }

  /** Return the fingerprint of the nearest instance's models, without starting it; undefined if unknown or late. */
  async models(cf: Request["cf"], timeoutMs: number): Promise<string | undefined> {
    const { name, region } = this.pick(cf, [], false);
    try {
      return await within(stubOf(this.#env, name, region).models(), timeoutMs);
    } catch (error) {
      console.error(`${name} can't be asked for its models: ${error}`);
      return undefined;
    }
  }

  /** Return each region's number of routable instances, load and instances, as this isolate knows them. */
  seen(): { region: Region | undefined; active: number; load: number; instances: readonly Instance[] }[] {
    return [...this.#policies].map(([region, { active, load, instances }]) => ({ region, active, load, instances }));
  }

  /**
   * Count a request as in flight. Returns the function that ends it; only the first call has an effect. A request also
   * ends after `forMs`, because the runtime may drop a disconnected client's handler without an abort event.
   */
  #begin({ policy, instance }: Member, forMs: number) {
    policy.began(instance, Date.now());
    const call = {
      until: Date.now() + forMs,
      end: (outcome: Outcome, latencyMs?: number, reported?: number) => {
        if (this.#calls.delete(call)) policy.ended(instance, Date.now(), outcome, latencyMs, reported);
      },
    };
    this.#calls.add(call);
    return call.end;
  }

  #near(cf: Request["cf"]): [Region | undefined, Policy][] {
    if (this.#policies.size === 1) return [...this.#policies];
    const regions = nearest([...this.#policies.keys()] as Region[], cf);
    return regions.map((region) => [region, this.#policies.get(region) as Policy]);
  }
}

/** Return the regions of the instances; undefined lets the platform choose. */
export function placesOf({ regions }: Settings): (Region | undefined)[] {
  return regions.length === 0 ? [undefined] : [...new Set(regions)];
}

function member(region: Region | undefined, policy: Policy, instance: Instance): Member {
  return { name: nameOf(region, instance.index), region, policy, instance };
}

/** Return the response for the client, without internal headers. */
function shown(response: Response): Response {
  const answer = new Response(response.body, response); // the headers of a received response are immutable
  stripHop(answer.headers);
  return answer;
}

async function within<Value>(work: Promise<Value>, ms: number): Promise<Value | undefined> {
  let timer: number | null = null;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function firstLine(text: string): string {
  return (text.split("\n", 1)[0] ?? "").slice(0, 200);
}

/**
 * The instances by name: which one is asked, how it did, and which are started and kept warm.
 *
 * A Worker runs as many copies that know nothing of each other. Each has a pool of its own, and learns how busy an instance
 * is from what that one reports; they agree on names, which are given in order, so that two who want one more instance
 * want the same one.
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

/** What came of asking one: the server's answer, or why there is none. */
export interface Reply {
  response?: Response;
  failure?: Failure;
  reason?: string;
  /** Whether the call may be what hung or ended the instance. */
  suspicion?: Suspicion | undefined;
  /** How long the call waited for a start. */
  startMs?: number;
  /** Which models answered. */
  models?: string;
}

/** How long an instance is waited for, and whether that says something of the instance. */
export interface Wait {
  timeoutMs: number;
  /** The body comes as fast as its sender sends it. */
  isStreamed: boolean;
  /** The caller leaves the instance too little time. */
  isHurried?: boolean;
  /** Tells that the client disconnected. */
  signal: AbortSignal;
}

/** Keeps work going on behind the answer; the platform gives it 30 s. */
export type Background = (work: Promise<unknown>) => void;

/** The host is not looked at: the Durable Object sends the request to its own container. */
export const READY = "http://container/v2/health/ready";
const WAKE_MS = 25_000;
/** How long after its time a call that nobody ended is still counted. */
const LEASE_MS = 1_000;
/** How much earlier than SLEEP_AFTER an instance is no longer relied on to be awake. */
const MARGIN = 0.8;

const pools = new WeakMap<Env, Pool>();

/** Returns the pool of this copy of the Worker. */
export function poolOf(env: Env): Pool {
  let pool = pools.get(env);
  if (pool === undefined) {
    pool = new Pool(env, settingsOf(env));
    pools.set(env, pool);
  }
  return pool;
}

/** Returns the name of an instance: in order, and with its region where there are several. */
export function nameOf(region: Region | undefined, index: number): string {
  return region === undefined ? `inference-${index}` : `inference-${region}-${index}`;
}

/** Returns the stub of an instance; its first use places it near its region. */
export function stubOf(env: Env, name: string, region: Region | undefined): DurableObjectStub<Instances> {
  return env.INFERENCE.getByName(name, region === undefined ? {} : { locationHint: region });
}

type Instances = Env["INFERENCE"] extends DurableObjectNamespace<infer Class> ? Class : never;

export class Pool {
  readonly #env: Env;
  readonly #policies = new Map<Region | undefined, Policy>();
  /** How many calls of each client that may have hung or ended an instance are sent again. */
  readonly clients = new ClientBudgets();
  readonly #waking = new Set<string>();
  readonly #calls = new Set<{ until: number; end: (outcome: Outcome) => void }>();

  constructor(env: Env, settings: Settings) {
    this.#env = env;
    const limits = { ...settings, awakeMs: settings.sleepAfterMs * MARGIN };
    for (const region of placesOf(settings)) this.#policies.set(region, new Policy(limits, Math.random));
  }

  /** Returns the instance to ask: of the nearest region that has one at once, and not one of those that were `tried`. */
  pick(cf: Request["cf"], tried: readonly Member[], mayTry: boolean): Member {
    const found = this.find(cf, tried, mayTry);
    if (found !== undefined) return found;
    const [region, policy] = this.#near(cf)[0] as [Region | undefined, Policy];
    return member(region, policy, policy.settle(Date.now(), new Set(tried.map(({ instance }) => instance))));
  }

  /** Returns an instance that should answer at once, undefined where there is none but those that were `tried`. */
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

  /** Returns whether another instance than this one could answer at once. */
  hasOther({ instance }: Member): boolean {
    return [...this.#policies.values()].some((policy) => policy.hasOther(instance, Date.now()));
  }

  /** Sends a request to an instance. Never throws: a Durable Object that can't be reached is `gone`. */
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
    const broken = isStreamed ? "left" : "failed"; // by its sender, who may have broken off, as well as by the instance
    try {
      const response = await within(stubOf(this.#env, member.name, member.region).fetch(request), timeoutMs);
      if (response === undefined) {
        end(instance.state === "ready" ? silent : "left"); // a start may take longer than this caller waits
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
      // Of a suspected call nothing is held against the instance: its Durable Object checks it, and sends calls away meanwhile.
      const hung = suspicion === undefined ? silent : "left";
      const gone = suspicion === "alone" ? "left" : broken;
      end({ asleep: "asleep", start: "failed", hung, gone }[told] as Outcome);
      return { failure: told, reason: firstLine(await response.text()), suspicion };
    } catch (error) {
      end(broken);
      return { failure: "gone", reason: `not reached: ${error}` };
    }
  }

  /** Starts, behind the answers, what the load asks for. */
  grow(background: Background): void {
    for (const [region, policy] of this.#policies) {
      for (const instance of policy.wanted(Date.now())) background(this.wake(member(region, policy, instance)));
    }
  }

  /** Waits until an instance is ready, which starts it where it doesn't run, and lets requests go to it. */
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

  /** Returns which models the nearest instance has, without starting it; undefined where it isn't known, or said in time. */
  async models(cf: Request["cf"], timeoutMs: number): Promise<string | undefined> {
    const { name, region } = this.pick(cf, [], false);
    try {
      return await within(stubOf(this.#env, name, region).models(), timeoutMs);
    } catch (error) {
      console.error(`${name} can't be asked for its models: ${error}`);
      return undefined;
    }
  }

  /** Returns, of each region, how many instances requests go to from here, and the calls they are at work on. */
  seen(): { region: Region | undefined; active: number; load: number; instances: readonly Instance[] }[] {
    return [...this.#policies].map(([region, { active, load, instances }]) => ({ region, active, load, instances }));
  }

  /**
   * Returns how to end a call once: by its answer, by its caller's leave, or by time, for the runtime drops the work of a
   * caller who leaves, and not every way to it tells.
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

/** Returns the regions that instances stand in; undefined is the platform's choice. */
export function placesOf({ regions }: Settings): (Region | undefined)[] {
  return regions.length === 0 ? [undefined] : [...new Set(regions)];
}

function member(region: Region | undefined, policy: Policy, instance: Instance): Member {
  return { name: nameOf(region, instance.index), region, policy, instance };
}

/** What the caller sees of an answer: all but the hop's own words. */
function shown(response: Response): Response {
  const answer = new Response(response.body, response); // the headers of the one that came can't be changed
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

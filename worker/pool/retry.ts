/**
 * Send a call to an instance, and retry it on another within the deadline.
 * @module
 */
import type { Body } from "../http/bodies";
import { type Deadline, shorten } from "../http/deadline";
import { forwardedHeaders, isRefused } from "../http/forwarding";
import { ATTEMPT_MS, isHurried, WAIT } from "../http/internal_headers";
import type { Route } from "../http/routes";
import { refuser } from "../http/rpc_errors";
import type { Background, Member, Pool, Reply } from "./pool";
import { RetryBudget } from "./retry_budget";
import { Suspect } from "./suspects";

const ATTEMPTS = 7;
/** Before the same instance is asked again: 50 ms, then 100, 200, ... and up to half as much more by chance. */
const BACKOFF_MS = 50;
/** What an instance is given beyond its own time, and a start beyond the longest one, until its Durable Object is not waited for. */
const GRACE_MS = 2_000;

/** Where a call came from, and what it may take. */
export interface Call {
  request: Request;
  route: Route;
  /** The body where it can be sent again: undefined where it is streamed. */
  body: Body;
  id: string;
  /** Who sent it: the name of the API key, or the network of the address. */
  client: string;
  pool: Pool;
  deadline: Deadline;
  attemptTimeoutMs: number;
  /** Whether the response is cacheable: then it is requested uncompressed, for other clients. */
  isKept: boolean;
  background: Background;
}

/** How a call was answered: the response, by whom, and how often it was sent. */
export interface Answered {
  response: Response;
  instance: string;
  attempts: number;
  startMs: number;
  models: string | undefined;
}

const budgets = new WeakMap<Pool, RetryBudget>();

/**
 * Returns the server's answer, or what a caller is told where there is none: never the platform's words. Every call that
 * passes is free of side effects, so it may be sent again as long as its body is at hand, which a file's never is, and as
 * long as it can't be what hung or ended the instances that it was sent to.
 */
export async function answered(call: Call): Promise<Answered> {
  const { request, body, pool, deadline, background } = call;
  const budget = budgetOf(pool);
  budget.called(Date.now());
  const isKept = body !== undefined;
  const suspect = new Suspect(pool.clients, call.client);
  const tried: Member[] = [];
  let member = pool.pick(request.cf, tried, isKept);
  for (let attempts = 1; ; attempts++) {
    pool.grow(background);
    const reply = await attempt(call, member, attempts);
    pool.grow(background);
    const answer = { instance: member.name, attempts, startMs: reply.startMs ?? 0, models: reply.models };
    const { aborted: isDisconnected } = request.signal;
    if (reply.failure !== undefined && !isDisconnected)
      console.error(`${call.id} ${member.name} ${reply.failure}: ${reply.reason}`);
    if (reply.failure === "asleep") background(pool.wake(member));
    tried.push(member);
    const mayRetry = suspect.mayRetry(reply.failure, reply.suspicion);
    const next = attempts < ATTEMPTS && isKept ? another(call, tried, reply) : undefined;
    const isOver = Date.now() >= deadline.at;
    const isLast = next === undefined || isOver || isDisconnected || !mayRetry;
    if (isLast || !(reply.failure === "asleep" || budget.take(Date.now()))) {
      if (reply.response?.ok) pool.clients.answered(call.client);
      return { response: reply.response ?? told(request, reply, deadline.isCallers && isOver), ...answer };
    }
    await reply.response?.body?.cancel();
    const isSame = tried.some(({ instance }) => instance === next.instance);
    // A call under which an instance ended waits too: where all end at once, the next one would count against it as well.
    if ((isSame && reply.failure !== "asleep") || (reply.failure === "gone" && reply.suspicion !== undefined)) {
      await pause(Math.min(BACKOFF_MS * 2 ** (attempts - 1) * (1 + Math.random() / 2), deadline.at - Date.now()));
    }
    member = next;
  }
}

/** The instance to send a call to again, undefined where its reply stands. */
function another({ pool, request }: Call, tried: Member[], reply: Reply): Member | undefined {
  if (reply.response !== undefined && !isRefused(reply.response)) return undefined;
  // Who is full, or doesn't start, would be no better the second time: another one, or none.
  if (reply.response !== undefined || reply.failure === "start") return pool.find(request.cf, tried, true);
  return pool.pick(request.cf, tried, true);
}

/** Sends a call to an instance once, for as long as it may take. */
function attempt(call: Call, member: Member, attempts: number): Promise<Reply> {
  const { request, route, body, pool, deadline, attemptTimeoutMs } = call;
  const headers = forwardedHeaders(request, call.id);
  if (call.isKept) headers.set("accept-encoding", "identity");
  const isStreamed = body === undefined;
  const about = { isStreamed, signal: request.signal };
  if (route.isFile) return pool.ask(member, sent(request, headers, body), { ...about, timeoutMs: FOREVER_MS });
  const leftMs = deadline.at - Date.now();
  const hasOther = !isStreamed && pool.hasOther(member);
  // What is streamed takes as long as its sender does. Else half of what is left, where another could use the other half.
  const mostMs = isStreamed ? leftMs : Math.min(attemptTimeoutMs, hasOther ? leftMs / 2 : leftMs);
  headers.set(ATTEMPT_MS, String(Math.max(1, Math.floor(mostMs))));
  if (attempts > 1) shorten(headers, leftMs);
  // A start is waited for knowingly: by who has no other to ask, after hearing that this one is asleep.
  const isAwake = !isStreamed && (member.instance.state === "ready" || hasOther);
  if (isAwake) headers.set(WAIT, "no");
  const timeoutMs = isAwake ? Math.min(mostMs + Math.min(GRACE_MS, mostMs / 2), leftMs) : leftMs;
  const wait = { ...about, timeoutMs: Math.max(0, timeoutMs), isHurried: isHurried(mostMs, attemptTimeoutMs) };
  return pool.ask(member, sent(request, headers, body), wait);
}

/** The request as it is sent on: with the body that is kept, or else the one that comes. */
function sent(request: Request, headers: Headers, body: Body): Request {
  if (body === undefined) return new Request(request, { headers, redirect: "manual" });
  const { method, signal } = request;
  return new Request(request.url, { method, headers, body, redirect: "manual", signal });
}

/** The longest time that a timer holds: a file takes what it takes. */
const FOREVER_MS = 2 ** 31 - 1;

function told(request: Request, { failure }: Reply, isLate: boolean): Response {
  if (isLate) return refuser(request)("deadline_exceeded", "no container instance answered within the deadline");
  return refuser(request)("unavailable", WORDS[failure ?? "gone"]);
}

const WORDS = {
  asleep: "the container instance is being started; try again",
  start: "no container instance could be started; try again",
  hung: "no container instance answered in time; try again",
  gone: "no container instance can answer now; try again",
};

function budgetOf(pool: Pool): RetryBudget {
  let budget = budgets.get(pool);
  if (budget === undefined) {
    budget = new RetryBudget();
    budgets.set(pool, budget);
  }
  return budget;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

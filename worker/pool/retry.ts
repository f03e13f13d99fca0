/**
 * Send a request to an instance, and retry it on another one within the deadline.
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

/** Maximum attempts for one request. */
const ATTEMPTS = 7;
/** First pause before a retry on the same instance. It doubles each time, plus up to half at random. */
const BACKOFF_MS = 50;
/** Time that the Durable Object has to respond after the server's time limit. */
const GRACE_MS = 2_000;

/** A client's request, with everything that its attempts need. */
export interface Call {
  request: Request;
  route: Route;
  /** Held body, which can be sent again; undefined if the body is streamed. */
  body: Body;
  id: string;
  /** Client's identity: the name of its API key, or the network of its address. */
  client: string;
  pool: Pool;
  deadline: Deadline;
  attemptTimeoutMs: number;
  /** Whether the response may be cached. It is then requested uncompressed, so that all clients can read it. */
  isKept: boolean;
  background: Background;
}

/** The response to a request, the last instance and the number of attempts. */
export interface Answered {
  response: Response;
  instance: string;
  attempts: number;
  startMs: number;
  models: string | undefined;
}

const budgets = new WeakMap<Pool, RetryBudget>();

/**
 * Return the server's response, or the Worker's own error; never the platform's error text.
 *
 * Forwarded requests have no side effects. A request is therefore retried if its body is held (a file's never is),
 * unless it may have hung or ended the instances that it was sent to.
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
    // Also pause after an instance ended: if all end at once, the next end would also count against this request.
    if ((isSame && reply.failure !== "asleep") || (reply.failure === "gone" && reply.suspicion !== undefined)) {
      await pause(Math.min(BACKOFF_MS * 2 ** (attempts - 1) * (1 + Math.random() / 2), deadline.at - Date.now()));
    }
    member = next;
  }
}

/** Return the instance for the next attempt, undefined if the last result is final. */
function another({ pool, request }: Call, tried: Member[], reply: Reply): Member | undefined {
  if (reply.response !== undefined && !isRefused(reply.response)) return undefined;
  // A second attempt on a full instance, or on one that failed to start, would not help.
  if (reply.response !== undefined || reply.failure === "start") return pool.find(request.cf, tried, true);
  return pool.pick(request.cf, tried, true);
}

/** Send a request to an instance once, with the time limit of one attempt. */
function attempt(call: Call, member: Member, attempts: number): Promise<Reply> {
  const { request, route, body, pool, deadline, attemptTimeoutMs } = call;
  const headers = forwardedHeaders(request, call.id);
  if (call.isKept) headers.set("accept-encoding", "identity");
  const isStreamed = body === undefined;
  const about = { isStreamed, signal: request.signal };
  if (route.isFile) return pool.ask(member, sent(request, headers, body), { ...about, timeoutMs: FOREVER_MS });
  const leftMs = deadline.at - Date.now();
  const hasOther = !isStreamed && pool.hasOther(member);
  // The time of a streamed body depends on the client. Other requests leave half of their time for another instance.
  const mostMs = isStreamed ? leftMs : Math.min(attemptTimeoutMs, hasOther ? leftMs / 2 : leftMs);
  headers.set(ATTEMPT_MS, String(Math.max(1, Math.floor(mostMs))));
  if (attempts > 1) shorten(headers, leftMs);
  // Only a request without another instance waits for a start.
  const isAwake = !isStreamed && (member.instance.state === "ready" || hasOther);
  if (isAwake) headers.set(WAIT, "no");
  const timeoutMs = isAwake ? Math.min(mostMs + Math.min(GRACE_MS, mostMs / 2), leftMs) : leftMs;
  const wait = { ...about, timeoutMs: Math.max(0, timeoutMs), isHurried: isHurried(mostMs, attemptTimeoutMs) };
  return pool.ask(member, sent(request, headers, body), wait);
}

/** Return the request for the container, with the held or the streamed body. */
function sent(request: Request, headers: Headers, body: Body): Request {
  if (body === undefined) return new Request(request, { headers, redirect: "manual" });
  const { method, signal } = request;
  return new Request(request.url, { method, headers, body, redirect: "manual", signal });
}

/** Longest time that a timer can hold: a file has no time limit. */
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

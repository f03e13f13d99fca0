/**
 * Send a request to an instance, and retry it on another one within the deadline.
 * @module
 */
import type { Body } from "../http/bodies";
import { type Deadline, setRemainingTime } from "../http/deadline";
import { forwardedHeaders, isTemporaryRejection } from "../http/forwarding";
import { ATTEMPT_MS_HEADER, isShortAttempt, WAIT_HEADER } from "../http/internal_headers";
import type { Route } from "../http/routes";
import { rejectionFor } from "../http/rpc_errors";
import type { AttemptResult, Background, Member, Pool } from "./pool";
import { RetryBudget } from "./retry_budget";
import { SuspicionTracker } from "./suspects";

/** Maximum attempts for one request. */
const MAX_ATTEMPTS = 7;
/** First pause before a retry on the same instance. It doubles each time, plus up to half at random. */
const BACKOFF_MS = 50;
/** Time that the Durable Object has to respond after the server's time limit. */
const GRACE_MS = 2_000;

/** A client's request, with everything that its attempts need. */
export interface OutgoingRequest {
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
  mayCache: boolean;
  background: Background;
}

/** The response to a request, the last instance and the number of attempts. */
export interface ForwardResult {
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
export async function fetchWithRetry(outgoing: OutgoingRequest): Promise<ForwardResult> {
  const { request, body, pool, deadline, background } = outgoing;
  const budget = budgetOf(pool);
  budget.recordRequest(Date.now());
  const isHeld = body !== undefined;
  const suspicion = new SuspicionTracker(pool.clientBudgets, outgoing.client);
  const triedMembers: Member[] = [];
  let member = pool.choose(request.cf, triedMembers, isHeld);
  for (let attempts = 1; ; attempts++) {
    pool.scaleUp(background);
    const result = await sendOnce(outgoing, member, attempts);
    pool.scaleUp(background);
    const details = { instance: member.name, attempts, startMs: result.startMs ?? 0, models: result.models };
    const { aborted: isDisconnected } = request.signal;
    if (result.failure !== undefined && !isDisconnected)
      console.error(`${outgoing.id} ${member.name} ${result.failure}: ${result.reason}`);
    if (result.failure === "asleep") background(pool.startInstance(member));
    triedMembers.push(member);
    const mayRetry = suspicion.allowsRetry(result.failure, result.suspicion);
    const nextMember = attempts < MAX_ATTEMPTS && isHeld ? chooseNext(outgoing, triedMembers, result) : undefined;
    const isPastDeadline = Date.now() >= deadline.expiresAt;
    const isLast = nextMember === undefined || isPastDeadline || isDisconnected || !mayRetry;
    if (isLast || !(result.failure === "asleep" || budget.take(Date.now()))) {
      if (result.response?.ok) pool.clientBudgets.recordSuccess(outgoing.client);
      return {
        response: result.response ?? errorResponse(request, result, deadline.isFromClient && isPastDeadline),
        ...details,
      };
    }
    await result.response?.body?.cancel();
    const isRepeated = triedMembers.some(({ instance }) => instance === nextMember.instance);
    // Also pause after an instance ended: if all end at once, the next end would also count against this request.
    if ((isRepeated && result.failure !== "asleep") || (result.failure === "gone" && result.suspicion !== undefined)) {
      await sleep(
        Math.min(BACKOFF_MS * 2 ** (attempts - 1) * (1 + Math.random() / 2), deadline.expiresAt - Date.now()),
      );
    }
    member = nextMember;
  }
}

/** Return the instance for the next attempt, undefined if the last result is final. */
function chooseNext(
  { pool, request }: OutgoingRequest,
  triedMembers: Member[],
  result: AttemptResult,
): Member | undefined {
  if (result.response !== undefined && !isTemporaryRejection(result.response)) return undefined;
  // A second attempt on a full instance, or on one that failed to start, would not help.
  if (result.response !== undefined || result.failure === "start") return pool.find(request.cf, triedMembers, true);
  return pool.choose(request.cf, triedMembers, true);
}

/** Send a request to an instance once, with the time limit of one attempt. */
function sendOnce(outgoing: OutgoingRequest, member: Member, attemptNumber: number): Promise<AttemptResult> {
  const { request, route, body, pool, deadline, attemptTimeoutMs } = outgoing;
  const headers = forwardedHeaders(request, outgoing.id);
  if (outgoing.mayCache) headers.set("accept-encoding", "identity");
  const isStreamed = body === undefined;
  const common = { isStreamed, signal: request.signal };
  if (route.isFile)
    return pool.send(member, buildRequest(request, headers, body), { ...common, timeoutMs: MAX_TIMER_MS });
  const remainingMs = deadline.expiresAt - Date.now();
  const hasAlternative = !isStreamed && pool.hasAlternative(member);
  // The time of a streamed body depends on the client. Other requests leave half of their time for another instance.
  const attemptMs = isStreamed
    ? remainingMs
    : Math.min(attemptTimeoutMs, hasAlternative ? remainingMs / 2 : remainingMs);
  headers.set(ATTEMPT_MS_HEADER, String(Math.max(1, Math.floor(attemptMs))));
  if (attemptNumber > 1) setRemainingTime(headers, remainingMs);
  // Only a request without another instance waits for a start.
  const mustNotWait = !isStreamed && (member.instance.state === "ready" || hasAlternative);
  if (mustNotWait) headers.set(WAIT_HEADER, "no");
  const timeoutMs = mustNotWait ? Math.min(attemptMs + Math.min(GRACE_MS, attemptMs / 2), remainingMs) : remainingMs;
  const options = {
    ...common,
    timeoutMs: Math.max(0, timeoutMs),
    isShort: isShortAttempt(attemptMs, attemptTimeoutMs),
  };
  return pool.send(member, buildRequest(request, headers, body), options);
}

/** Return the request for the container, with the held or the streamed body. */
function buildRequest(request: Request, headers: Headers, body: Body): Request {
  if (body === undefined) return new Request(request, { headers, redirect: "manual" });
  const { method, signal } = request;
  return new Request(request.url, { method, headers, body, redirect: "manual", signal });
}

/** Longest time that a timer can hold: a file has no time limit. */
const MAX_TIMER_MS = 2 ** 31 - 1;

function errorResponse(request: Request, { failure }: AttemptResult, isPastDeadline: boolean): Response {
  if (isPastDeadline)
    return rejectionFor(request)("deadline_exceeded", "no container instance responded within the deadline");
  return rejectionFor(request)("unavailable", FAILURE_MESSAGES[failure ?? "gone"]);
}

const FAILURE_MESSAGES = {
  asleep: "the container instance is being started; try again",
  start: "no container instance could be started; try again",
  hung: "no container instance responded in time; try again",
  gone: "no container instance is available now; try again",
};

function budgetOf(pool: Pool): RetryBudget {
  let budget = budgets.get(pool);
  if (budget === undefined) {
    budget = new RetryBudget();
    budgets.set(pool, budget);
  }
  return budget;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

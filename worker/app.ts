/**
 * Route requests: to a container, to the Worker's own responses, or to an error.
 * @module
 */
import { type Context, Hono } from "hono";
import { type Body, heldBodies, readBody } from "./http/bodies";
import { type Deadline, deadlineOf } from "./http/deadline";
import { REQUEST_ID, requestId, wrongHeader } from "./http/forwarding";
import { decoded, isControl, type Route, routeOf } from "./http/routes";
import { isNativeGrpc, native, refuser } from "./http/rpc_errors";
import { withTiming } from "./http/server_timing";
import { authenticate, clientOf } from "./middleware/auth";
import { crossOrigin } from "./middleware/cors";
import { count, log } from "./middleware/request_log";
import { cachedByCaller, inputOf, isCacheable, keep, kept, keyOf, learn, modelsNow } from "./middleware/response_cache";
import { poolOf } from "./pool/pool";
import { type Answered, answered } from "./pool/retry";
import { status } from "./pool/status";
import { settingsOf } from "./settings";

export type Edge = {
  Bindings: Env;
  Variables: { requestId: string; answered?: Answered; client?: string; cache?: string };
};

/** Maximum characters of an error in the log: its text may quote the request. */
const LOGGED_CHARS = 2_000;

export const app = new Hono<Edge>();

app.use(async (c, next) => {
  const began = Date.now();
  const id = requestId(c.req.raw);
  c.set("requestId", id);
  await next();
  c.header(REQUEST_ID, id);
  const ms = Date.now() - began;
  withTiming(c.res, "edge", ms);
  const { answered, client, cache } = c.var;
  const seen = { request: c.req.raw, response: c.res, id, ms, answered, client, cache };
  log(seen, c.env.LOG_REQUESTS === "all");
  count(c.env.ANALYTICS, seen);
});
app.use(crossOrigin);
app.get("/healthz", (c) => c.json({ status: "ok" })); // checks only the Worker: it starts no container
app.get("/status", async (c) => (await rejectUnauthorized(c)) ?? c.json(await status(c.env, poolOf(c.env))));
for (const path of ["/healthz", "/status"]) app.all(path, (c) => notAllowed(c, ["GET", "HEAD"]));
app.all("*", forward);
app.onError((error, c) => {
  console.error((error.stack ?? String(error)).slice(0, LOGGED_CHARS));
  return refuser(c.req.raw)("internal", "internal error"); // the error's text goes to the log, not to the client
});

async function forward(c: Context<Edge>): Promise<Response> {
  const request = c.req.raw;
  const deadline = deadlineOf(request, Date.now());
  const route = routeFor(c);
  if (route instanceof Response) return route;
  const refused = await rejectUnauthorized(c);
  if (refused !== undefined) return refused;
  const wrong = wrongHeader(request);
  if (wrong !== undefined) return refuser(request)("invalid_argument", wrong);
  const { maxBodyBytes } = settingsOf(c.env);
  if (!route.isFile && Number(request.headers.get("content-length") ?? 0) > maxBodyBytes) {
    return refuser(request)("payload_too_large", `body: expected at most ${maxBodyBytes} bytes`);
  }
  const read = await readBody(request, route, heldBodies(c.env), settingsOf(c.env), deadline);
  if (read.response !== undefined) return read.response;
  const { body, release } = read;
  try {
    const answer = await (isCacheable(request, route, body)
      ? cachedOrForwarded(c, route, body, deadline)
      : fromInstance(c, route, body, deadline, false));
    return c.get("client") === undefined ? answer : cachedByCaller(answer);
  } finally {
    release();
  }
}

/** Return the response from the edge cache, or from an instance and add it to the cache. */
async function cachedOrForwarded(c: Context<Edge>, route: Route, body: Body, deadline: Deadline): Promise<Response> {
  const request = c.req.raw;
  const pool = poolOf(c.env);
  const input = await inputOf(request, body);
  const models = await modelsNow(pool, request.cf, deadline);
  const found = models === undefined ? undefined : await kept(keyOf(models, input, c.env), request);
  c.set("cache", found ? "hit" : "miss");
  if (found !== undefined) return found;
  const response = await fromInstance(c, route, body, deadline, true);
  const by = c.get("answered")?.models; // the instance may have newer models than those known before the request
  if (by === undefined) return response;
  return keep(keyOf(by, input, c.env), request, response, (work) => c.executionCtx.waitUntil(work));
}

async function fromInstance(c: Context<Edge>, route: Route, body: Body, deadline: Deadline, isKept: boolean) {
  const background = (work: Promise<unknown>) => c.executionCtx.waitUntil(work);
  const { attemptTimeoutMs } = settingsOf(c.env);
  const id = c.get("requestId");
  const request = c.req.raw;
  const client = clientOf(request, c.get("client"));
  const pool = poolOf(c.env);
  const call = { request, route, body, id, client, pool, deadline, attemptTimeoutMs, isKept, background };
  const answer = await answered(call);
  c.set("answered", answer);
  if (answer.models !== undefined) learn(call.pool, answer.models);
  return answer.response;
}

async function rejectUnauthorized(c: Context<Edge>): Promise<Response | undefined> {
  const { name, refusal } = await authenticate(c.req.raw, c.env);
  if (name !== undefined) c.set("client", name);
  return refusal && refuser(c.req.raw)(refusal.code, refusal.message);
}

/** Return the route of a request, or the error response if the request is not forwarded. Starts no container. */
function routeFor(c: Context<Edge>): Route | Response {
  const request = c.req.raw;
  const path = decoded(request);
  const refuse = refuser(request);
  if (path === undefined) return refuse("invalid_argument", "path: expected percent-encoded UTF-8");
  const route = routeOf(path);
  if (route !== undefined && isNativeGrpc(request)) return native();
  if (isControl(path)) return refuse("permission_denied", "model control is not reachable through the edge");
  if (route === undefined) return refuse("not_found", `there is nothing at ${c.req.path.slice(0, 128)}`);
  return route.methods.includes(request.method) ? route : notAllowed(c, route.methods);
}

function notAllowed(c: Context<Edge>, methods: string[]): Response {
  const allow = methods.join(", ");
  const said = `${c.req.path.slice(0, 128)} takes ${allow}, not ${c.req.method.slice(0, 16)}`;
  const response = refuser(c.req.raw)("method_not_allowed", said);
  response.headers.set("allow", allow);
  return response;
}

/**
 * The routes of the edge: what goes to a container, what is answered here, and what never passes.
 * @module
 */
import { type Context, Hono } from "hono";
import { inputOf, keep, kept, keptByCaller, keyOf, learn, mayBeKept, modelsNow } from "./answers";
import { type Answered, answered } from "./attempts";
import { crossOrigin } from "./cors";
import { type Deadline, deadlineOf } from "./deadline";
import { visitor } from "./doors";
import { poolOf } from "./pool";
import { REQUEST_ID, requestId } from "./proxy";
import { decoded, isControl, type Route, routeOf } from "./routes";
import { isNativeGrpc, native, refuser } from "./rpc";
import { count, log } from "./seeing";
import { settingsOf } from "./settings";
import { status } from "./status";
import { withTiming } from "./timing";

export type Edge = {
  Bindings: Env;
  Variables: { requestId: string; answered?: Answered; visitor?: string; cache?: string };
};

export const app = new Hono<Edge>();

app.use(async (c, next) => {
  const began = Date.now();
  const id = requestId(c.req.raw);
  c.set("requestId", id);
  await next();
  c.header(REQUEST_ID, id);
  const ms = Date.now() - began;
  withTiming(c.res, "edge", ms);
  const { answered, visitor, cache } = c.var;
  const seen = { request: c.req.raw, response: c.res, id, ms, answered, visitor, cache };
  log(seen, c.env.LOG_REQUESTS === "all");
  count(c.env.ANALYTICS, seen);
});
app.use(crossOrigin);
app.get("/healthz", (c) => c.json({ status: "ok" })); // starts no container: it says that the Worker runs
app.get("/status", async (c) => (await refusedAtTheDoor(c)) ?? c.json(await status(c.env, poolOf(c.env))));
for (const path of ["/healthz", "/status"]) app.all(path, (c) => notAllowed(c, ["GET", "HEAD"]));
app.all("*", forward);
app.onError((error, c) => {
  console.error(error);
  return refuser(c.req.raw)("internal", "internal error"); // its text is the log's, not the caller's
});

async function forward(c: Context<Edge>): Promise<Response> {
  const request = c.req.raw;
  const deadline = deadlineOf(request, Date.now());
  const route = routeFor(c);
  if (route instanceof Response) return route;
  const refused = await refusedAtTheDoor(c);
  if (refused !== undefined) return refused;
  const { maxBodyBytes } = settingsOf(c.env);
  if (!route.isFile && Number(request.headers.get("content-length") ?? 0) > maxBodyBytes) {
    return refuser(request)("payload_too_large", `body: expected at most ${maxBodyBytes} bytes`);
  }
  const answer = await (mayBeKept(request, route)
    ? keptOrAnswered(c, route, deadline)
    : fromInstance(c, route, deadline, false));
  return c.get("visitor") === undefined ? answer : keptByCaller(answer);
}

/** The answer from the edge cache, or from an instance, to be kept. */
async function keptOrAnswered(c: Context<Edge>, route: Route, deadline: Deadline): Promise<Response> {
  const request = c.req.raw;
  const pool = poolOf(c.env);
  const input = await inputOf(request);
  const models = await modelsNow(pool, request.cf, deadline);
  const found = models === undefined ? undefined : await kept(keyOf(models, input, c.env), request);
  c.set("cache", found ? "hit" : "miss");
  if (found !== undefined) return found;
  const response = await fromInstance(c, route, deadline, true);
  const by = c.get("answered")?.models; // which may be newer than those that were known
  if (by === undefined) return response;
  return keep(keyOf(by, input, c.env), request, response, (work) => c.executionCtx.waitUntil(work));
}

async function fromInstance(c: Context<Edge>, route: Route, deadline: Deadline, isKept: boolean): Promise<Response> {
  const background = (work: Promise<unknown>) => c.executionCtx.waitUntil(work);
  const { attemptTimeoutMs } = settingsOf(c.env);
  const id = c.get("requestId");
  const call = { request: c.req.raw, route, id, pool: poolOf(c.env), deadline, attemptTimeoutMs, isKept, background };
  const answer = await answered(call);
  c.set("answered", answer);
  if (answer.models !== undefined) learn(call.pool, answer.models);
  return answer.response;
}

async function refusedAtTheDoor(c: Context<Edge>): Promise<Response | undefined> {
  const { name, refusal } = await visitor(c.req.raw, c.env);
  if (name !== undefined) c.set("visitor", name);
  return refusal && refuser(c.req.raw)(refusal.code, refusal.message);
}

/** The route of a request, or what its caller is told where it may not pass: nothing of that starts a container. */
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
  const said = `${c.req.path.slice(0, 128)} takes ${allow}, not ${c.req.method}`;
  const response = refuser(c.req.raw)("method_not_allowed", said);
  response.headers.set("allow", allow);
  return response;
}

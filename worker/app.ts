/**
 * Route requests: to a container, to the Worker's own responses, or to an error.
 * @module
 */
import { type Context, Hono } from "hono";
import { type Body, heldBodies, readBody } from "./http/bodies";
import { type Deadline, deadlineOf } from "./http/deadline";
import { numericHeaderError, REQUEST_ID, requestId } from "./http/forwarding";
import { decodePath, isModelControl, type Route, routeOf } from "./http/routes";
import { isNativeGrpc, nativeGrpcError, rejectionFor } from "./http/rpc_errors";
import { addServerTiming } from "./http/server_timing";
import { authenticate, clientOf } from "./middleware/auth";
import { crossOrigin } from "./middleware/cors";
import { logRequest, writeDataPoint } from "./middleware/request_log";
import {
  cacheKey,
  cacheResponse,
  currentModels,
  findCached,
  inputDigest,
  isCacheable,
  makePrivate,
  rememberModels,
} from "./middleware/response_cache";
import { poolOf } from "./pool/pool";
import { type ForwardResult, fetchWithRetry } from "./pool/retry";
import { status } from "./pool/status";
import { settingsOf } from "./settings";

export type Edge = {
  Bindings: Env;
  Variables: { requestId: string; forwardResult?: ForwardResult; client?: string; cache?: string };
};

/** Maximum characters of an error in the log: its text may quote the request. */
const LOGGED_CHARS = 2_000;

export const app = new Hono<Edge>();

app.use(async (c, next) => {
  const startedAt = Date.now();
  const id = requestId(c.req.raw);
  c.set("requestId", id);
  await next();
  c.header(REQUEST_ID, id);
  const ms = Date.now() - startedAt;
  addServerTiming(c.res, "edge", ms);
  const { forwardResult: result, client, cache } = c.var;
  const entry = { request: c.req.raw, response: c.res, id, ms, result, client, cache };
  logRequest(entry, c.env.LOG_REQUESTS === "all");
  writeDataPoint(c.env.ANALYTICS, entry);
});
app.use(crossOrigin);
app.get("/healthz", (c) => c.json({ status: "ok" })); // checks only the Worker: it starts no container
app.get("/status", async (c) => (await rejectUnauthorized(c)) ?? c.json(await status(c.env, poolOf(c.env))));
for (const path of ["/healthz", "/status"]) app.all(path, (c) => methodNotAllowed(c, ["GET", "HEAD"]));
app.all("*", forward);
app.onError((error, c) => {
  console.error((error.stack ?? String(error)).slice(0, LOGGED_CHARS));
  return rejectionFor(c.req.raw)("internal", "internal error"); // the error's text goes to the log, not to the client
});

async function forward(c: Context<Edge>): Promise<Response> {
  const request = c.req.raw;
  const deadline = deadlineOf(request, Date.now());
  const route = routeFor(c);
  if (route instanceof Response) return route;
  const rejection = await rejectUnauthorized(c);
  if (rejection !== undefined) return rejection;
  const headerError = numericHeaderError(request);
  if (headerError !== undefined) return rejectionFor(request)("invalid_argument", headerError);
  const { maxBodyBytes } = settingsOf(c.env);
  if (!route.isFile && Number(request.headers.get("content-length") ?? 0) > maxBodyBytes) {
    return rejectionFor(request)("payload_too_large", `body: expected at most ${maxBodyBytes} bytes`);
  }
  const bodyResult = await readBody(request, route, heldBodies(c.env), settingsOf(c.env), deadline);
  if (bodyResult.response !== undefined) return bodyResult.response;
  const { body, release } = bodyResult;
  try {
    const response = await (isCacheable(request, route, body)
      ? fetchThroughCache(c, route, body, deadline)
      : fetchFromInstance(c, route, body, deadline, false));
    return c.get("client") === undefined ? response : makePrivate(response);
  } finally {
    release();
  }
}

/** Return the response from the edge cache, or from an instance and add it to the cache. */
async function fetchThroughCache(c: Context<Edge>, route: Route, body: Body, deadline: Deadline): Promise<Response> {
  const request = c.req.raw;
  const pool = poolOf(c.env);
  const input = await inputDigest(request, body);
  const models = await currentModels(pool, request.cf, deadline);
  const cached = models === undefined ? undefined : await findCached(cacheKey(models, input, c.env), request);
  c.set("cache", cached ? "hit" : "miss");
  if (cached !== undefined) return cached;
  const response = await fetchFromInstance(c, route, body, deadline, true);
  // The instance may have newer models than those known before the request.
  const servedModels = c.get("forwardResult")?.models;
  if (servedModels === undefined) return response;
  return cacheResponse(cacheKey(servedModels, input, c.env), request, response, (work) =>
    c.executionCtx.waitUntil(work),
  );
}

async function fetchFromInstance(c: Context<Edge>, route: Route, body: Body, deadline: Deadline, mayCache: boolean) {
  const background = (work: Promise<unknown>) => c.executionCtx.waitUntil(work);
  const { attemptTimeoutMs } = settingsOf(c.env);
  const id = c.get("requestId");
  const request = c.req.raw;
  const client = clientOf(request, c.get("client"));
  const pool = poolOf(c.env);
  const outgoing = { request, route, body, id, client, pool, deadline, attemptTimeoutMs, mayCache, background };
  const result = await fetchWithRetry(outgoing);
  c.set("forwardResult", result);
  if (result.models !== undefined) rememberModels(outgoing.pool, result.models);
  return result.response;
}

async function rejectUnauthorized(c: Context<Edge>): Promise<Response | undefined> {
  const { name, rejection } = await authenticate(c.req.raw, c.env);
  if (name !== undefined) c.set("client", name);
  return rejection && rejectionFor(c.req.raw)(rejection.code, rejection.message);
}

/** Return the route of a request, or the error response if the request is not forwarded. Starts no container. */
function routeFor(c: Context<Edge>): Route | Response {
  const request = c.req.raw;
  const path = decodePath(request);
  const reject = rejectionFor(request);
  if (path === undefined) return reject("invalid_argument", "path: expected percent-encoded UTF-8");
  const route = routeOf(path);
  if (route !== undefined && isNativeGrpc(request)) return nativeGrpcError();
  if (isModelControl(path)) return reject("permission_denied", "model control is not available through the Worker");
  if (route === undefined) return reject("not_found", `there is nothing at ${c.req.path.slice(0, 128)}`);
  return route.methods.includes(request.method) ? route : methodNotAllowed(c, route.methods);
}

function methodNotAllowed(c: Context<Edge>, methods: string[]): Response {
  const allow = methods.join(", ");
  const message = `${c.req.path.slice(0, 128)} takes ${allow}, not ${c.req.method.slice(0, 16)}`;
  const response = rejectionFor(c.req.raw)("method_not_allowed", message);
  response.headers.set("allow", allow);
  return response;
}

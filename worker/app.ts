/**
 * The routes of the edge: what goes to a container, what is answered here, and what never passes.
 * @module
 */
import { type Context, Hono } from "hono";
import { type Answered, answered } from "./attempts";
import { crossOrigin } from "./cors";
import { poolOf } from "./pool";
import { REQUEST_ID, requestId } from "./proxy";
import { decoded, isControl, type Route, routeOf } from "./routes";
import { isNativeGrpc, native, refuser } from "./rpc";
import { settingsOf } from "./settings";
import { withTiming } from "./timing";

export type Edge = { Bindings: Env; Variables: { requestId: string; answered?: Answered } };

export const app = new Hono<Edge>();

app.use(async (c, next) => {
  const began = Date.now();
  c.set("requestId", requestId(c.req.raw));
  await next();
  c.header(REQUEST_ID, c.get("requestId"));
  withTiming(c.res, "edge", Date.now() - began);
});
app.use(crossOrigin);
app.get("/healthz", (c) => c.json({ status: "ok" })); // starts no container: it says that the Worker runs
app.all("/healthz", (c) => notAllowed(c, ["GET", "HEAD"]));
app.all("*", forward);
app.onError((error, c) => {
  console.error(error);
  return refuser(c.req.raw)("internal", "internal error"); // its text is the log's, not the caller's
});

async function forward(c: Context<Edge>): Promise<Response> {
  const request = c.req.raw;
  const route = routeFor(c);
  if (route instanceof Response) return route;
  const { attemptTimeoutMs, maxBodyBytes } = settingsOf(c.env);
  if (!route.isFile && Number(request.headers.get("content-length") ?? 0) > maxBodyBytes) {
    return refuser(request)("payload_too_large", `body: expected at most ${maxBodyBytes} bytes`);
  }
  const background = (work: Promise<unknown>) => c.executionCtx.waitUntil(work);
  const pool = poolOf(c.env);
  const answer = await answered({ request, route, id: c.get("requestId"), pool, attemptTimeoutMs, background });
  c.set("answered", answer);
  return answer.response;
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

/**
 * The routes of the edge: what goes to a container, what is answered here, and what never passes.
 * @module
 */
import { type Context, Hono } from "hono";
import { envelope } from "./errors";
import { pick } from "./pool";
import { answered, forwarded, REQUEST_ID, requestId } from "./proxy";
import { decoded, isCall, refusal, refuser } from "./rpc";

type Edge = { Bindings: Env; Variables: { requestId: string } };

const METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT"];
const FORWARDED = ["/api/*", "/v2", "/v2/*"];

export const app = new Hono<Edge>();

app.use(async (c, next) => {
  c.set("requestId", requestId(c.req.raw));
  await next();
  c.header(REQUEST_ID, c.get("requestId"));
});
app.get("/healthz", (c) => c.json({ status: "ok" })); // starts no container: it says that the Worker runs
app.on(METHODS, FORWARDED, forward);
app.all("/healthz", (c) => notAllowed(c, "GET, HEAD"));
for (const path of FORWARDED) app.all(path, (c) => notAllowed(c, METHODS.join(", ")));
app.use((c, next) => (isCall(c.req.raw) ? call(c) : next()));
app.notFound((c) => refuser(c.req.raw)("not_found", `there is nothing at ${c.req.path.slice(0, 128)}`));
app.onError((error, c) => {
  console.error(error);
  return refuser(c.req.raw)("internal", "internal error"); // its text is the log's, not the caller's
});

async function forward(c: Context<Edge>): Promise<Response> {
  const path = decoded(c.req.raw);
  if (path === undefined) return envelope("invalid_argument", "path: expected percent-encoded UTF-8");
  if (/^\/+v2\/+repository\/+models(\/|$)/.test(path)) {
    return envelope("permission_denied", "model control is not reachable through the edge");
  }
  return reached(c);
}

async function call(c: Context<Edge>): Promise<Response> {
  return refusal(c.req.raw) ?? reached(c);
}

/** The instance's answer, or what a caller is told where the platform has none: the class's own failures, or no reply. */
async function reached(c: Context<Edge>): Promise<Response> {
  const request = forwarded(c.req.raw, c.get("requestId"));
  const instance = pick(c.env);
  try {
    return await answered(request, await instance.fetch(request));
  } catch (error) {
    console.error(`no instance reached: ${error}`);
    return refuser(request)("unavailable", "no container instance can be reached now; try again");
  }
}

function notAllowed(c: Context<Edge>, allow: string): Response {
  const response = envelope("method_not_allowed", `${c.req.path.slice(0, 128)} takes ${allow}, not ${c.req.method}`);
  response.headers.set("allow", allow);
  return response;
}

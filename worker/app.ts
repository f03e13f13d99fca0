/**
 * The routes of the edge: what goes to a container, what is answered here, and what never passes.
 * @module
 */
import { type Context, Hono } from "hono";
import { envelope } from "./errors";
import { pick } from "./pool";
import { answered, forwarded, REQUEST_ID, requestId } from "./proxy";

type Edge = { Bindings: Env };

export const app = new Hono<Edge>();

app.get("/healthz", (c) => c.json({ status: "ok" })); // starts no container: it says that the Worker runs
app.on(["GET", "POST", "PUT", "HEAD", "OPTIONS"], ["/api/*", "/v2", "/v2/*"], forward);
app.all("/healthz", (c) => notAllowed(c, "GET"));
app.all("/api/*", (c) => notAllowed(c, "GET, HEAD, OPTIONS, POST, PUT"));
app.notFound((c) => envelope("not_found", `there is nothing at ${c.req.path.slice(0, 128)}`));
app.onError((error) => {
  console.error(error);
  return envelope("unavailable", "the container could not be reached; try again");
});

async function forward(c: Context<Edge>): Promise<Response> {
  const path = decoded(c.req.path);
  if (path === undefined) return envelope("invalid_argument", "path: expected percent-encoded UTF-8");
  if (/^\/+v2\/+repository\/+models(\/|$)/.test(path)) {
    return envelope("permission_denied", "model control is not reachable through the edge");
  }
  const id = requestId(c.req.raw);
  const response = await answered(await pick(c.env).fetch(forwarded(c.req.raw, id)));
  const answer = new Response(response.body, response); // headers of a fetched response can't be set
  answer.headers.set(REQUEST_ID, id);
  return answer;
}

/** The path as the server will read it: an encoded slash must not carry a caller past the rule for the plain one. */
function decoded(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}

function notAllowed(c: Context<Edge>, allow: string): Response {
  const response = envelope("method_not_allowed", `${c.req.path.slice(0, 128)} takes ${allow}, not ${c.req.method}`);
  response.headers.set("allow", allow);
  return response;
}

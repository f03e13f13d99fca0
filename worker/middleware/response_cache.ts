/**
 * Cache predictions at the edge, by models and input.
 * @module
 */
import type { Body } from "../http/bodies";
import type { Deadline } from "../http/deadline";
import { KEPT_AT, stripHop } from "../http/internal_headers";
import type { Route } from "../http/routes";
import type { Pool } from "../pool/pool";

/** Says of an answer whether it was kept: `hit` or `miss`; and lets a POST ask for kept ones: `allow`. */
const CACHE = "lifeboat-cache";

/** How long a caller waits to hear which models there are, before the answer comes from an instance. */
const MODELS_MS = 1_000;
/** How long it is relied on that the models are those that an instance was last seen to have. */
const KNOWN_MS = 1_000;
/** How long the answer to a POST is kept, of which the server says nothing. */
const POST_MAX_AGE_S = 60;

/** By which headers the server reads an input, and writes its answer. */
const READ_BY = ["accept", "content-encoding", "content-type", "inference-header-content-length"];

/** Of what the Worker itself says of an answer nothing is kept. */
const PASSING = ["server-timing", "x-request-id", CACHE, "cf-cache-status", "age", "date"];

const known = new WeakMap<Pool, { models: string | undefined; at: number }>();

/** Says which models an instance has, by what came with its answer. */
export function learn(pool: Pool, models: string): void {
  known.set(pool, { models, at: Date.now() });
}

/** Returns whether a request may be answered from the cache: a GET of a prediction, or a POST of one that asks for it. */
export function isCacheable(request: Request, route: Route, body: Body): boolean {
  if (/\bno-store\b/i.test(request.headers.get("cache-control") ?? "")) return false;
  if (request.method === "GET") return route.isCacheable;
  const isAsked = request.method === "POST" && route.isPure && request.headers.get(CACHE) === "allow";
  return isAsked && body instanceof ArrayBuffer; // it is read whole, to be known again
}

/** Returns which models instances have, undefined where it isn't known: then an answer comes from an instance. */
export async function modelsNow(pool: Pool, cf: Request["cf"], { at }: Deadline): Promise<string | undefined> {
  const now = known.get(pool);
  if (now !== undefined && Date.now() - now.at <= KNOWN_MS) return now.models;
  const timeoutMs = Math.max(0, Math.min(MODELS_MS, (at - Date.now()) / 2));
  const models = await pool.models(cf, timeoutMs);
  // What a caller in a hurry didn't hear, others may.
  if (models !== undefined || timeoutMs === MODELS_MS) known.set(pool, { models, at: Date.now() });
  return models;
}

/** Returns the digest of all that an answer depends on beside the models. */
export async function inputOf(request: Request, sent: Body): Promise<string> {
  const { pathname, search } = new URL(request.url);
  const asked = [request.method, pathname, search, ...READ_BY.map((name) => request.headers.get(name))];
  const head = new TextEncoder().encode(`${JSON.stringify(asked)}\n`);
  const body = request.method === "POST" ? new Uint8Array(sent ?? []) : new Uint8Array();
  const input = new Uint8Array(head.length + body.length);
  input.set(head);
  input.set(body, head.length);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", input));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Returns what an answer is kept by. An answer by other models, or by another version of the Worker, has another key: it is
 * not met again.
 */
export function keyOf(models: string, input: string, env: Env): Request {
  return new Request(`https://lifeboat/${env.CF_VERSION_METADATA?.id ?? "-"}/${models}/${input}`);
}

/** Returns the kept answer, undefined where there is none or the caller wants a new one; 304 to who has it already. */
export async function kept(key: Request, request: Request): Promise<Response | undefined> {
  if (/\b(no-cache|max-age=0)\b/i.test(request.headers.get("cache-control") ?? "")) return undefined;
  const found = await caches.default.match(key);
  if (found === undefined) return undefined;
  const tags = (request.headers.get("if-none-match") ?? "").split(",").map(untagged);
  const tag = found.headers.get("etag");
  const isHad = tag !== null && (tags.includes(untagged(tag)) || tags.includes("*"));
  const answer = isHad ? new Response(null, { status: 304, headers: found.headers }) : new Response(found.body, found);
  const ageMs = Date.now() - Number(found.headers.get(KEPT_AT) ?? Date.now());
  stripHop(answer.headers);
  answer.headers.set("age", String(Math.max(0, Math.floor(ageMs / 1_000)))); // or a browser would keep it as long again
  answer.headers.set(CACHE, "hit");
  return answer;
}

/** Keeps an answer for as long as the server says, behind the caller's back; returns it, as one that wasn't kept. */
export function keep(key: Request, request: Request, answer: Response, background: (work: Promise<unknown>) => void) {
  const response = new Response(answer.body, answer);
  const control = response.headers.get("cache-control") ?? "";
  const isAllowed = request.method === "POST" ? control === "" : /\bmax-age=[1-9]/.test(control);
  if (response.status === 200 && isAllowed && !/\b(no-store|no-cache|private)\b/.test(control)) {
    const copy = response.clone();
    const headers = new Headers(copy.headers);
    for (const name of PASSING) headers.delete(name);
    headers.set(KEPT_AT, String(Date.now()));
    if (request.method === "POST") headers.set("cache-control", `public, max-age=${POST_MAX_AGE_S}`);
    background(caches.default.put(key, new Response(copy.body, { headers })));
  }
  response.headers.set(CACHE, "miss");
  return response;
}

/** Says of an answer that it is its caller's alone: what stands behind a key is kept by no cache that others share. */
export function cachedByCaller(answer: Response): Response {
  const control = answer.headers.get("cache-control");
  if (control !== null) answer.headers.set("cache-control", control.replace(/\bpublic\b/, "private"));
  return answer;
}

/** Tags are compared weakly (RFC 9110, section 13.1.2). */
function untagged(tag: string): string {
  return tag.trim().replace(/^W\//, "");
}

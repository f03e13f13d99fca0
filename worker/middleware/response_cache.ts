/**
 * Cache predictions at the edge, by models and input.
 * @module
 */
import type { Body } from "../http/bodies";
import type { Deadline } from "../http/deadline";
import { CACHED_AT_HEADER, stripInternalHeaders } from "../http/internal_headers";
import type { Route } from "../http/routes";
import type { Pool } from "../pool/pool";

/** Response header: `hit` or `miss`. Request header of a POST: `allow` permits a cached response. */
const CACHE_HEADER = "lifeboat-cache";

/** Time limit to read the models' fingerprint; after it, the request goes to an instance. */
const MODELS_TIMEOUT_MS = 1_000;
/** Time for which a known fingerprint is used again. */
const MODELS_LIFETIME_MS = 1_000;
/** Seconds for which a response to POST is cached. The server sends no Cache-Control with it. */
const POST_MAX_AGE_S = 60;

/** Request headers that change how the server reads the input or writes the response. */
const INPUT_HEADERS = ["accept", "content-encoding", "content-type", "inference-header-content-length"];

/** Response headers that belong to one request, and are not cached. */
const UNCACHED_HEADERS = ["server-timing", "x-request-id", CACHE_HEADER, "cf-cache-status", "age", "date"];

const knownModels = new WeakMap<Pool, { models: string | undefined; at: number }>();

/** Store the fingerprint that came with an instance's response. */
export function rememberModels(pool: Pool, models: string): void {
  knownModels.set(pool, { models, at: Date.now() });
}

/** Return whether a cached response is allowed: for a GET of a prediction, or a POST whose client allows it. */
export function isCacheable(request: Request, route: Route, body: Body): boolean {
  if (/\bno-store\b/i.test(request.headers.get("cache-control") ?? "")) return false;
  if (request.method === "GET") return route.isCacheable;
  const isAllowed = request.method === "POST" && route.isPure && request.headers.get(CACHE_HEADER) === "allow";
  return isAllowed && body instanceof ArrayBuffer; // the cache key includes the whole body
}

/** Return the fingerprint of the instances' models; if undefined, the request goes to an instance. */
export async function currentModels(
  pool: Pool,
  cf: Request["cf"],
  { expiresAt }: Deadline,
): Promise<string | undefined> {
  const remembered = knownModels.get(pool);
  if (remembered !== undefined && Date.now() - remembered.at <= MODELS_LIFETIME_MS) return remembered.models;
  const timeoutMs = Math.max(0, Math.min(MODELS_TIMEOUT_MS, (expiresAt - Date.now()) / 2));
  const models = await pool.models(cf, timeoutMs);
  // If a short deadline cut the wait, `undefined` is not stored: the next request tries again.
  if (models !== undefined || timeoutMs === MODELS_TIMEOUT_MS) knownModels.set(pool, { models, at: Date.now() });
  return models;
}

/** Return the digest of everything that the response depends on, except the models. */
export async function inputDigest(request: Request, body: Body): Promise<string> {
  const { pathname, search } = new URL(request.url);
  const keyParts = [request.method, pathname, search, ...INPUT_HEADERS.map((name) => request.headers.get(name))];
  const keyBytes = new TextEncoder().encode(`${JSON.stringify(keyParts)}\n`);
  const bodyBytes = request.method === "POST" ? new Uint8Array(body ?? []) : new Uint8Array();
  const input = new Uint8Array(keyBytes.length + bodyBytes.length);
  input.set(keyBytes);
  input.set(bodyBytes, keyBytes.length);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", input));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Return the cache key of a response. It includes the models' fingerprint and the Worker's version, so responses of
 * other models or versions are never found.
 */
export function cacheKey(models: string, input: string, env: Env): Request {
  return new Request(`https://lifeboat/${env.CF_VERSION_METADATA?.id ?? "-"}/${models}/${input}`);
}

/**
 * Return the cached response, or 304 if the client's ETag matches; undefined if there is none or the client requires a
 * new one.
 */
export async function findCached(key: Request, request: Request): Promise<Response | undefined> {
  if (/\b(no-cache|max-age=0)\b/i.test(request.headers.get("cache-control") ?? "")) return undefined;
  const cached = await caches.default.match(key);
  if (cached === undefined) return undefined;
  const tags = (request.headers.get("if-none-match") ?? "").split(",").map(withoutWeakPrefix);
  const tag = cached.headers.get("etag");
  const isNotModified = tag !== null && (tags.includes(withoutWeakPrefix(tag)) || tags.includes("*"));
  const response = isNotModified
    ? new Response(null, { status: 304, headers: cached.headers })
    : new Response(cached.body, cached);
  const ageMs = Date.now() - Number(cached.headers.get(CACHED_AT_HEADER) ?? Date.now());
  stripInternalHeaders(response.headers);
  // Without Age, a browser would cache the response for the full time again.
  response.headers.set("age", String(Math.max(0, Math.floor(ageMs / 1_000))));
  response.headers.set(CACHE_HEADER, "hit");
  return response;
}

/**
 * Add a response to the cache in the background, for as long as its Cache-Control allows. Returns it marked as `miss`.
 */
export function cacheResponse(
  key: Request,
  request: Request,
  original: Response,
  background: (work: Promise<unknown>) => void,
) {
  const response = new Response(original.body, original);
  const control = response.headers.get("cache-control") ?? "";
  const isAllowed = request.method === "POST" ? control === "" : /\bmax-age=[1-9]/.test(control);
  if (response.status === 200 && isAllowed && !/\b(no-store|no-cache|private)\b/.test(control)) {
    const copy = response.clone();
    const headers = new Headers(copy.headers);
    for (const name of UNCACHED_HEADERS) headers.delete(name);
    headers.set(CACHED_AT_HEADER, String(Date.now()));
    if (request.method === "POST") headers.set("cache-control", `public, max-age=${POST_MAX_AGE_S}`);
    background(caches.default.put(key, new Response(copy.body, { headers })));
  }
  response.headers.set(CACHE_HEADER, "miss");
  return response;
}

/** Replace `public` in Cache-Control by `private`: shared caches must not store responses to authenticated clients. */
export function makePrivate(response: Response): Response {
  const control = response.headers.get("cache-control");
  if (control !== null) response.headers.set("cache-control", control.replace(/\bpublic\b/, "private"));
  return response;
}

/** Remove the weak prefix: ETags are compared weakly (RFC 9110, section 13.1.2). */
function withoutWeakPrefix(tag: string): string {
  return tag.trim().replace(/^W\//, "");
}

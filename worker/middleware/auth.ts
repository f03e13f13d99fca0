/**
 * Authenticate clients by API key, and limit their rate; both are off by default.
 * @module
 */
import type { Code } from "../http/errors";

/** Error for a request that is rejected. */
export interface Rejection {
  code: Code;
  message: string;
}

/** The authenticated client, by the name of its key; undefined if no keys are configured. */
export type AuthResult = { name: string | undefined; rejection?: never } | { name?: never; rejection: Rejection };

interface Key {
  name: string;
  hash: Uint8Array;
}

const KEY_ENTRY = /^(?:([\w.-]{1,64}):)?([0-9a-f]{64})$/i;

/**
 * Return the client, or the rejection. The rate limit by address comes first, so that it also limits guesses of keys.
 */
export async function authenticate(request: Request, env: Env): Promise<AuthResult> {
  const address = request.headers.get("cf-connecting-ip") ?? "unknown";
  if (await exceedsLimit(env.RATE_BY_ADDRESS, networkOf(address))) return rejectRateLimited("this address");
  const keys = keysOf(env);
  if (keys.length === 0) return { name: undefined };
  const key = keyFromHeaders(request);
  if (key === undefined) {
    return reject("unauthenticated", "an API key is required: Authorization: Bearer ..., or X-Api-Key: ...");
  }
  const name = await keyName(key, keys);
  if (name === undefined) return reject("unauthenticated", "this API key is unknown");
  return (await exceedsLimit(env.RATE_BY_KEY, name)) ? rejectRateLimited("this API key") : { name };
}

/** Return the client's identity: the name of its API key, or the network of its address. */
export function clientOf(request: Request, name: string | undefined): string {
  return name === undefined ? networkOf(request.headers.get("cf-connecting-ip") ?? "unknown") : `key ${name}`;
}

/** Return an IPv4 address unchanged, and an IPv6 address's /64 network: one client can use all addresses of it. */
function networkOf(address: string): string {
  if (!address.includes(":")) return address;
  const [head = "", tail] = address.split("::");
  const groups = head.split(":").filter(Boolean);
  const after = (tail ?? "").split(":").filter(Boolean);
  if (tail !== undefined) groups.push(...Array(Math.max(0, 8 - groups.length - after.length)).fill("0"), ...after);
  return `${groups.slice(0, 4).join(":")}::/64`;
}

/**
 * Return the keys of the secret API_KEYS; several keys make a rotation possible. Throws if an entry is not a hash, and
 * if the secret exists but is empty: that mistake must not disable authentication.
 */
function keysOf(env: Env): Key[] {
  if (env.API_KEYS === undefined) return [];
  const entries = env.API_KEYS.split(/[\s,]+/).filter(Boolean);
  if (entries.length === 0) throw new Error("API_KEYS: expected SHA-256 in hex; it is empty");
  return entries.map((entry) => {
    const [, name, hexHash] = KEY_ENTRY.exec(entry) ?? [];
    if (hexHash === undefined) throw new Error("API_KEYS: expected SHA-256 in hex, each as name:hash or hash alone");
    const hash = Uint8Array.from({ length: 32 }, (_, index) =>
      Number.parseInt(hexHash.slice(2 * index, 2 * index + 2), 16),
    );
    return { name: name ?? hexHash.slice(0, 8).toLowerCase(), hash };
  });
}

function keyFromHeaders(request: Request): string | undefined {
  const [, bearer] = /^Bearer +(\S+) *$/i.exec(request.headers.get("authorization") ?? "") ?? [];
  return bearer ?? request.headers.get("x-api-key") ?? undefined;
}

/** Return the name of a key, undefined if unknown. Compares every byte of every hash, so the time reveals nothing. */
async function keyName(key: string, keys: Key[]): Promise<string | undefined> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key)));
  let name: string | undefined;
  for (const key of keys) {
    const difference = key.hash.reduce((bits, byte, index) => bits | (byte ^ (hash[index] ?? 0)), 0);
    name = difference === 0 ? key.name : name;
  }
  return name;
}

async function exceedsLimit(limit: RateLimit | undefined, key: string): Promise<boolean> {
  return limit !== undefined && !(await limit.limit({ key })).success;
}

function rejectRateLimited(what: string): AuthResult {
  return reject("resource_exhausted", `too many requests by ${what}; try again later`);
}

function reject(code: Code, message: string): AuthResult {
  return { rejection: { code, message } };
}

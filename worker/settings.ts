/**
 * Read the Worker's variables, and reject invalid ones by name.
 * @module
 */

/** Locations where the platform can place an instance (Durable Objects, "Location hints"). */
const HINTS = ["wnam", "enam", "sam", "weur", "eeur", "apac", "oc", "afr", "me"] as const;
export type Region = (typeof HINTS)[number];

export interface Settings {
  /** Number of instances to keep warm in each region. */
  warm: number;
  /** Maximum number of instances in each region. */
  max: number;
  /** Utilisation, between 0 and 1, above which the next instance starts. */
  target: number;
  /** Regions of the instances; if empty, the platform chooses one. */
  regions: Region[];
  /** Milliseconds without a request after which an instance sleeps. */
  sleepAfterMs: number;
  /** Milliseconds that a running instance may take to begin its response, except to a file. */
  attemptTimeoutMs: number;
  /** Milliseconds that a readiness check may take before the instance is restarted. */
  deadAfterMs: number;
  /** Maximum bytes of a request body, except of a file. */
  maxBodyBytes: number;
  /** Maximum bytes of all request bodies that one Worker isolate holds. */
  maxHeldBytes: number;
  /** Milliseconds that a held request body may take to arrive. */
  bodyTimeoutMs: number;
  /** Origins whose pages may read responses; `*` for all; if empty, only the Worker's own origin. */
  corsOrigins: string[];
}

const known = new WeakMap<Env, Settings>();

/** Return the settings from the variables. Throws an Error that names an invalid variable and its expected value. */
export function settingsOf(env: Env): Settings {
  let settings = known.get(env);
  if (settings === undefined) {
    settings = read(env);
    known.set(env, settings);
  }
  return settings;
}

/** Return the server's settings, including secrets: the variables whose names start with `LIFEBOAT_`. */
export function serverSettings(env: Env): Record<string, string> {
  const given = Object.entries(env).filter(([name, value]) => name.startsWith("LIFEBOAT_") && isText(value));
  return Object.fromEntries(given.map(([name, value]) => [name, String(value)]));
}

function isText(value: unknown): boolean {
  return typeof value === "string" || typeof value === "number";
}

function read(env: Env): Settings {
  const given: Record<string, unknown> = { ...env };
  const warm = number(given, "WARM_INSTANCES", "a whole number from 1", 1, (n) => Number.isInteger(n) && n >= 1);
  const most = `a whole number from WARM_INSTANCES (${warm}) to 1000`;
  const max = number(given, "MAX_INSTANCES", most, warm, (n) => Number.isInteger(n) && n >= warm && n <= 1000);
  return {
    warm,
    max,
    target: number(given, "TARGET_UTILISATION", "a number between 0 and 1", 0.7, (n) => n > 0 && n < 1),
    regions: words(given, "REGIONS", HINTS, (word): word is Region => (HINTS as readonly string[]).includes(word)),
    sleepAfterMs: duration(given.SLEEP_AFTER ?? "10m"),
    attemptTimeoutMs: number(given, "ATTEMPT_TIMEOUT_MS", "milliseconds from 1", 10_000, (n) => n >= 1),
    deadAfterMs: number(given, "DEAD_AFTER_MS", "milliseconds from 1", 15_000, (n) => n >= 1),
    maxBodyBytes: number(given, "MAX_BODY_BYTES", "bytes from 1", 4_194_304, (n) => n >= 1),
    maxHeldBytes: number(given, "MAX_HELD_BYTES", "bytes from 0", 33_554_432, (n) => n >= 0),
    bodyTimeoutMs: number(given, "BODY_TIMEOUT_MS", "milliseconds from 1", 30_000, (n) => n >= 1),
    corsOrigins: words(given, "CORS_ORIGINS", ["origins, as https://example.com, or *"], isOrigin),
  };
}

/** Read a numeric variable: a number in wrangler.toml, a string if set on the command line. */
function number(
  given: Record<string, unknown>,
  name: string,
  expected: string,
  otherwise: number,
  fits: (value: number) => boolean,
): number {
  const text = given[name] ?? otherwise;
  const value = text === "" ? Number.NaN : Number(text);
  if (!fits(value)) throw new Error(`${name}: expected ${expected}; got ${text}`);
  return value;
}

function words<Word extends string>(
  given: Record<string, unknown>,
  name: string,
  expected: readonly string[],
  fits: (word: string) => word is Word,
): Word[] {
  const said = String(given[name] ?? "")
    .split(/[\s,]+/)
    .filter(Boolean);
  return said.map((word) => {
    if (!fits(word)) throw new Error(`${name}: expected ${expected.join(", ")}; got ${word}`);
    return word;
  });
}

function isOrigin(word: string): word is string {
  return word === "*" || (URL.canParse(word) && new URL(word).origin === word);
}

/** Parse a duration in the Container class's format: seconds, or a number with `s`, `m` or `h`. */
function duration(text: unknown): number {
  const [, amount, unit = "s"] = /^(\d+)([smh]?)$/.exec(String(text)) ?? [];
  if (amount === undefined) throw new Error(`SLEEP_AFTER: expected a number with s, m or h; got ${text}`);
  return Number(amount) * { s: 1_000, m: 60_000, h: 3_600_000 }[(unit || "s") as "s" | "m" | "h"];
}

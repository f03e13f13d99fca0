/**
 * Read the Worker's variables, and reject invalid ones by name.
 * @module
 */

/** Locations where the platform can place an instance (Durable Objects, "Location hints"). */
const LOCATION_HINTS = ["wnam", "enam", "sam", "weur", "eeur", "apac", "oc", "afr", "me"] as const;
export type Region = (typeof LOCATION_HINTS)[number];

export interface Settings {
  /** Number of instances to keep warm in each region. */
  warmInstances: number;
  /** Maximum number of instances in each region. */
  maxInstances: number;
  /** Utilisation, between 0 and 1, above which the next instance starts. */
  targetUtilisation: number;
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

const settingsByEnv = new WeakMap<Env, Settings>();

/** Return the settings from the variables. Throws an Error that names an invalid variable and its expected value. */
export function settingsOf(env: Env): Settings {
  let settings = settingsByEnv.get(env);
  if (settings === undefined) {
    settings = readSettings(env);
    settingsByEnv.set(env, settings);
  }
  return settings;
}

/** Return the server's settings, including secrets: the variables whose names start with `LIFEBOAT_`. */
export function serverSettings(env: Env): Record<string, string> {
  const entries = Object.entries(env).filter(([name, value]) => name.startsWith("LIFEBOAT_") && isText(value));
  return Object.fromEntries(entries.map(([name, value]) => [name, String(value)]));
}

function isText(value: unknown): boolean {
  return typeof value === "string" || typeof value === "number";
}

function readSettings(env: Env): Settings {
  const variables: Record<string, unknown> = { ...env };
  const warm = readNumber(
    variables,
    "WARM_INSTANCES",
    "a whole number from 1",
    1,
    (n) => Number.isInteger(n) && n >= 1,
  );
  const maxExpected = `a whole number from WARM_INSTANCES (${warm}) to 1000`;
  const max = readNumber(
    variables,
    "MAX_INSTANCES",
    maxExpected,
    warm,
    (n) => Number.isInteger(n) && n >= warm && n <= 1000,
  );
  return {
    warmInstances: warm,
    maxInstances: max,
    targetUtilisation: readNumber(
      variables,
      "TARGET_UTILISATION",
      "a number between 0 and 1",
      0.7,
      (n) => n > 0 && n < 1,
    ),
    regions: readList(variables, "REGIONS", LOCATION_HINTS, (word): word is Region =>
      (LOCATION_HINTS as readonly string[]).includes(word),
    ),
    sleepAfterMs: parseDuration(variables.SLEEP_AFTER ?? "10m"),
    attemptTimeoutMs: readNumber(variables, "ATTEMPT_TIMEOUT_MS", "milliseconds from 1", 10_000, (n) => n >= 1),
    deadAfterMs: readNumber(variables, "DEAD_AFTER_MS", "milliseconds from 1", 15_000, (n) => n >= 1),
    maxBodyBytes: readNumber(variables, "MAX_BODY_BYTES", "bytes from 1", 4_194_304, (n) => n >= 1),
    maxHeldBytes: readNumber(variables, "MAX_HELD_BYTES", "bytes from 0", 33_554_432, (n) => n >= 0),
    bodyTimeoutMs: readNumber(variables, "BODY_TIMEOUT_MS", "milliseconds from 1", 30_000, (n) => n >= 1),
    corsOrigins: readList(variables, "CORS_ORIGINS", ["origins, as https://example.com, or *"], isOrigin),
  };
}

/** Read a numeric variable: a number in wrangler.toml, a string if set on the command line. */
function readNumber(
  variables: Record<string, unknown>,
  name: string,
  expected: string,
  fallback: number,
  isValid: (value: number) => boolean,
): number {
  const text = variables[name] ?? fallback;
  const value = text === "" ? Number.NaN : Number(text);
  if (!isValid(value)) throw new Error(`${name}: expected ${expected}; got ${text}`);
  return value;
}

function readList<Word extends string>(
  variables: Record<string, unknown>,
  name: string,
  expected: readonly string[],
  isValid: (word: string) => word is Word,
): Word[] {
  const entries = String(variables[name] ?? "")
    .split(/[\s,]+/)
    .filter(Boolean);
  return entries.map((word) => {
    if (!isValid(word)) throw new Error(`${name}: expected ${expected.join(", ")}; got ${word}`);
    return word;
  });
}

function isOrigin(word: string): word is string {
  return word === "*" || (URL.canParse(word) && new URL(word).origin === word);
}

/** Parse a duration in the Container class's format: seconds, or a number with `s`, `m` or `h`. */
function parseDuration(text: unknown): number {
  const [, amount, unit = "s"] = /^(\d+)([smh]?)$/.exec(String(text)) ?? [];
  if (amount === undefined) throw new Error(`SLEEP_AFTER: expected a number with s, m or h; got ${text}`);
  return Number(amount) * { s: 1_000, m: 60_000, h: 3_600_000 }[(unit || "s") as "s" | "m" | "h"];
}

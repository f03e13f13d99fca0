/**
 * The calls that the page makes: with the visitor's key where the service asks for one, failures as its envelope tells them.
 * @module
 */

const KEY = "lifeboat-key";
export const KEY_NEEDED = "lifeboat-key-needed";

/** A call that the service refused, or that never reached it (status 0). */
export class Refused extends Error {
  constructor(message, { status = 0, code = "unavailable", field, retryAfterS } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.field = field;
    /** After how many seconds it may be tried again, where the service says so. */
    this.retryAfterS = retryAfterS;
  }
}

/** Returns whether the visitor has given a key. */
export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

/** Keeps a key until the tab is closed. */
export function keepKey(key) {
  sessionStorage.setItem(KEY, key);
}

/** Returns the response of a call that went well. Throws Refused; AbortError where `options.signal` ended it. */
export async function call(path, options = {}) {
  const headers = new Headers(options.headers);
  const key = sessionStorage.getItem(KEY);
  if (key !== null) headers.set("x-api-key", key);
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The service can’t be reached.");
  }
  if (response.ok) return response;
  const refused = await refusal(response);
  if (refused.status === 401 && sessionStorage.getItem(KEY) === key)
    document.dispatchEvent(new CustomEvent(KEY_NEEDED, { detail: { isWrong: key !== null } }));
  throw refused;
}

/** Returns the answer, as JSON, to one that is posted as JSON text, with `more` headers. */
export async function post(path, text, signal, more = {}) {
  const headers = { ...more, "content-type": "application/json", "lifeboat-cache": "allow" }; // the edge may have it already
  const response = await call(path, { method: "POST", body: text, headers, signal });
  return response.json().catch((error) => {
    throw error.name === "AbortError" ? error : new Refused("The response is not from this service.");
  });
}

async function refusal(response) {
  const told = await response.json().catch(() => ({}));
  return new Refused(told.error ?? `The service responded with ${response.status}.`, {
    status: response.status,
    code: told.code,
    field: told.field,
    retryAfterS: Number(response.headers.get("retry-after")) || undefined,
  });
}

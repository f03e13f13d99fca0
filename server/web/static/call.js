/**
 * Send the page's requests: add the API key if one is stored, and turn error responses into exceptions.
 * @module
 */

const KEY = "lifeboat-key";
export const KEY_NEEDED = "lifeboat-key-needed";

/** The error of a request that the service rejected, or that did not reach the service (status 0). */
export class Refused extends Error {
  constructor(message, { status = 0, code = "unavailable", field, retryAfterS } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.field = field;
    /** Seconds until the client may retry, if the service sent Retry-After. */
    this.retryAfterS = retryAfterS;
  }
}

/** Returns whether an API key is stored. */
export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

/** Stores an API key until the tab is closed. */
export function keepKey(key) {
  sessionStorage.setItem(KEY, key);
}

/** Returns a successful response. Throws the error class above, or AbortError if `options.signal` is aborted. */
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

/** Posts JSON text with `more` headers, and returns the response as JSON. */
export async function post(path, text, signal, more = {}) {
  const headers = { ...more, "content-type": "application/json", "lifeboat-cache": "allow" }; // the Worker may cache it
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

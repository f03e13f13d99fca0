/** What a deployment may add to wrangler.toml, or to its secrets: each is off until it is there. */
interface Env {
  /** `all`: every request is logged; failures always are. */
  LOG_REQUESTS?: string;
  /** SHA-256 of each API key, in hex, each behind a name where it has one: `mobile:9f86d0...`. */
  API_KEYS?: string;
  /** Counts requests by key, and by the caller's address. */
  RATE_BY_KEY?: RateLimit;
  RATE_BY_ADDRESS?: RateLimit;
  /** Takes a data point a request. */
  ANALYTICS?: AnalyticsEngineDataset;
}

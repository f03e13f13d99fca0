/** Optional bindings and secrets of a deployment; each feature is off until its binding exists. */
interface Env {
  /** `all` logs every request; failures are always logged. */
  LOG_REQUESTS?: string;
  /** SHA-256 of each API key in hex, with an optional name before it: `mobile:9f86d0...`. */
  API_KEYS?: string;
  /** Rate limit for each API key. */
  RATE_BY_KEY?: RateLimit;
  /** Rate limit for each client address. */
  RATE_BY_ADDRESS?: RateLimit;
  /** Receives one data point for each request. */
  ANALYTICS?: AnalyticsEngineDataset;
}

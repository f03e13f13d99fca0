/**
 * Log each request as a line of JSON and as a data point, never its input.
 * @module
 */

import { traceparent } from "../http/forwarding";
import type { Answered } from "../pool/retry";

/** A request and its response, as they are logged. */
export interface Seen {
  request: Request;
  response: Response;
  id: string;
  ms: number;
  answered: Answered | undefined;
  /** Name of the API key. */
  client: string | undefined;
  cache: string | undefined;
}

/** Maximum characters of a path and of a method in the log. The other fields have a bounded length. */
const PATH_CHARS = 256;
const METHOD_CHARS = 16;

/**
 * gRPC statuses that are failures: unknown, deadline_exceeded, internal, unavailable, data_loss. gRPC-Web sends them
 * with 200.
 */
const FAILURES = new Set<string | null>(["2", "4", "13", "14", "15"]);

/** Log a request as one line of JSON: failures always, other requests only with `logAll`. */
export function log(seen: Seen, logAll: boolean): void {
  const { request, response, answered } = seen;
  const isFailure = response.status >= 500 || FAILURES.has(response.headers.get("grpc-status"));
  if (!isFailure && !logAll) return;
  const line = JSON.stringify({
    id: seen.id,
    method: request.method.slice(0, METHOD_CHARS),
    path: new URL(request.url).pathname.slice(0, PATH_CHARS), // without the query, which may contain a record
    status: response.status,
    grpc_status: response.headers.get("grpc-status")?.slice(0, 2),
    ms: seen.ms,
    instance: answered?.instance,
    attempts: answered?.attempts,
    start_ms: answered?.startMs || undefined,
    cache: seen.cache,
    key: seen.client,
    colo: request.cf?.colo,
    traceparent: traceparent(request),
  });
  if (isFailure) console.error(line);
  else console.log(line);
}

/**
 * Write a data point to the Analytics Engine, if configured: instance, method, cache; duration, status, attempts, start
 * time.
 */
export function count(analytics: AnalyticsEngineDataset | undefined, seen: Seen): void {
  analytics?.writeDataPoint({
    indexes: [seen.client ?? "anyone"],
    blobs: [seen.answered?.instance ?? "edge", seen.request.method, seen.cache ?? "none"],
    doubles: [seen.ms, seen.response.status, seen.answered?.attempts ?? 0, seen.answered?.startMs ?? 0],
  });
}

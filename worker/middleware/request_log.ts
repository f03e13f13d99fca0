/**
 * Log each request as a line of JSON and as a data point, never its input.
 * @module
 */

import { traceparent } from "../http/forwarding";
import type { ForwardResult } from "../pool/retry";

/** A request and its response, as they are logged. */
export interface LogEntry {
  request: Request;
  response: Response;
  id: string;
  ms: number;
  result: ForwardResult | undefined;
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
const FAILURE_STATUSES = new Set<string | null>(["2", "4", "13", "14", "15"]);

/** Log a request as one line of JSON: failures always, other requests only with `logAll`. */
export function logRequest(entry: LogEntry, logAll: boolean): void {
  const { request, response, result } = entry;
  const isFailure = response.status >= 500 || FAILURE_STATUSES.has(response.headers.get("grpc-status"));
  if (!isFailure && !logAll) return;
  const line = JSON.stringify({
    id: entry.id,
    method: request.method.slice(0, METHOD_CHARS),
    path: new URL(request.url).pathname.slice(0, PATH_CHARS), // without the query, which may contain a record
    status: response.status,
    grpc_status: response.headers.get("grpc-status")?.slice(0, 2),
    ms: entry.ms,
    instance: result?.instance,
    attempts: result?.attempts,
    start_ms: result?.startMs || undefined,
    cache: entry.cache,
    key: entry.client,
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
export function writeDataPoint(analytics: AnalyticsEngineDataset | undefined, entry: LogEntry): void {
  analytics?.writeDataPoint({
    indexes: [entry.client ?? "anyone"],
    blobs: [entry.result?.instance ?? "edge", entry.request.method, entry.cache ?? "none"],
    doubles: [entry.ms, entry.response.status, entry.result?.attempts ?? 0, entry.result?.startMs ?? 0],
  });
}

/**
 * Log each request: a line, a data point and its times, never its input.
 * @module
 */

import { traceparent } from "../http/forwarding";
import type { Answered } from "../pool/retry";

/** What is known of a request when it has been answered. */
export interface Seen {
  request: Request;
  response: Response;
  id: string;
  ms: number;
  answered: Answered | undefined;
  /** The name of the key it came by. */
  client: string | undefined;
  cache: string | undefined;
}

/** Characters of a path and of a method that are logged; everything else of a line is of bounded length by itself. */
const PATH_CHARS = 256;
const METHOD_CHARS = 16;

/** What gRPC-Web says with 200: unknown, deadline_exceeded, internal, unavailable, data_loss. */
const FAILURES = new Set<string | null>(["2", "4", "13", "14", "15"]);

/** Logs a request as one line of JSON: a failure of the edge or the server always, others where all are asked for. */
export function log(seen: Seen, logAll: boolean): void {
  const { request, response, answered } = seen;
  const isFailure = response.status >= 500 || FAILURES.has(response.headers.get("grpc-status"));
  if (!isFailure && !logAll) return;
  const line = JSON.stringify({
    id: seen.id,
    method: request.method.slice(0, METHOD_CHARS),
    path: new URL(request.url).pathname.slice(0, PATH_CHARS), // without the query, in which a record may stand
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

/** Writes a data point to the Analytics Engine, where the deployment has one: by instance, method and cache; ms, status, attempts. */
export function count(analytics: AnalyticsEngineDataset | undefined, seen: Seen): void {
  analytics?.writeDataPoint({
    indexes: [seen.client ?? "anyone"],
    blobs: [seen.answered?.instance ?? "edge", seen.request.method, seen.cache ?? "none"],
    doubles: [seen.ms, seen.response.status, seen.answered?.attempts ?? 0, seen.answered?.startMs ?? 0],
  });
}

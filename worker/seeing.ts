/**
 * What is seen of a request afterwards: a line in the log, a data point, and its times in the answer. Never its input.
 * @module
 */
import type { Answered } from "./attempts";

/** What is known of a request when it has been answered. */
export interface Seen {
  request: Request;
  response: Response;
  id: string;
  ms: number;
  answered: Answered | undefined;
  /** The name of the key it came by. */
  visitor: string | undefined;
  cache: string | undefined;
}

/** What gRPC-Web says with 200: unknown, deadline_exceeded, internal, unavailable, data_loss. */
const FAILURES = new Set<string | null>(["2", "4", "13", "14", "15"]);

/** Logs a request as one line of JSON: a failure of the edge or the server always, others where all are asked for. */
export function log(seen: Seen, logAll: boolean): void {
  const { request, response, answered } = seen;
  const isFailure = response.status >= 500 || FAILURES.has(response.headers.get("grpc-status"));
  if (!isFailure && !logAll) return;
  const line = JSON.stringify({
    id: seen.id,
    method: request.method,
    path: new URL(request.url).pathname, // without the query, in which a record may stand
    status: response.status,
    grpc_status: response.headers.get("grpc-status") ?? undefined,
    ms: seen.ms,
    instance: answered?.instance,
    attempts: answered?.attempts,
    start_ms: answered?.startMs || undefined,
    cache: seen.cache,
    key: seen.visitor,
    colo: request.cf?.colo,
    traceparent: request.headers.get("traceparent") ?? undefined,
  });
  if (isFailure) console.error(line);
  else console.log(line);
}

/** Writes a data point to the Analytics Engine, where the deployment has one: by instance, method and cache; ms, status, attempts. */
export function count(analytics: AnalyticsEngineDataset | undefined, seen: Seen): void {
  analytics?.writeDataPoint({
    indexes: [seen.visitor ?? "anyone"],
    blobs: [seen.answered?.instance ?? "edge", seen.request.method, seen.cache ?? "none"],
    doubles: [seen.ms, seen.response.status, seen.answered?.attempts ?? 0, seen.answered?.startMs ?? 0],
  });
}

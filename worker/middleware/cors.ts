/**
 * Allow origins of CORS_ORIGINS to read responses; none by default.
 * @module
 */
import type { Context } from "hono";
import { cors } from "hono/cors";
import { settingsOf } from "../settings";

const METHODS = ["GET", "HEAD", "POST", "PUT"];

/** What the clients of Connect and gRPC-Web send, beside REST's own. */
const ALLOWED = [
  "authorization",
  "cache-control",
  "connect-protocol-version",
  "connect-timeout-ms",
  "content-encoding",
  "content-type",
  "grpc-timeout",
  "inference-header-content-length",
  "traceparent",
  "tracestate",
  "x-api-key",
  "x-grpc-web",
  "x-request-id",
  "x-request-timeout-ms",
  "x-user-agent",
];

/** What a page may read of an answer, beside what it always may: where a call's status and the edge's own words stand. */
const EXPOSED = [
  "connect-content-encoding",
  "content-encoding",
  "etag",
  "grpc-message",
  "grpc-status",
  "grpc-status-details-bin",
  "inference-header-content-length",
  "lifeboat-cache",
  "lifeboat-model",
  "lifeboat-version",
  "retry-after",
  "server-timing",
  "x-request-id",
];

/** A browser asks again after this long (Chrome's own most). */
const MAX_AGE_S = 7_200;

/** Answers preflights, which start no container, and lets the pages of the stated origins read the answers. */
export const crossOrigin = async (c: Context<{ Bindings: Env }>, next: () => Promise<void>) => {
  const { corsOrigins } = settingsOf(c.env);
  if (corsOrigins.length === 0) return next();
  const origin = corsOrigins.includes("*") ? "*" : corsOrigins;
  const options = { origin, allowMethods: METHODS, allowHeaders: ALLOWED, exposeHeaders: EXPOSED, maxAge: MAX_AGE_S };
  return cors(options)(c, next);
};

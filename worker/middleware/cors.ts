/**
 * Allow origins of CORS_ORIGINS to read responses; none by default.
 * @module
 */
import type { Context } from "hono";
import { cors } from "hono/cors";
import { settingsOf } from "../settings";

const ALLOWED_METHODS = ["GET", "HEAD", "POST", "PUT"];

/** Request headers of REST, Connect and gRPC-Web clients. */
const ALLOWED_HEADERS = [
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

/** Response headers that pages may read in addition to the CORS-safelisted ones. */
const EXPOSED_HEADERS = [
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

/** Seconds for which browsers cache a preflight (Chrome's maximum). */
const MAX_AGE_S = 7_200;

/** Respond to preflights without a container, and allow the configured origins to read responses. */
export const crossOrigin = async (c: Context<{ Bindings: Env }>, next: () => Promise<void>) => {
  const { corsOrigins } = settingsOf(c.env);
  if (corsOrigins.length === 0) return next();
  const origin = corsOrigins.includes("*") ? "*" : corsOrigins;
  const options = {
    origin,
    allowMethods: ALLOWED_METHODS,
    allowHeaders: ALLOWED_HEADERS,
    exposeHeaders: EXPOSED_HEADERS,
    maxAge: MAX_AGE_S,
  };
  return cors(options)(c, next);
};

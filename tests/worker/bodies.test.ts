import { beforeEach, describe, expect, it, vi } from "vitest";
import { HeldBodies } from "../../worker/http/bodies";
import { fakeEdge, jsonBody, sendRequest, withFakeTime } from "./fake_edge";

const ok = () => Response.json({ label: "survived" });

beforeEach(() => {
  vi.spyOn(console, "error").mockReturnValue();
});

/** Return a POST request with a streamed body and a Content-Length. */
function postStream(path: string, source: UnderlyingSource, headers: Record<string, string> = {}): Request {
  return new Request(`http://edge${path}`, {
    method: "POST",
    body: new ReadableStream(source),
    headers: { "content-length": "100", ...headers },
    duplex: "half",
  } as RequestInit);
}

const stalled = { start: (controller: ReadableStreamDefaultController) => controller.enqueue(new Uint8Array(99)) };
const incomplete = {
  start: (controller: ReadableStreamDefaultController) => controller.error(new Error("disconnected")),
};

describe("an incomplete or late body", () => {
  it.each([
    ["after BODY_TIMEOUT_MS", stalled, {}, 408, "deadline_exceeded"],
    ["after the client's deadline", stalled, { "x-request-timeout-ms": "500" }, 504, "deadline_exceeded"],
    ["that breaks off", incomplete, {}, 400, "invalid_argument"],
  ])("%s is rejected with its reason and starts no container", async (_how, source, headers, status, code) => {
    const edge = fakeEdge(ok);
    const response = await withFakeTime(() => sendRequest(edge, postStream("/api/predict", source, headers)));
    expect([response.status, (await jsonBody(response)).code, edge.received]).toEqual([status, code, []]);
  });

  it("is rejected with a gRPC status for a gRPC-Web client", async () => {
    const headers = { "content-type": "application/grpc-web+proto" };
    const response = await withFakeTime(() => sendRequest(fakeEdge(ok), postStream("/a.b/C", stalled, headers)));
    expect([response.status, response.headers.get("grpc-status")]).toEqual([200, "4"]);
  });
});

describe("held bodies", () => {
  it("that exceed the total limit are rejected with Retry-After and start no container", async () => {
    const edge = fakeEdge(ok, { MAX_HELD_BYTES: 150, BODY_TIMEOUT_MS: 60_000 });
    const pending = sendRequest(edge, postStream("/api/predict", stalled));
    const post = (length: string) => ({ method: "POST", body: "{}", headers: { "content-length": length } });
    const rejected = await sendRequest(edge, "/api/predict", post("100"));
    expect([rejected.status, (await jsonBody(rejected)).code, edge.received]).toEqual([429, "resource_exhausted", []]);
    expect(rejected.headers.get("retry-after")).not.toBeNull();
    expect((await sendRequest(edge, "/api/predict", post("50"))).status).toBe(200);
    void pending;
  });

  it("that are large leave a part of the limit to small ones", () => {
    const held = new HeldBodies(100_000);
    expect(held.hold(70_000, 0)).toBeDefined();
    expect(held.hold(20_000, 0)).toBeUndefined();
    expect(held.hold(10_000, 0)).toBeDefined();
  });

  it("release their bytes after every kind of failure", async () => {
    const edge = fakeEdge(ok, { MAX_HELD_BYTES: 150 });
    for (const source of [incomplete, stalled, incomplete])
      await withFakeTime(() => sendRequest(edge, postStream("/api/predict", source)));
    const all = { method: "POST", body: "{}", headers: { "content-length": "150" } };
    expect((await sendRequest(edge, "/api/predict", all)).status).toBe(200);
  });

  it("expire if the runtime dropped the client's handler", () => {
    const held = new HeldBodies(100);
    held.hold(100, 0);
    expect(held.hold(1, 60_000)).toBeUndefined();
    expect(held.hold(1, 121_000)).toBeDefined();
  });
});

describe("request headers", () => {
  it.each([
    "connect-timeout-ms",
    "content-length",
    "grpc-timeout",
    "inference-header-content-length",
    "x-request-timeout-ms",
  ])("%s with thousands of digits is rejected by name and starts no container", async (name) => {
    const edge = fakeEdge(ok);
    const response = await sendRequest(edge, "/api/predict", {
      method: "POST",
      body: "{}",
      headers: { [name]: "9".repeat(5_000) },
    });
    const { error, code } = await jsonBody(response);
    expect([response.status, code, edge.received]).toEqual([400, "invalid_argument", []]);
    expect(error).toContain(name);
  });

  it("are not repeated in the response if they are too long", async () => {
    const type = `application/grpc-web+${"x".repeat(5_000)}`;
    const response = await sendRequest(fakeEdge(ok), "/nothing", {
      method: "POST",
      body: "{}",
      headers: { "content-type": type },
    });
    expect([response.status, response.headers.get("content-type")]).toEqual([404, "application/json"]);
  });
});

it("writes a log line of bounded length for long headers and paths", async () => {
  const line = vi.spyOn(console, "log").mockReturnValue();
  const long = "x".repeat(10_000);
  const headers = Object.fromEntries(
    ["traceparent", "tracestate", "x-request-id", "cf-ray", "user-agent", "x-api-key", "content-type"].map((name) => [
      name,
      long,
    ]),
  );
  await sendRequest(fakeEdge(ok, { LOG_REQUESTS: "all" }), `/api/models/${long}?q=${long}`, { headers });
  const text = String(line.mock.calls[0]?.[0]);
  expect(text.length).toBeLessThan(700);
  expect(JSON.parse(text).traceparent).toBeUndefined();
});

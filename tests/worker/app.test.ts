import { describe, expect, it, vi } from "vitest";
import { fakeEdge, jsonBody, sendRequest, withFakeTime } from "./fake_edge";

const ok = () => Response.json({ label: "survived" });

describe("forwarding", () => {
  it.each([
    ["POST", "/api/predict?a=1&b=%20"],
    ["PUT", "/api/batch"],
    ["GET", "/api/models/titanic"],
    ["GET", "/v2"],
    ["POST", "/v2/models/titanic/infer"],
  ])("forwards %s %s with path, query, body and headers unchanged", async (method, path) => {
    const edge = fakeEdge(ok);
    const requestBody = method === "GET" ? null : '{"a":1}';
    const response = await sendRequest(edge, path, { method, body: requestBody, headers: { "x-mine": "1" } });
    expect(response.status).toBe(200);
    const request = edge.received[0]?.request as Request;
    const { pathname, search } = new URL(request.url);
    expect(pathname + search).toBe(path);
    expect(request.method).toBe(method);
    expect(request.headers.get("x-mine")).toBe("1");
    expect(await request.text()).toBe(requestBody ?? "");
  });

  it("removes headers that control the platform or the connection", async () => {
    const edge = fakeEdge(ok);
    const headers = {
      "cf-container-target-port": "22",
      upgrade: "websocket",
      te: "trailers",
      expect: "100-continue",
    };
    await sendRequest(edge, "/api/predict", { method: "POST", headers });
    for (const name of Object.keys(headers)) expect(edge.received[0]?.request.headers.has(name)).toBe(false);
  });

  it.each([
    ["zstd", "zstd"],
    ["", "identity"],
    [undefined, "br, gzip"],
  ])("requests an encoding that the client accepts: %j becomes %s", async (clientAcceptEncoding, expected) => {
    const edge = fakeEdge(ok);
    const request = new Request("http://edge/api/models", { headers: { "accept-encoding": "br, gzip" } });
    Object.defineProperty(request, "cf", { value: { clientAcceptEncoding } });
    await sendRequest(edge, request);
    expect(edge.received[0]?.request.headers.get("accept-encoding")).toBe(expected);
  });

  it("sends the same request id to the container and to the client", async () => {
    const edge = fakeEdge(ok);
    const response = await sendRequest(edge, "/api/models");
    expect(response.headers.get("x-request-id")).toMatch(/^[\w-]+$/);
    expect(edge.received[0]?.request.headers.get("x-request-id")).toBe(response.headers.get("x-request-id"));
  });

  it("creates a request id if those of the client and the platform are invalid", async () => {
    const headers = { "x-request-id": "a b", "cf-ray": "<x>" };
    const response = await sendRequest(fakeEdge(ok), "/api/models", { headers });
    expect(response.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
  });

  it("returns the server's errors unchanged", async () => {
    const error = { error: "sex: expected one of ...", code: "invalid_argument", field: "sex" };
    const edge = fakeEdge(() => Response.json(error, { status: 400 }));
    const response = await sendRequest(edge, "/api/predict", { method: "POST" });
    expect([response.status, await jsonBody(response)]).toEqual([400, error]);
  });

  it("sends requests to every warm instance and to no other", async () => {
    const edge = fakeEdge(ok, { WARM_INSTANCES: 2 });
    for (let i = 0; i < 100; i++) await sendRequest(edge, "/api/models");
    expect(new Set(edge.received.map(({ name }) => name))).toEqual(new Set(["inference-0", "inference-1"]));
  });
});

describe("platform errors", () => {
  it.each([
    [503, "There is no Container instance available at this time.\nThis is likely because"],
    [429, "you are requesting too many containers per second"],
    [500, "Failed to start container: boom"],
    [500, "Container suddenly disconnected, try again"],
    [500, "Error proxying request to container: boom"],
  ])("replaces %i %s by the error envelope with Retry-After", async (status, text) => {
    const log = vi.spyOn(console, "error").mockReturnValue();
    const edge = fakeEdge(() => new Response(text, { status }));
    const response = await withFakeTime(() => sendRequest(edge, "/api/predict", { method: "POST" }));
    expect(response.status).toBe(503);
    expect(await jsonBody(response)).toEqual({ error: expect.not.stringContaining("boom"), code: "unavailable" });
    expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(response.headers.get("x-request-id")).not.toBeNull();
    expect(log).toHaveBeenCalledWith(expect.stringContaining(text.split("\n", 1)[0] as string));
  });

  it("returns the error envelope if a Durable Object is unreachable, and logs the error text", async () => {
    const log = vi.spyOn(console, "error").mockReturnValue();
    const edge = fakeEdge(() => {
      throw new Error("Durable Object reset because its code was updated.");
    });
    const response = await withFakeTime(() => sendRequest(edge, "/api/predict", { method: "POST" }));
    expect([response.status, (await jsonBody(response)).code]).toEqual([503, "unavailable"]);
    expect(response.headers.get("retry-after")).not.toBeNull();
    expect(log).toHaveBeenCalled();
  });
});

describe("requests that are not forwarded", () => {
  it.each([
    ["GET", "/metrics", 404, "not_found"],
    ["GET", "/", 404, "not_found"],
    ["GET", "/container/7", 404, "not_found"],
    ["DELETE", "/api/predict", 405, "method_not_allowed"],
    ["PATCH", "/v2/models/titanic", 405, "method_not_allowed"],
    ["POST", "/healthz", 405, "method_not_allowed"],
    ["POST", "/v2/repository/models/titanic/load", 403, "permission_denied"],
    ["POST", "/v2/repository%2fmodels/titanic/load", 403, "permission_denied"],
    ["POST", "/v2//repository/models/titanic/load", 403, "permission_denied"],
    ["GET", "/api/%ff", 400, "invalid_argument"],
  ])("responds to %s %s with %i %s", async (method, path, status, code) => {
    const edge = fakeEdge(ok);
    const response = await sendRequest(edge, path, { method });
    expect([response.status, (await jsonBody(response)).code]).toEqual([status, code]);
    expect(response.headers.has("allow")).toBe(status === 405);
    expect(response.headers.get("x-request-id")).not.toBeNull();
    expect(edge.received).toEqual([]);
  });

  it("responds to /healthz without a container", async () => {
    const edge = fakeEdge(ok);
    const response = await sendRequest(edge, "/healthz");
    expect([response.status, await jsonBody(response), edge.received]).toEqual([200, { status: "ok" }, []]);
  });
});

it("returns no details of an internal error", async () => {
  const log = vi.spyOn(console, "error").mockReturnValue();
  const edge = fakeEdge(ok, { WARM_INSTANCES: 0 });
  const response = await sendRequest(edge, "/api/models");
  expect([response.status, await jsonBody(response)]).toEqual([500, { error: "internal error", code: "internal" }]);
  expect(log).toHaveBeenCalled();
});

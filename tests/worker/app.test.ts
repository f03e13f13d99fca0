import { describe, expect, it, vi } from "vitest";
import { ask, body, fake, patiently } from "./fake_edge";

const ok = () => Response.json({ label: "survived" });

describe("what goes to a container", () => {
  it.each([
    ["POST", "/api/predict?a=1&b=%20"],
    ["PUT", "/api/batch"],
    ["GET", "/api/models/titanic"],
    ["GET", "/v2"],
    ["POST", "/v2/models/titanic/infer"],
  ])("forwards %s %s with path, query, body and headers unchanged", async (method, path) => {
    const edge = fake(ok);
    const sent = method === "GET" ? null : '{"a":1}';
    const response = await ask(edge, path, { method, body: sent, headers: { "x-mine": "1" } });
    expect(response.status).toBe(200);
    const request = edge.seen[0]?.request as Request;
    const { pathname, search } = new URL(request.url);
    expect(pathname + search).toBe(path);
    expect(request.method).toBe(method);
    expect(request.headers.get("x-mine")).toBe("1");
    expect(await request.text()).toBe(sent ?? "");
  });

  it("takes the headers away that would steer the platform or the hop", async () => {
    const edge = fake(ok);
    const headers = {
      "cf-container-target-port": "22",
      upgrade: "websocket",
      te: "trailers",
      expect: "100-continue",
    };
    await ask(edge, "/api/predict", { method: "POST", headers });
    for (const name of Object.keys(headers)) expect(edge.seen[0]?.request.headers.has(name)).toBe(false);
  });

  it.each([
    ["zstd", "zstd"],
    ["", "identity"],
    [undefined, "br, gzip"],
  ])("asks for an answer packed as the caller accepts it: %j becomes %s", async (clientAcceptEncoding, sent) => {
    const edge = fake(ok);
    const request = new Request("http://edge/api/models", { headers: { "accept-encoding": "br, gzip" } });
    Object.defineProperty(request, "cf", { value: { clientAcceptEncoding } });
    await ask(edge, request);
    expect(edge.seen[0]?.request.headers.get("accept-encoding")).toBe(sent);
  });

  it("gives the container and the caller one request id", async () => {
    const edge = fake(ok);
    const response = await ask(edge, "/api/models");
    expect(response.headers.get("x-request-id")).toMatch(/^[\w-]+$/);
    expect(edge.seen[0]?.request.headers.get("x-request-id")).toBe(response.headers.get("x-request-id"));
  });

  it("makes an id of its own where the caller's, or the platform's, is not sound", async () => {
    const headers = { "x-request-id": "a b", "cf-ray": "<x>" };
    const response = await ask(fake(ok), "/api/models", { headers });
    expect(response.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
  });

  it("passes the server's own failures on unchanged", async () => {
    const refusal = { error: "sex: expected one of ...", code: "invalid_argument", field: "sex" };
    const edge = fake(() => Response.json(refusal, { status: 400 }));
    const response = await ask(edge, "/api/predict", { method: "POST" });
    expect([response.status, await body(response)]).toEqual([400, refusal]);
  });

  it("reaches each of the warm instances and no other", async () => {
    const edge = fake(ok, { WARM_INSTANCES: 2 });
    for (let i = 0; i < 100; i++) await ask(edge, "/api/models");
    expect(new Set(edge.seen.map(({ name }) => name))).toEqual(new Set(["inference-0", "inference-1"]));
  });
});

describe("platform failures", () => {
  it.each([
    [503, "There is no Container instance available at this time.\nThis is likely because"],
    [429, "you are requesting too many containers per second"],
    [500, "Failed to start container: boom"],
    [500, "Container suddenly disconnected, try again"],
    [500, "Error proxying request to container: boom"],
  ])("turns %i %s into the error envelope with Retry-After", async (status, text) => {
    const log = vi.spyOn(console, "error").mockReturnValue();
    const edge = fake(() => new Response(text, { status }));
    const response = await patiently(() => ask(edge, "/api/predict", { method: "POST" }));
    expect(response.status).toBe(503);
    expect(await body(response)).toEqual({ error: expect.not.stringContaining("boom"), code: "unavailable" });
    expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(response.headers.get("x-request-id")).not.toBeNull();
    expect(log).toHaveBeenCalledWith(expect.stringContaining(text.split("\n", 1)[0] as string));
  });

  it("turns a Durable Object that can't be reached into the same, its text kept to the log", async () => {
    const log = vi.spyOn(console, "error").mockReturnValue();
    const edge = fake(() => {
      throw new Error("Durable Object reset because its code was updated.");
    });
    const response = await patiently(() => ask(edge, "/api/predict", { method: "POST" }));
    expect([response.status, (await body(response)).code]).toEqual([503, "unavailable"]);
    expect(response.headers.get("retry-after")).not.toBeNull();
    expect(log).toHaveBeenCalled();
  });
});

describe("what never passes", () => {
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
  ])("answers %s %s itself with %i %s", async (method, path, status, code) => {
    const edge = fake(ok);
    const response = await ask(edge, path, { method });
    expect([response.status, (await body(response)).code]).toEqual([status, code]);
    expect(response.headers.has("allow")).toBe(status === 405);
    expect(response.headers.get("x-request-id")).not.toBeNull();
    expect(edge.seen).toEqual([]);
  });

  it("answers its own health without a container", async () => {
    const edge = fake(ok);
    const response = await ask(edge, "/healthz");
    expect([response.status, await body(response), edge.seen]).toEqual([200, { status: "ok" }, []]);
  });
});

it("tells a caller nothing of its own faults but that there is one", async () => {
  const log = vi.spyOn(console, "error").mockReturnValue();
  const edge = fake(ok, { WARM_INSTANCES: 0 });
  const response = await ask(edge, "/api/models");
  expect([response.status, await body(response)]).toEqual([500, { error: "internal error", code: "internal" }]);
  expect(log).toHaveBeenCalled();
});

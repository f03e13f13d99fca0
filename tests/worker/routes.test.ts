import { describe, expect, it } from "vitest";
import { settingsOf } from "../../worker/settings";
import { ask, body, fake } from "./fake_edge";

const ok = () => Response.json({ label: "survived" });
const MODELS = ["", "/models/titanic", "/models/titanic/versions/1", "/models/titanic/labels/stable"];

describe("what passes", () => {
  it.each([
    ...MODELS.flatMap((model) => [
      [`/api${model}/predict`, "GET, HEAD, POST"],
      [`/api${model}/explain`, "POST"],
      [`/api${model}/batch`, "POST, PUT"],
    ]),
    ...MODELS.slice(1).flatMap((model) => [
      [`/api${model}`, "GET, HEAD"],
      [`/api${model}/card`, "GET, HEAD"],
    ]),
    ["/api/models", "GET, HEAD"],
    ["/api/models/titanic/drift", "GET, HEAD"],
    ["/api/models/titanic/form", "GET, HEAD"],
    ["/api/models/titanic/service.proto", "GET, HEAD"],
    ["/api/openapi.json", "GET, HEAD"],
    ["/api/docs", "GET, HEAD"],
    ["/v2", "GET, HEAD"],
    ["/v2/health/live", "GET, HEAD"],
    ["/v2/health/ready", "GET, HEAD"],
    ["/v2/models/stats", "GET, HEAD"],
    ["/v2/models/titanic", "GET, HEAD"],
    ["/v2/models/titanic/ready", "GET, HEAD"],
    ["/v2/models/titanic/config", "GET, HEAD"],
    ["/v2/models/titanic/stats", "GET, HEAD"],
    ["/v2/models/titanic/infer", "POST"],
    ["/v2/models/titanic/versions/1/infer", "POST"],
    ["/v2/models/titanic/versions/1", "GET, HEAD"],
    ["/v2/repository/index", "POST"],
    ["/lifeboat.titanic.v1.TitanicService/Predict", "GET, HEAD, POST"],
  ])("%s by %s, and by no other method", async (path, allow) => {
    const edge = fake(ok);
    for (const method of ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
      const response = await ask(edge, path, { method });
      expect([method, response.status]).toEqual([method, allow.split(", ").includes(method) ? 200 : 405]);
      if (response.status === 405) expect(response.headers.get("allow")).toBe(allow);
    }
    expect(edge.seen.map(({ request }) => request.method)).toEqual(allow.split(", "));
  });
});

describe("what doesn't", () => {
  it.each([
    "/",
    "/metrics",
    "/api",
    "/api/",
    "/api/nothing",
    "/api//predict",
    "/api/predict/",
    "/api/models/titanic/versions",
    "/api/models/titanic/nothing",
    "/api/models/titanic/versions/1/nothing",
    "/v2/",
    "/v2/health",
    "/v2/models",
    "/v2/repository",
    "/v2/trace/setting",
    "/container/7",
  ])("is %s: no container starts for it", async (path) => {
    const edge = fake(ok);
    const response = await ask(edge, path);
    expect([response.status, (await body(response)).code, edge.seen]).toEqual([404, "not_found", []]);
  });
});

describe("a body", () => {
  const sized = (bytes: number, type = "application/json") => ({
    method: "POST",
    body: "{}",
    headers: { "content-length": String(bytes), "content-type": type },
  });

  it("that is larger than may be is refused by its stated length, and no container starts", async () => {
    const edge = fake(ok, { MAX_BODY_BYTES: 1_000 });
    const response = await ask(edge, "/api/predict", sized(1_001));
    expect([response.status, (await body(response)).code, edge.seen]).toEqual([413, "payload_too_large", []]);
    expect((await ask(edge, "/api/predict", sized(2))).status).toBe(200);
  });

  it("of a call is refused in the words of its protocol", async () => {
    const edge = fake(ok, { MAX_BODY_BYTES: 1_000 });
    const path = "/lifeboat.titanic.v1.TitanicService/Predict";
    const unary = await ask(edge, path, sized(1_001));
    expect([unary.status, (await body(unary)).code]).toEqual([429, "resource_exhausted"]);
    const web = await ask(edge, path, sized(1_001, "application/grpc-web+proto"));
    expect([web.status, web.headers.get("grpc-status"), web.headers.get("retry-after")]).toEqual([200, "8", null]);
  });

  it("of a file may be of any size", async () => {
    const edge = fake(ok, { MAX_BODY_BYTES: 1_000 });
    expect((await ask(edge, "/api/batch", sized(1_000_000, "text/csv"))).status).toBe(200);
  });
});

describe("pages of other origins", () => {
  const PREFLIGHT = {
    method: "OPTIONS",
    headers: { origin: "https://a.example", "access-control-request-method": "POST" },
  };

  it("read nothing unless that is configured", async () => {
    const edge = fake(ok);
    const response = await ask(edge, "/api/models", { headers: { origin: "https://a.example" } });
    expect(response.headers.get("access-control-allow-origin")).toBeNull();
    expect((await ask(edge, "/api/predict", PREFLIGHT)).status).toBe(405);
  });

  it("are let in by their origin, and told what a call may send, without a container", async () => {
    const edge = fake(ok, { CORS_ORIGINS: "https://a.example, https://b.example" });
    const response = await ask(edge, "/lifeboat.titanic.v1.TitanicService/Predict", PREFLIGHT);
    expect([response.status, edge.seen]).toEqual([204, []]);
    expect(response.headers.get("access-control-allow-origin")).toBe("https://a.example");
    expect(response.headers.get("vary")).toContain("Origin");
    const allowed = (response.headers.get("access-control-allow-headers") ?? "").split(",");
    for (const name of [
      "content-type",
      "connect-protocol-version",
      "connect-timeout-ms",
      "x-grpc-web",
      "grpc-timeout",
    ]) {
      expect(allowed).toContain(name);
    }
  });

  it("read the headers in which a call's status stands, of failures too", async () => {
    const edge = fake(ok, { CORS_ORIGINS: "*" });
    for (const path of ["/api/models", "/nothing"]) {
      const response = await ask(edge, path, { headers: { origin: "https://c.example" } });
      expect(response.headers.get("access-control-allow-origin")).toBe("*");
      const exposed = (response.headers.get("access-control-expose-headers") ?? "").split(",");
      for (const name of ["grpc-status", "grpc-message", "retry-after", "x-request-id"])
        expect(exposed).toContain(name);
    }
  });

  it("are not let in from an origin that isn't named", async () => {
    const edge = fake(ok, { CORS_ORIGINS: "https://a.example" });
    const response = await ask(edge, "/api/models", { headers: { origin: "https://evil.example" } });
    expect(response.headers.get("access-control-allow-origin")).toBeNull();
  });
});

describe("headers", () => {
  it("that trace a request are carried", async () => {
    const edge = fake(ok);
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    await ask(edge, "/api/models", { headers: { traceparent, tracestate: "a=b" } });
    const headers = edge.seen[0]?.request.headers as Headers;
    expect([headers.get("traceparent"), headers.get("tracestate")]).toEqual([traceparent, "a=b"]);
  });

  it("that say who a caller is end at the door", async () => {
    const edge = fake(ok);
    await ask(edge, "/api/models", { headers: { authorization: "Bearer x", "x-api-key": "x" } });
    const headers = edge.seen[0]?.request.headers as Headers;
    expect([headers.get("authorization"), headers.get("x-api-key")]).toEqual([null, null]);
  });

  it("tell where the time went: in the model, the instance and the edge", async () => {
    const timing = "model;dur=0.4, instance;dur=2";
    const edge = fake(() => Response.json({}, { headers: { "server-timing": timing } }));
    const response = await ask(edge, "/api/models");
    expect(response.headers.get("server-timing")).toMatch(/^model;dur=0\.4, instance;dur=2, edge;dur=\d+/);
  });
});

it.each([
  ["MAX_INSTANCES", { MAX_INSTANCES: 1, WARM_INSTANCES: 2 }],
  ["TARGET_UTILISATION", { TARGET_UTILISATION: 1 }],
  ["REGIONS", { REGIONS: "weur mars" }],
  ["SLEEP_AFTER", { SLEEP_AFTER: "soon" }],
  ["CORS_ORIGINS", { CORS_ORIGINS: "example.com" }],
  ["MAX_BODY_BYTES", { MAX_BODY_BYTES: "" }],
])("refuses a wrong %s by name, in the log", (name, variables) => {
  expect(() => settingsOf(fake(ok, variables).env)).toThrow(new RegExp(`^${name}: expected`));
});

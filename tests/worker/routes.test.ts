import { describe, expect, it } from "vitest";
import { fakeEdge, jsonBody, sendRequest } from "./fake_edge";

const ok = () => Response.json({ label: "survived" });
const MODELS = ["", "/models/titanic", "/models/titanic/versions/1", "/models/titanic/labels/stable"];

describe("forwarded paths", () => {
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
  ])("%s accepts %s and no other method", async (path, allow) => {
    const edge = fakeEdge(ok);
    for (const method of ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
      const response = await sendRequest(edge, path, { method });
      expect([method, response.status]).toEqual([method, allow.split(", ").includes(method) ? 200 : 405]);
      if (response.status === 405) expect(response.headers.get("allow")).toBe(allow);
    }
    expect(edge.received.map(({ request }) => request.method)).toEqual(allow.split(", "));
  });
});

describe("other paths", () => {
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
  ])("%s is rejected with 404 and starts no container", async (path) => {
    const edge = fakeEdge(ok);
    const response = await sendRequest(edge, path);
    expect([response.status, (await jsonBody(response)).code, edge.received]).toEqual([404, "not_found", []]);
  });
});

describe("the body limit", () => {
  const sized = (bytes: number, type = "application/json") => ({
    method: "POST",
    body: "{}",
    headers: { "content-length": String(bytes), "content-type": type },
  });

  it("rejects a larger Content-Length with 413 and starts no container", async () => {
    const edge = fakeEdge(ok, { MAX_BODY_BYTES: 1_000 });
    const response = await sendRequest(edge, "/api/predict", sized(1_001));
    expect([response.status, (await jsonBody(response)).code, edge.received]).toEqual([413, "payload_too_large", []]);
    expect((await sendRequest(edge, "/api/predict", sized(2))).status).toBe(200);
  });

  it("rejects an RPC with an error of its protocol", async () => {
    const edge = fakeEdge(ok, { MAX_BODY_BYTES: 1_000 });
    const path = "/lifeboat.titanic.v1.TitanicService/Predict";
    const unary = await sendRequest(edge, path, sized(1_001));
    expect([unary.status, (await jsonBody(unary)).code]).toEqual([429, "resource_exhausted"]);
    const web = await sendRequest(edge, path, sized(1_001, "application/grpc-web+proto"));
    expect([web.status, web.headers.get("grpc-status"), web.headers.get("retry-after")]).toEqual([200, "8", null]);
  });

  it("does not apply to files", async () => {
    const edge = fakeEdge(ok, { MAX_BODY_BYTES: 1_000 });
    expect((await sendRequest(edge, "/api/batch", sized(1_000_000, "text/csv"))).status).toBe(200);
  });
});

describe("headers", () => {
  it("with the trace context are forwarded", async () => {
    const edge = fakeEdge(ok);
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    await sendRequest(edge, "/api/models", { headers: { traceparent, tracestate: "a=b" } });
    const headers = edge.received[0]?.request.headers as Headers;
    expect([headers.get("traceparent"), headers.get("tracestate")]).toEqual([traceparent, "a=b"]);
  });

  it("with credentials are not forwarded", async () => {
    const edge = fakeEdge(ok);
    await sendRequest(edge, "/api/models", { headers: { authorization: "Bearer x", "x-api-key": "x" } });
    const headers = edge.received[0]?.request.headers as Headers;
    expect([headers.get("authorization"), headers.get("x-api-key")]).toEqual([null, null]);
  });

  it("include Server-Timing of the model, the instance and the edge", async () => {
    const timing = "model;dur=0.4, instance;dur=2";
    const edge = fakeEdge(() => Response.json({}, { headers: { "server-timing": timing } }));
    const response = await sendRequest(edge, "/api/models");
    expect(response.headers.get("server-timing")).toMatch(/^model;dur=0\.4, instance;dur=2, edge;dur=\d+/);
  });
});

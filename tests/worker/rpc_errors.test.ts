import { describe, expect, it, vi } from "vitest";
import { type FakeEdge, fakeEdge, jsonBody, sendRequest, withFakeTime } from "./fake_edge";

const PREDICT = "/lifeboat.titanic.v1.TitanicService/Predict";
const LOAD = "/inference.GRPCInferenceService/RepositoryModelLoad";
const UNARY = ["application/json", "application/proto", "application/json; charset=utf-8"];
const STREAMS = ["application/connect+json", "application/connect+proto"];
const WEB = ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text"];

const ok = () => Response.json({ label: "survived" });
const platformError = () => new Response("Failed to start container: boom", { status: 500 });
const callRpc = (path: string, type: string, edge: FakeEdge) =>
  sendRequest(edge, path, { method: "POST", headers: { "content-type": type }, body: "" });

/** Return the flag, the stated length, the actual length and the JSON of a stream's last message. */
async function endOfStream(response: Response): Promise<[number, number, number, Record<string, unknown>]> {
  const bytes = await response.arrayBuffer();
  const view = new DataView(bytes);
  const text = new TextDecoder().decode(bytes.slice(5));
  return [view.getUint8(0), view.getUint32(1), bytes.byteLength - 5, JSON.parse(text)];
}

describe("forwarding", () => {
  it.each([
    ["POST", "/inference.GRPCInferenceService/ModelInfer"],
    ["POST", "/inference.GRPCInferenceService/RepositoryIndex"],
    ["POST", PREDICT],
    ["GET", `${PREDICT}?connect=v1&encoding=json&message=%7B%7D`],
    ["POST", "/lifeboat.titanic.v1.TitanicService%2FPredict"],
    ["POST", "/grpc.health.v1.Health/Check"],
    ["POST", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"],
  ])("forwards %s %s unchanged", async (method, path) => {
    const edge = fakeEdge(ok);
    const requestBody = method === "GET" ? null : '{"a":1}';
    const response = await sendRequest(edge, path, { method, body: requestBody });
    expect(response.status).toBe(200);
    const request = edge.received[0]?.request as Request;
    const { pathname, search } = new URL(request.url);
    expect([request.method, pathname + search, await request.text()]).toEqual([method, path, requestBody ?? ""]);
  });

  it("forwards every header of the protocols", async () => {
    const headers = {
      "content-type": "application/grpc-web+proto",
      "content-encoding": "gzip",
      "accept-encoding": "gzip",
      "connect-protocol-version": "1",
      "connect-timeout-ms": "250",
      "connect-content-encoding": "gzip",
      "connect-accept-encoding": "gzip",
      "grpc-timeout": "250m",
      "grpc-encoding": "gzip",
      "grpc-accept-encoding": "gzip",
      "x-grpc-web": "1",
      "x-user-agent": "grpc-web-javascript/0.1",
      "some-metadata-bin": "AAE",
    };
    const edge = fakeEdge(ok);
    await sendRequest(edge, PREDICT, { method: "POST", headers, body: "" });
    expect(Object.fromEntries(edge.received[0]?.request.headers ?? [])).toMatchObject(headers);
  });

  it("forwards a stream without buffering", async () => {
    let end = () => {};
    const edge = fakeEdge(() => {
      const stream = new ReadableStream({
        start(controller) {
          controller.enqueue(new TextEncoder().encode("first"));
          end = () => controller.close();
        },
      });
      return new Response(stream, { headers: { "content-type": "application/connect+proto" } });
    });
    const response = await callRpc(PREDICT, "application/connect+proto", edge);
    const reader = response.body?.getReader() as ReadableStreamDefaultReader<Uint8Array>;
    expect(new TextDecoder().decode((await reader.read()).value)).toBe("first"); // the stream has not ended yet
    end();
    expect((await reader.read()).done).toBe(true);
  });

  it.each([
    [404, "there is no method /a.b/C"],
    [405, "/a.b/C takes POST, not PUT"],
    [415, "content-type: expected one of ..."],
  ])("returns the server's %i in plain text unchanged", async (status, text) => {
    const edge = fakeEdge(() => new Response(text, { status, headers: { allow: "POST", "accept-post": "x/y" } }));
    const response = await callRpc("/a.b/C", "text/plain", edge);
    expect([response.status, await response.text()]).toEqual([status, text]);
    expect([response.headers.get("allow"), response.headers.get("accept-post")]).toEqual(["POST", "x/y"]);
  });

  it("treats plain text as a platform error on any other path", async () => {
    vi.spyOn(console, "error").mockReturnValue();
    const edge = fakeEdge(() => new Response("boom", { status: 404 }));
    expect((await withFakeTime(() => sendRequest(edge, "/api/models"))).status).toBe(503);
  });
});

describe("platform errors", () => {
  const failures = [platformError, () => Promise.reject(new Error("boom: Durable Object reset"))];
  const withTypes = (types: string[]) => failures.flatMap((handler) => types.map((type) => ({ handler, type })));

  it.each(withTypes(UNARY))("are a Connect error for $type", async ({ handler, type }) => {
    vi.spyOn(console, "error").mockReturnValue();
    const response = await withFakeTime(() => callRpc(PREDICT, type, fakeEdge(handler)));
    expect([response.status, response.headers.get("content-type")]).toEqual([503, "application/json"]);
    expect(await jsonBody(response)).toEqual({ code: "unavailable", message: expect.not.stringContaining("boom") });
    expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
  });

  it.each(withTypes(STREAMS))("are an end-of-stream error for $type", async ({ handler, type }) => {
    vi.spyOn(console, "error").mockReturnValue();
    const response = await withFakeTime(() => callRpc(PREDICT, type, fakeEdge(handler)));
    expect([response.status, response.headers.get("content-type")]).toEqual([200, type]);
    const [flag, stated, length, message] = await endOfStream(response);
    expect([flag, stated]).toEqual([2, length]);
    expect(message).toEqual({
      error: { code: "unavailable", message: expect.not.stringContaining("boom") },
      metadata: { "retry-after": ["2"] },
    });
  });

  it.each(withTypes(WEB))("are trailers without a message for $type", async ({ handler, type }) => {
    vi.spyOn(console, "error").mockReturnValue();
    const response = await withFakeTime(() => callRpc(PREDICT, type, fakeEdge(handler)));
    expect([response.status, response.headers.get("content-type"), await response.text()]).toEqual([200, type, ""]);
    expect(response.headers.get("grpc-status")).toBe("14");
    expect(response.headers.get("grpc-message")).not.toContain("boom");
    expect(response.headers.get("retry-after")).toBe("2");
  });
});

describe("requests that are not forwarded", () => {
  it.each([
    LOAD,
    "/inference.GRPCInferenceService/RepositoryModelUnload",
    "/inference.GRPCInferenceService%2fRepositoryModelLoad",
    "/inference%2EGRPCInferenceService/%52epositoryModelLoad",
  ])("rejects model control at %s", async (path) => {
    const edge = fakeEdge(ok);
    const unary = await callRpc(path, "application/proto", edge);
    expect([unary.status, (await jsonBody(unary)).code]).toEqual([403, "permission_denied"]);
    const web = await callRpc(path, "application/grpc-web-text", edge);
    expect([web.status, web.headers.get("grpc-status")]).toEqual([200, "7"]);
    const stream = await callRpc(path, "application/connect+json", edge);
    expect((await endOfStream(stream))[3]).toMatchObject({ error: { code: "permission_denied" } });
    expect((await sendRequest(edge, path)).status).toBe(403);
    expect(edge.received).toEqual([]);
  });

  it.each(["application/grpc", "application/grpc+proto", "Application/gRPC; x=y"])(
    "rejects native gRPC (%s) and names the protocols to use",
    async (type) => {
      const edge = fakeEdge(ok);
      const response = await callRpc(PREDICT, type, edge);
      expect([response.status, response.headers.get("grpc-status")]).toEqual([415, "12"]);
      expect((await jsonBody(response)).message).toMatch(/Connect or gRPC-Web/);
      expect(response.headers.get("grpc-message")).toMatch(/Connect or gRPC-Web/);
      expect(edge.received).toEqual([]);
    },
  );

  it.each(["PUT", "DELETE", "OPTIONS"])("rejects an RPC with the method %s", async (method) => {
    const edge = fakeEdge(ok);
    const response = await sendRequest(edge, PREDICT, { method });
    expect([response.status, response.headers.get("allow")]).toEqual([405, "GET, HEAD, POST"]);
    expect((await jsonBody(response)).code).toBe("unimplemented");
    expect(edge.received).toEqual([]);
  });

  it.each(["/Service/Method", "/.git/config", "/a.b/c/d", "/a.b", "/a.b/", "/a..b/C", "//a.b/C"])(
    "starts no container for %s, which is not an RPC path",
    async (path) => {
      const edge = fakeEdge(ok);
      const response = await callRpc(path, "application/json", edge);
      expect([response.status, (await jsonBody(response)).code]).toEqual([404, "not_found"]);
      expect(edge.received).toEqual([]);
    },
  );

  it("rejects an unknown gRPC-Web path with an encoded message", async () => {
    const response = await callRpc("/prefix/%E2%9B%B5%25%0D%0A/Predict", "application/grpc-web+proto", fakeEdge(ok));
    expect([response.status, response.headers.get("grpc-status")]).toEqual([200, "12"]);
    const message = response.headers.get("grpc-message") as string;
    expect(message).toMatch(/^[ -~]+$/);
    expect(decodeURIComponent(message)).toContain("/prefix/");
  });
});

it("returns no details of an internal error, in every protocol", async () => {
  vi.spyOn(console, "error").mockReturnValue();
  const broken = fakeEdge(ok, { WARM_INSTANCES: 0 });
  const unary = await callRpc(PREDICT, "application/json", broken);
  expect([unary.status, await jsonBody(unary)]).toEqual([500, { code: "internal", message: "internal error" }]);
  const web = await callRpc(PREDICT, "application/grpc-web", broken);
  expect([web.headers.get("grpc-status"), web.headers.get("grpc-message")]).toEqual(["13", "internal error"]);
});

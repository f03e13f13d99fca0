import { describe, expect, it, vi } from "vitest";
import { ask, body, type Fake, fake, patiently } from "./fake_edge";

const PREDICT = "/lifeboat.titanic.v1.TitanicService/Predict";
const LOAD = "/inference.GRPCInferenceService/RepositoryModelLoad";
const UNARY = ["application/json", "application/proto", "application/json; charset=utf-8"];
const STREAMS = ["application/connect+json", "application/connect+proto"];
const WEB = ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text"];

const ok = () => Response.json({ label: "survived" });
const platform = () => new Response("Failed to start container: boom", { status: 500 });
const called = (path: string, type: string, edge: Fake) =>
  ask(edge, path, { method: "POST", headers: { "content-type": type }, body: "" });

/** Returns the flag, the stated length, the real length and the JSON of a stream's last message. */
async function endOfStream(response: Response): Promise<[number, number, number, Record<string, unknown>]> {
  const bytes = await response.arrayBuffer();
  const view = new DataView(bytes);
  const said = new TextDecoder().decode(bytes.slice(5));
  return [view.getUint8(0), view.getUint32(1), bytes.byteLength - 5, JSON.parse(said)];
}

describe("what goes to a container", () => {
  it.each([
    ["POST", "/inference.GRPCInferenceService/ModelInfer"],
    ["POST", "/inference.GRPCInferenceService/RepositoryIndex"],
    ["POST", PREDICT],
    ["GET", `${PREDICT}?connect=v1&encoding=json&message=%7B%7D`],
    ["POST", "/lifeboat.titanic.v1.TitanicService%2FPredict"],
    ["POST", "/grpc.health.v1.Health/Check"],
    ["POST", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"],
  ])("forwards %s %s unchanged", async (method, path) => {
    const edge = fake(ok);
    const sent = method === "GET" ? null : '{"a":1}';
    const response = await ask(edge, path, { method, body: sent });
    expect(response.status).toBe(200);
    const request = edge.seen[0]?.request as Request;
    const { pathname, search } = new URL(request.url);
    expect([request.method, pathname + search, await request.text()]).toEqual([method, path, sent ?? ""]);
  });

  it("keeps every header that the protocols read", async () => {
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
    const edge = fake(ok);
    await ask(edge, PREDICT, { method: "POST", headers, body: "" });
    expect(Object.fromEntries(edge.seen[0]?.request.headers ?? [])).toMatchObject(headers);
  });

  it("hands a stream on as it comes", async () => {
    let end = () => {};
    const edge = fake(() => {
      const stream = new ReadableStream({
        start(controller) {
          controller.enqueue(new TextEncoder().encode("first"));
          end = () => controller.close();
        },
      });
      return new Response(stream, { headers: { "content-type": "application/connect+proto" } });
    });
    const response = await called(PREDICT, "application/connect+proto", edge);
    const reader = response.body?.getReader() as ReadableStreamDefaultReader<Uint8Array>;
    expect(new TextDecoder().decode((await reader.read()).value)).toBe("first"); // nothing has ended yet
    end();
    expect((await reader.read()).done).toBe(true);
  });

  it.each([
    [404, "there is no method /a.b/C"],
    [405, "/a.b/C takes POST, not PUT"],
    [415, "content-type: expected one of ..."],
  ])("passes on the server's own %i in plain text", async (status, text) => {
    const edge = fake(() => new Response(text, { status, headers: { allow: "POST", "accept-post": "x/y" } }));
    const response = await called("/a.b/C", "text/plain", edge);
    expect([response.status, await response.text()]).toEqual([status, text]);
    expect([response.headers.get("allow"), response.headers.get("accept-post")]).toEqual(["POST", "x/y"]);
  });

  it("takes plain text for the platform's on any other path", async () => {
    vi.spyOn(console, "error").mockReturnValue();
    const edge = fake(() => new Response("boom", { status: 404 }));
    expect((await patiently(() => ask(edge, "/api/models"))).status).toBe(503);
  });
});

describe("platform failures", () => {
  const failures = [platform, () => Promise.reject(new Error("boom: Durable Object reset"))];
  const each = (types: string[]) => failures.flatMap((answer) => types.map((type) => ({ answer, type })));

  it.each(each(UNARY))("are a Connect error for $type", async ({ answer, type }) => {
    vi.spyOn(console, "error").mockReturnValue();
    const response = await patiently(() => called(PREDICT, type, fake(answer)));
    expect([response.status, response.headers.get("content-type")]).toEqual([503, "application/json"]);
    expect(await body(response)).toEqual({ code: "unavailable", message: expect.not.stringContaining("boom") });
    expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
  });

  it.each(each(STREAMS))("are the end of a stream for $type", async ({ answer, type }) => {
    vi.spyOn(console, "error").mockReturnValue();
    const response = await patiently(() => called(PREDICT, type, fake(answer)));
    expect([response.status, response.headers.get("content-type")]).toEqual([200, type]);
    const [flag, stated, length, said] = await endOfStream(response);
    expect([flag, stated]).toEqual([2, length]);
    expect(said).toEqual({
      error: { code: "unavailable", message: expect.not.stringContaining("boom") },
      metadata: { "retry-after": ["2"] },
    });
  });

  it.each(each(WEB))("are trailers alone for $type", async ({ answer, type }) => {
    vi.spyOn(console, "error").mockReturnValue();
    const response = await patiently(() => called(PREDICT, type, fake(answer)));
    expect([response.status, response.headers.get("content-type"), await response.text()]).toEqual([200, type, ""]);
    expect(response.headers.get("grpc-status")).toBe("14");
    expect(response.headers.get("grpc-message")).not.toContain("boom");
    expect(response.headers.get("retry-after")).toBe("2");
  });
});

describe("what never passes", () => {
  it.each([
    LOAD,
    "/inference.GRPCInferenceService/RepositoryModelUnload",
    "/inference.GRPCInferenceService%2fRepositoryModelLoad",
    "/inference%2EGRPCInferenceService/%52epositoryModelLoad",
  ])("refuses model control at %s", async (path) => {
    const edge = fake(ok);
    const unary = await called(path, "application/proto", edge);
    expect([unary.status, (await body(unary)).code]).toEqual([403, "permission_denied"]);
    const web = await called(path, "application/grpc-web-text", edge);
    expect([web.status, web.headers.get("grpc-status")]).toEqual([200, "7"]);
    const stream = await called(path, "application/connect+json", edge);
    expect((await endOfStream(stream))[3]).toMatchObject({ error: { code: "permission_denied" } });
    expect((await ask(edge, path)).status).toBe(403);
    expect(edge.seen).toEqual([]);
  });

  it.each(["application/grpc", "application/grpc+proto", "Application/gRPC; x=y"])(
    "refuses native gRPC (%s) at once, and says what to use",
    async (type) => {
      const edge = fake(ok);
      const response = await called(PREDICT, type, edge);
      expect([response.status, response.headers.get("grpc-status")]).toEqual([415, "12"]);
      expect((await body(response)).message).toMatch(/Connect or gRPC-Web/);
      expect(response.headers.get("grpc-message")).toMatch(/Connect or gRPC-Web/);
      expect(edge.seen).toEqual([]);
    },
  );

  it.each(["PUT", "DELETE", "OPTIONS"])("refuses a call by %s", async (method) => {
    const edge = fake(ok);
    const response = await ask(edge, PREDICT, { method });
    expect([response.status, response.headers.get("allow")]).toEqual([405, "GET, HEAD, POST"]);
    expect((await body(response)).code).toBe("unimplemented");
    expect(edge.seen).toEqual([]);
  });

  it.each(["/Service/Method", "/.git/config", "/a.b/c/d", "/a.b", "/a.b/", "/a..b/C", "//a.b/C"])(
    "starts no container for %s, which is no call",
    async (path) => {
      const edge = fake(ok);
      const response = await called(path, "application/json", edge);
      expect([response.status, (await body(response)).code]).toEqual([404, "not_found"]);
      expect(edge.seen).toEqual([]);
    },
  );

  it("tells a gRPC-Web caller of a path that isn't there, whatever its name", async () => {
    const response = await called("/prefix/%E2%9B%B5%25%0D%0A/Predict", "application/grpc-web+proto", fake(ok));
    expect([response.status, response.headers.get("grpc-status")]).toEqual([200, "12"]);
    const message = response.headers.get("grpc-message") as string;
    expect(message).toMatch(/^[ -~]+$/);
    expect(decodeURIComponent(message)).toContain("/prefix/");
  });
});

it("tells a caller nothing of its own faults but that there is one, on every wire", async () => {
  vi.spyOn(console, "error").mockReturnValue();
  const broken = fake(ok, { WARM_INSTANCES: 0 });
  const unary = await called(PREDICT, "application/json", broken);
  expect([unary.status, await body(unary)]).toEqual([500, { code: "internal", message: "internal error" }]);
  const web = await called(PREDICT, "application/grpc-web", broken);
  expect([web.headers.get("grpc-status"), web.headers.get("grpc-message")]).toEqual(["13", "internal error"]);
});

import { beforeEach, describe, expect, it, vi } from "vitest";
import { HeldBodies } from "../../worker/http/bodies";
import { ask, body, fake, patiently } from "./fake_edge";

const ok = () => Response.json({ label: "survived" });

beforeEach(() => {
  vi.spyOn(console, "error").mockReturnValue();
});

/** A POST whose body is what `source` says, of a stated length. */
function sent(path: string, source: UnderlyingSource, headers: Record<string, string> = {}): Request {
  return new Request(`http://edge${path}`, {
    method: "POST",
    body: new ReadableStream(source),
    headers: { "content-length": "100", ...headers },
    duplex: "half",
  } as RequestInit);
}

const stalled = { start: (controller: ReadableStreamDefaultController) => controller.enqueue(new Uint8Array(99)) };
const broken = { start: (controller: ReadableStreamDefaultController) => controller.error(new Error("left")) };

describe("a body that doesn't arrive", () => {
  it.each([
    ["within its time", stalled, {}, 408, "deadline_exceeded"],
    ["within the client's deadline", stalled, { "x-request-timeout-ms": "500" }, 504, "deadline_exceeded"],
    ["whole", broken, {}, 400, "invalid_argument"],
  ])("%s is answered with its reason, and starts no container", async (_how, source, headers, status, code) => {
    const edge = fake(ok);
    const response = await patiently(() => ask(edge, sent("/api/predict", source, headers)));
    expect([response.status, (await body(response)).code, edge.seen]).toEqual([status, code, []]);
  });

  it("is told to a gRPC-Web client in its own protocol", async () => {
    const headers = { "content-type": "application/grpc-web+proto" };
    const response = await patiently(() => ask(fake(ok), sent("/a.b/C", stalled, headers)));
    expect([response.status, response.headers.get("grpc-status")]).toEqual([200, "4"]);
  });
});

describe("bodies that are held", () => {
  it("take no more than they may all together: what is beyond is told to try again, and starts no container", async () => {
    const edge = fake(ok, { MAX_HELD_BYTES: 150, BODY_TIMEOUT_MS: 60_000 });
    const waiting = ask(edge, sent("/api/predict", stalled));
    const post = (length: string) => ({ method: "POST", body: "{}", headers: { "content-length": length } });
    const beyond = await ask(edge, "/api/predict", post("100"));
    expect([beyond.status, (await body(beyond)).code, edge.seen]).toEqual([429, "resource_exhausted", []]);
    expect(beyond.headers.get("retry-after")).not.toBeNull();
    expect((await ask(edge, "/api/predict", post("50"))).status).toBe(200);
    void waiting;
  });

  it("that are large leave a part to small ones", () => {
    const held = new HeldBodies(100_000);
    expect(held.hold(70_000, 0)).toBeDefined();
    expect(held.hold(20_000, 0)).toBeUndefined();
    expect(held.hold(10_000, 0)).toBeDefined();
  });

  it("give back what they took, whatever came of them", async () => {
    const edge = fake(ok, { MAX_HELD_BYTES: 150 });
    for (const source of [broken, stalled, broken]) await patiently(() => ask(edge, sent("/api/predict", source)));
    const all = { method: "POST", body: "{}", headers: { "content-length": "150" } };
    expect((await ask(edge, "/api/predict", all)).status).toBe(200);
  });

  it("are forgotten after a while where the runtime dropped the work of their client", () => {
    const held = new HeldBodies(100);
    held.hold(100, 0);
    expect(held.hold(1, 60_000)).toBeUndefined();
    expect(held.hold(1, 121_000)).toBeDefined();
  });
});

describe("headers", () => {
  it.each([
    "connect-timeout-ms",
    "content-length",
    "grpc-timeout",
    "inference-header-content-length",
    "x-request-timeout-ms",
  ])("%s of thousands of digits is refused by name, and starts no container", async (name) => {
    const edge = fake(ok);
    const response = await ask(edge, "/api/predict", {
      method: "POST",
      body: "{}",
      headers: { [name]: "9".repeat(5_000) },
    });
    const { error, code } = await body(response);
    expect([response.status, code, edge.seen]).toEqual([400, "invalid_argument", []]);
    expect(error).toContain(name);
  });

  it("are repeated in the response only where they are of a known length", async () => {
    const type = `application/grpc-web+${"x".repeat(5_000)}`;
    const response = await ask(fake(ok), "/nothing", { method: "POST", body: "{}", headers: { "content-type": type } });
    expect([response.status, response.headers.get("content-type")]).toEqual([404, "application/json"]);
  });
});

it("logs a line of bounded length, whatever the client sends", async () => {
  const line = vi.spyOn(console, "log").mockReturnValue();
  const long = "x".repeat(10_000);
  const headers = Object.fromEntries(
    ["traceparent", "tracestate", "x-request-id", "cf-ray", "user-agent", "x-api-key", "content-type"].map((name) => [
      name,
      long,
    ]),
  );
  await ask(fake(ok, { LOG_REQUESTS: "all" }), `/api/models/${long}?q=${long}`, { headers });
  const said = String(line.mock.calls[0]?.[0]);
  expect(said.length).toBeLessThan(700);
  expect(JSON.parse(said).traceparent).toBeUndefined();
});

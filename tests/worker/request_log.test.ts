import { beforeEach, describe, expect, it, vi } from "vitest";
import { keepWarm } from "../../worker/pool/keep_warm";
import { fakeEdge, jsonBody, sendRequest, withFakeTime } from "./fake_edge";

const ok = () => Response.json({ label: "survived" });
const TRACEPARENT = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
const PREDICT_PATH = "/api/predict?sex=female&age=29";

let errorLog: ReturnType<typeof vi.spyOn>;
let infoLog: ReturnType<typeof vi.spyOn>;
beforeEach(() => {
  errorLog = vi.spyOn(console, "error").mockReturnValue();
  infoLog = vi.spyOn(console, "log").mockReturnValue();
});

describe("the request log", () => {
  it("has no line for a successful request by default", async () => {
    await sendRequest(fakeEdge(ok), PREDICT_PATH);
    expect([infoLog.mock.calls, errorLog.mock.calls]).toEqual([[], []]);
  });

  it("has one line of JSON for each request with LOG_REQUESTS=all, without the record", async () => {
    const headers = { "x-request-id": "abc-7", traceparent: TRACEPARENT };
    await sendRequest(fakeEdge(ok, { LOG_REQUESTS: "all" }), PREDICT_PATH, { headers });
    const line = String(infoLog.mock.calls[0]?.[0]);
    expect(JSON.parse(line)).toMatchObject({
      id: "abc-7",
      method: "GET",
      path: "/api/predict",
      status: 200,
      instance: "inference-0",
      attempts: 1,
      traceparent: TRACEPARENT,
    });
    expect(line).not.toContain("female");
  });

  it("has one line for each failure, and one with the platform's error text", async () => {
    await withFakeTime(() =>
      sendRequest(
        fakeEdge(() => new Response("boom", { status: 500 })),
        PREDICT_PATH,
      ),
    );
    const lines = errorLog.mock.calls.map((words: unknown[]) => String(words));
    expect(lines.some((text: string) => /inference-0 gone: boom/.test(text))).toBe(true);
    expect(JSON.parse(lines.at(-1) as string)).toMatchObject({ status: 503, path: "/api/predict" });
  });

  it("has one line for a gRPC-Web failure with status 200", async () => {
    const failed = () => new Response(null, { headers: { "grpc-status": "13" } });
    await sendRequest(fakeEdge(failed), "/a.b/C", { method: "POST", body: "" });
    expect(JSON.parse(String(errorLog.mock.calls.at(-1)))).toMatchObject({ status: 200, grpc_status: "13" });
  });
});

it("writes one data point for each request if Analytics Engine is configured", async () => {
  const writeDataPoint = vi.fn();
  await sendRequest(fakeEdge(ok, { ANALYTICS: { writeDataPoint } }), PREDICT_PATH);
  const [point] = writeDataPoint.mock.calls[0] as [AnalyticsEngineDataPoint];
  expect([point.indexes, point.blobs?.[0], point.doubles?.[1]]).toEqual([["anyone"], "inference-0", 200]);
});

describe("/status", () => {
  it("shows the state and the counters of each instance, and starts none", async () => {
    const edge = fakeEdge(ok, { MAX_INSTANCES: 3 });
    const response = await sendRequest(edge, "/status");
    const { regions, ...limits } = (await jsonBody(response)) as {
      regions: { instances: Record<string, unknown>[] }[];
    };
    expect([response.status, limits]).toEqual([200, { warm: 1, max: 3, target: 0.7 }]);
    expect(regions[0]?.instances[0]).toEqual({
      name: "inference-0",
      state: "asleep",
      in_flight: 0,
      starts: 3,
      failed_starts: 1,
      exits: { 137: 1 },
      cold_calls: 2,
      start_ms: { last: 900, mean: 1_000, most: 1_100 },
      hung: 0,
      restarts: 0,
      here: { state: "presumed", in_flight: 0, latency_ms: 0, circuit: "closed" },
    });
    expect(regions[0]?.instances[2]).toEqual({ name: "inference-2", state: "unknown" });
    expect(edge.received).toEqual([]);
  });

  it("reads only the instances of a large pool that were ever started, in groups", async () => {
    const response = await sendRequest(fakeEdge(ok, { MAX_INSTANCES: 1_000 }), "/status");
    const { regions } = (await jsonBody(response)) as { regions: { instances: unknown[] }[] };
    expect(regions[0]?.instances).toHaveLength(20);
  });

  it("rejects POST with 405", async () => {
    expect((await sendRequest(fakeEdge(ok), "/status", { method: "POST" })).status).toBe(405);
  });
});

describe("regions", () => {
  const PARIS = { latitude: "48.8", longitude: "2.3" };
  const from = (cf: object) => {
    const request = new Request("http://edge/api/models");
    Object.defineProperty(request, "cf", { value: cf });
    return request;
  };

  it("place instances by location hint, and send requests to the nearest region", async () => {
    const edge = fakeEdge(ok, { REGIONS: "enam weur apac" });
    await sendRequest(edge, from(PARIS));
    await sendRequest(edge, from({ latitude: "35.6", longitude: "139.6" }));
    await sendRequest(edge, from({}));
    expect(edge.received.map(({ name, hint }) => [name, hint])).toEqual([
      ["inference-weur-0", "weur"],
      ["inference-apac-0", "apac"],
      ["inference-enam-0", "enam"],
    ]);
  });

  it("replace each other if an instance hangs", async () => {
    const hung = () => new Response("", { status: 503, headers: { "x-lifeboat-failure": "hung" } });
    const edge = fakeEdge((_, name) => (name === "inference-weur-0" ? hung() : ok()), { REGIONS: "enam weur" });
    for (let i = 0; i < 3; i++) expect((await sendRequest(edge, from(PARIS))).status).toBe(200);
    const names = edge.received.filter(({ request }) => request.url.endsWith("/models")).map(({ name }) => name);
    expect(names).toEqual(["inference-weur-0", "inference-enam-0", "inference-enam-0", "inference-enam-0"]);
  });

  it("are all kept warm", async () => {
    const edge = fakeEdge(ok, { REGIONS: "enam weur", WARM_INSTANCES: 2 });
    await keepWarm(edge.env);
    expect(edge.received.map(({ name }) => name).sort()).toEqual([
      "inference-enam-0",
      "inference-enam-1",
      "inference-weur-0",
      "inference-weur-1",
    ]);
  });
});

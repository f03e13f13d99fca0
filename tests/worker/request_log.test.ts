import { beforeEach, describe, expect, it, vi } from "vitest";
import { keepWarm } from "../../worker/pool/keep_warm";
import { ask, body, fake, patiently } from "./fake_edge";

const ok = () => Response.json({ label: "survived" });
const TRACE = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
const RECORD = "/api/predict?sex=female&age=29";

let error: ReturnType<typeof vi.spyOn>;
let line: ReturnType<typeof vi.spyOn>;
beforeEach(() => {
  error = vi.spyOn(console, "error").mockReturnValue();
  line = vi.spyOn(console, "log").mockReturnValue();
});

describe("the log", () => {
  it("is silent of what went well, unless it is asked for", async () => {
    await ask(fake(ok), RECORD);
    expect([line.mock.calls, error.mock.calls]).toEqual([[], []]);
  });

  it("has a line of JSON a request where asked, without the record", async () => {
    const headers = { "x-request-id": "abc-7", traceparent: TRACE };
    await ask(fake(ok, { LOG_REQUESTS: "all" }), RECORD, { headers });
    const said = String(line.mock.calls[0]?.[0]);
    expect(JSON.parse(said)).toMatchObject({
      id: "abc-7",
      method: "GET",
      path: "/api/predict",
      status: 200,
      instance: "inference-0",
      attempts: 1,
      traceparent: TRACE,
    });
    expect(said).not.toContain("female");
  });

  it("has a line of every failure, with the words of the platform beside", async () => {
    await patiently(() =>
      ask(
        fake(() => new Response("boom", { status: 500 })),
        RECORD,
      ),
    );
    const said = error.mock.calls.map((words: unknown[]) => String(words));
    expect(said.some((text: string) => /inference-0 gone: boom/.test(text))).toBe(true);
    expect(JSON.parse(said.at(-1) as string)).toMatchObject({ status: 503, path: "/api/predict" });
  });

  it("has a line of a failure that gRPC-Web says with 200", async () => {
    const failed = () => new Response(null, { headers: { "grpc-status": "13" } });
    await ask(fake(failed), "/a.b/C", { method: "POST", body: "" });
    expect(JSON.parse(String(error.mock.calls.at(-1)))).toMatchObject({ status: 200, grpc_status: "13" });
  });
});

it("writes a data point a request, where there is a place for it", async () => {
  const writeDataPoint = vi.fn();
  await ask(fake(ok, { ANALYTICS: { writeDataPoint } }), RECORD);
  const [point] = writeDataPoint.mock.calls[0] as [AnalyticsEngineDataPoint];
  expect([point.indexes, point.blobs?.[0], point.doubles?.[1]]).toEqual([["anyone"], "inference-0", 200]);
});

describe("/status", () => {
  it("shows each instance's state and past, and starts none", async () => {
    const edge = fake(ok, { MAX_INSTANCES: 3 });
    const response = await ask(edge, "/status");
    const { regions, ...limits } = (await body(response)) as { regions: { instances: Record<string, unknown>[] }[] };
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
    expect(edge.seen).toEqual([]);
  });

  it("asks no more of a large pool than were ever started", async () => {
    const response = await ask(fake(ok, { MAX_INSTANCES: 1_000 }), "/status");
    const { regions } = (await body(response)) as { regions: { instances: unknown[] }[] };
    expect(regions[0]?.instances).toHaveLength(20);
  });

  it("takes GET alone", async () => {
    expect((await ask(fake(ok), "/status", { method: "POST" })).status).toBe(405);
  });
});

describe("regions", () => {
  const HERE = { latitude: "48.8", longitude: "2.3" };
  const from = (cf: object) => {
    const request = new Request("http://edge/api/models");
    Object.defineProperty(request, "cf", { value: cf });
    return request;
  };

  it("place an instance by its hint, and let the nearest answer", async () => {
    const edge = fake(ok, { REGIONS: "enam weur apac" });
    await ask(edge, from(HERE));
    await ask(edge, from({ latitude: "35.6", longitude: "139.6" }));
    await ask(edge, from({}));
    expect(edge.seen.map(({ name, hint }) => [name, hint])).toEqual([
      ["inference-weur-0", "weur"],
      ["inference-apac-0", "apac"],
      ["inference-enam-0", "enam"],
    ]);
  });

  it("stand in for one another", async () => {
    const hung = () => new Response("", { status: 503, headers: { "x-lifeboat-failure": "hung" } });
    const edge = fake((_, name) => (name === "inference-weur-0" ? hung() : ok()), { REGIONS: "enam weur" });
    for (let i = 0; i < 3; i++) expect((await ask(edge, from(HERE))).status).toBe(200);
    const asked = edge.seen.filter(({ request }) => request.url.endsWith("/models")).map(({ name }) => name);
    expect(asked).toEqual(["inference-weur-0", "inference-enam-0", "inference-enam-0", "inference-enam-0"]);
  });

  it("are each kept warm", async () => {
    const edge = fake(ok, { REGIONS: "enam weur", WARM_INSTANCES: 2 });
    await keepWarm(edge.env);
    expect(edge.seen.map(({ name }) => name).sort()).toEqual([
      "inference-enam-0",
      "inference-enam-1",
      "inference-weur-0",
      "inference-weur-1",
    ]);
  });
});

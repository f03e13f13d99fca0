import { beforeEach, describe, expect, it, vi } from "vitest";
import { fakeEdge, jsonBody, sendRequest } from "./fake_edge";

const ok = () => Response.json({ label: "survived" });

beforeEach(() => {
  vi.spyOn(console, "error").mockReturnValue();
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

import { expect, it, vi } from "vitest";
import { keepWarm } from "../../worker/pool/keep_warm";
import { fakeEdge } from "./fake_edge";

it("sends a readiness request to every warm instance", async () => {
  vi.spyOn(console, "log").mockReturnValue();
  const { env, received } = fakeEdge(() => Response.json({ ready: true }), { WARM_INSTANCES: 3 });
  await keepWarm(env);
  expect(received.map(({ name }) => name)).toEqual(["inference-0", "inference-1", "inference-2"]);
  expect(new Set(received.map(({ request }) => new URL(request.url).pathname))).toEqual(new Set(["/v2/health/ready"]));
});

it("fails and names the instance if one does not respond with 200, after requests to all of them", async () => {
  let calls = 0;
  const { env, received } = fakeEdge(() => new Response("no", { status: ++calls === 1 ? 503 : 200 }), {
    WARM_INSTANCES: 2,
  });
  await expect(keepWarm(env)).rejects.toThrow(/inference-0: .*503/);
  expect(received).toHaveLength(2);
});

it("fails and names the instance if one is unreachable", async () => {
  const { env } = fakeEdge(() => Promise.reject(new Error("Network connection lost.")));
  await expect(keepWarm(env)).rejects.toThrow(/inference-0: .*lost/);
});

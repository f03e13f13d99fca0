import { expect, it, vi } from "vitest";
import { keepWarm } from "../../worker/pool/keep_warm";
import { settingsOf } from "../../worker/settings";
import { fake } from "./fake_edge";

it("asks every warm instance whether it is ready, by a real request", async () => {
  vi.spyOn(console, "log").mockReturnValue();
  const { env, seen } = fake(() => Response.json({ ready: true }), { WARM_INSTANCES: 3 });
  await keepWarm(env);
  expect(seen.map(({ name }) => name)).toEqual(["inference-0", "inference-1", "inference-2"]);
  expect(new Set(seen.map(({ request }) => new URL(request.url).pathname))).toEqual(new Set(["/v2/health/ready"]));
});

it("fails, naming the instance, where one answers anything but 200, and asks the others all the same", async () => {
  let calls = 0;
  const { env, seen } = fake(() => new Response("no", { status: ++calls === 1 ? 503 : 200 }), { WARM_INSTANCES: 2 });
  await expect(keepWarm(env)).rejects.toThrow(/inference-0: .*503/);
  expect(seen).toHaveLength(2);
});

it("fails, naming the instance, where one can't be reached", async () => {
  const { env } = fake(() => Promise.reject(new Error("Network connection lost.")));
  await expect(keepWarm(env)).rejects.toThrow(/inference-0: .*lost/);
});

it.each([0, -1, 1.5, Number.NaN])("refuses WARM_INSTANCES = %d by name", (count) => {
  expect(() => settingsOf(fake(() => new Response(), { WARM_INSTANCES: count }).env)).toThrow(/^WARM_INSTANCES/);
});

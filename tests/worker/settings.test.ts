import { expect, it } from "vitest";
import { settingsOf } from "../../worker/settings";
import { fakeEdge } from "./fake_edge";

const ok = () => Response.json({ label: "survived" });

it.each([
  ["MAX_INSTANCES", { MAX_INSTANCES: 1, WARM_INSTANCES: 2 }],
  ["TARGET_UTILISATION", { TARGET_UTILISATION: 1 }],
  ["REGIONS", { REGIONS: "weur mars" }],
  ["SLEEP_AFTER", { SLEEP_AFTER: "soon" }],
  ["CORS_ORIGINS", { CORS_ORIGINS: "example.com" }],
  ["MAX_BODY_BYTES", { MAX_BODY_BYTES: "" }],
])("rejects an invalid %s by name", (name, variables) => {
  expect(() => settingsOf(fakeEdge(ok, variables).env)).toThrow(new RegExp(`^${name}: expected`));
});

it.each([0, -1, 1.5, Number.NaN])("rejects WARM_INSTANCES = %d by name", (count) => {
  expect(() => settingsOf(fakeEdge(ok, { WARM_INSTANCES: count }).env)).toThrow(/^WARM_INSTANCES/);
});

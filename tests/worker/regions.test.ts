import { beforeEach, describe, expect, it, vi } from "vitest";
import { keepWarm } from "../../worker/pool/keep_warm";
import { fakeEdge, sendRequest } from "./fake_edge";

const ok = () => Response.json({ label: "survived" });

beforeEach(() => {
  vi.spyOn(console, "error").mockReturnValue();
  vi.spyOn(console, "log").mockReturnValue();
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

import { beforeEach, describe, expect, it, vi } from "vitest";
import { poolOf } from "../../worker/pool/pool";
import { FailureEvidence } from "../../worker/pool/suspicion";
import { ask, body, fake, patiently } from "./fake_edge";

const TWO = { WARM_INSTANCES: 2, MAX_INSTANCES: 2 };
const POST = { method: "POST", body: "{}", headers: { "content-length": "2" } };
const ok = () => Response.json({ label: "survived" });
const failed = (kind: string, suspicion: string) => () =>
  new Response("words", {
    status: 503,
    headers: { "x-lifeboat-failure": kind, "x-lifeboat-suspicion": suspicion },
  });

beforeEach(() => {
  vi.spyOn(console, "error").mockReturnValue();
  vi.spyOn(console, "log").mockReturnValue();
});

describe("a call that fails wherever it is sent", () => {
  it.each([
    ["hung", "alone", 1],
    ["hung", "shared", 3],
    ["gone", "alone", 2],
    ["gone", "shared", 3],
  ])("%s, %s, reaches %i instances at most, and is answered with the error envelope", async (kind, suspicion, most) => {
    const edge = fake(failed(kind, suspicion), TWO);
    const response = await patiently(() => ask(edge, "/api/predict", POST));
    expect([response.status, (await body(response)).code]).toEqual([503, "unavailable"]);
    expect(response.headers.get("retry-after")).not.toBeNull();
    expect(edge.seen).toHaveLength(most);
  });

  it("has no instance avoided, and no other started in its place", async () => {
    const edge = fake(failed("hung", "alone"), { MAX_INSTANCES: 3 });
    for (let i = 0; i < 5; i++) await patiently(() => ask(edge, "/api/predict", POST));
    expect(new Set(edge.seen.map(({ name }) => name))).toEqual(new Set(["inference-0"]));
    expect(
      poolOf(edge.env)
        .snapshot()[0]
        ?.instances.every(({ circuit }) => circuit.isClosed),
    ).toBe(true);
  });

  it("is sent again no more once its client's calls have failed so for some time", async () => {
    const edge = fake(failed("hung", "shared"), TWO);
    for (let i = 0; i < 5; i++) await patiently(() => ask(edge, "/api/predict", POST));
    const before = edge.seen.length;
    await patiently(() => ask(edge, "/api/predict", POST));
    expect(edge.seen.length).toBe(before + 1);
  });
});

it("sends a client's calls again that fail with others, as long as most of its calls are answered", async () => {
  let calls = 0;
  const edge = fake(() => (++calls % 10 === 0 ? failed("hung", "shared")() : ok()), TWO);
  for (let i = 0; i < 200; i++) {
    expect((await patiently(() => ask(edge, "/api/predict", POST))).status).toBe(200);
  }
});

it("keeps the calls of one client apart from those of another", async () => {
  const from = (address: string) => ({ ...POST, headers: { ...POST.headers, "cf-connecting-ip": address } });
  let isSound = false;
  let calls = 0;
  const edge = fake(() => (isSound && calls++ > 0 ? ok() : failed("hung", "shared")()), TWO);
  for (let i = 0; i < 9; i++) await patiently(() => ask(edge, "/api/predict", from("192.0.2.1")));
  isSound = true; // from here on only the first attempt fails
  expect((await patiently(() => ask(edge, "/api/predict", from("192.0.2.2")))).status).toBe(200);
  calls = 0;
  expect((await patiently(() => ask(edge, "/api/predict", from("192.0.2.1")))).status).toBe(503);
});

describe("the suspicion against a call that got no answer", () => {
  it("is its alone where nothing else was under way", () => {
    const calls = new FailureEvidence();
    expect(calls.recordTimeout(0, calls.recordRequest(0), 1_000)).toBe("alone");
  });

  it("is its alone where others were answered meanwhile: the server is alive", () => {
    const calls = new FailureEvidence();
    const silentMs = calls.recordRequest(0);
    calls.recordRequest(900);
    calls.recordResponse(910);
    expect([calls.hasRespondedRecently(0, 1_000), calls.recordTimeout(0, silentMs, 1_000)]).toEqual([true, "alone"]);
  });

  it("is shared with those that were sent with it, also by the last of them to end", () => {
    const calls = new FailureEvidence();
    const waits = [calls.recordRequest(0), calls.recordRequest(5)];
    expect(calls.recordTimeout(0, waits[0] as number, 1_000)).toBe("shared");
    calls.recordEnd();
    expect(calls.recordTimeout(5, waits[1] as number, 1_005)).toBe("shared");
  });

  it("is none where the server had been silent before it came, also after the calls that it was silent to", () => {
    const calls = new FailureEvidence();
    calls.recordTimeout(0, calls.recordRequest(0), 1_000);
    calls.recordEnd();
    expect(calls.recordTimeout(1_200, calls.recordRequest(1_200), 2_200)).toBe("none");
    calls.recordEnd();
    calls.recordResponse(3_000);
    expect(calls.recordTimeout(3_100, calls.recordRequest(3_100), 4_100)).toBe("alone");
  });

  it("is shared by all that the server was at work on when it ended", () => {
    const calls = new FailureEvidence();
    calls.recordRequest(0);
    expect(calls.recordDisconnect(0, 10)).toBe("alone");
    calls.recordRequest(20);
    calls.recordEnd();
    calls.recordRequest(20);
    expect(calls.recordDisconnect(20, 30)).toBe("shared");
  });
});

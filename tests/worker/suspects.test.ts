import { beforeEach, describe, expect, it, vi } from "vitest";
import { poolOf } from "../../worker/pool/pool";
import { FailureEvidence } from "../../worker/pool/suspicion";
import { fakeEdge, jsonBody, sendRequest, withFakeTime } from "./fake_edge";

const TWO_INSTANCES = { WARM_INSTANCES: 2, MAX_INSTANCES: 2 };
const POST = { method: "POST", body: "{}", headers: { "content-length": "2" } };
const ok = () => Response.json({ label: "survived" });
const failure = (kind: string, suspicion: string) => () =>
  new Response("words", {
    status: 503,
    headers: { "x-lifeboat-failure": kind, "x-lifeboat-suspicion": suspicion },
  });

beforeEach(() => {
  vi.spyOn(console, "error").mockReturnValue();
  vi.spyOn(console, "log").mockReturnValue();
});

describe("a request that fails on every instance", () => {
  it.each([
    ["hung", "alone", 1],
    ["hung", "shared", 3],
    ["gone", "alone", 2],
    ["gone", "shared", 3],
  ])(
    "%s with suspicion %s has at most %i attempts, and its response is the error envelope",
    async (kind, suspicion, most) => {
      const edge = fakeEdge(failure(kind, suspicion), TWO_INSTANCES);
      const response = await withFakeTime(() => sendRequest(edge, "/api/predict", POST));
      expect([response.status, (await jsonBody(response)).code]).toEqual([503, "unavailable"]);
      expect(response.headers.get("retry-after")).not.toBeNull();
      expect(edge.received).toHaveLength(most);
    },
  );

  it("causes no avoided instance and no start", async () => {
    const edge = fakeEdge(failure("hung", "alone"), { MAX_INSTANCES: 3 });
    for (let i = 0; i < 5; i++) await withFakeTime(() => sendRequest(edge, "/api/predict", POST));
    expect(new Set(edge.received.map(({ name }) => name))).toEqual(new Set(["inference-0"]));
    expect(
      poolOf(edge.env)
        .snapshot()[0]
        ?.instances.every(({ circuit }) => circuit.isClosed),
    ).toBe(true);
  });

  it("is not retried after several such requests of the same client", async () => {
    const edge = fakeEdge(failure("hung", "shared"), TWO_INSTANCES);
    for (let i = 0; i < 5; i++) await withFakeTime(() => sendRequest(edge, "/api/predict", POST));
    const before = edge.received.length;
    await withFakeTime(() => sendRequest(edge, "/api/predict", POST));
    expect(edge.received.length).toBe(before + 1);
  });
});

it("retries requests with shared suspicion if most requests of the client succeed", async () => {
  let calls = 0;
  const edge = fakeEdge(() => (++calls % 10 === 0 ? failure("hung", "shared")() : ok()), TWO_INSTANCES);
  for (let i = 0; i < 200; i++) {
    expect((await withFakeTime(() => sendRequest(edge, "/api/predict", POST))).status).toBe(200);
  }
});

it("limits retries for each client separately", async () => {
  const from = (address: string) => ({ ...POST, headers: { ...POST.headers, "cf-connecting-ip": address } });
  let isSound = false;
  let calls = 0;
  const edge = fakeEdge(() => (isSound && calls++ > 0 ? ok() : failure("hung", "shared")()), TWO_INSTANCES);
  for (let i = 0; i < 9; i++) await withFakeTime(() => sendRequest(edge, "/api/predict", from("192.0.2.1")));
  isSound = true; // from here on only the first attempt fails
  expect((await withFakeTime(() => sendRequest(edge, "/api/predict", from("192.0.2.2")))).status).toBe(200);
  calls = 0;
  expect((await withFakeTime(() => sendRequest(edge, "/api/predict", from("192.0.2.1")))).status).toBe(503);
});

describe("the suspicion against a request without a response", () => {
  it("is `alone` if no other request was in flight", () => {
    const evidence = new FailureEvidence();
    expect(evidence.recordTimeout(0, evidence.recordRequest(0), 1_000)).toBe("alone");
  });

  it("is `alone` if the server responded to other requests meanwhile", () => {
    const evidence = new FailureEvidence();
    const silentMs = evidence.recordRequest(0);
    evidence.recordRequest(900);
    evidence.recordResponse(910);
    expect([evidence.hasRespondedRecently(0, 1_000), evidence.recordTimeout(0, silentMs, 1_000)]).toEqual([
      true,
      "alone",
    ]);
  });

  it("is `shared` for requests that were in flight together, also for the last one to end", () => {
    const evidence = new FailureEvidence();
    const waits = [evidence.recordRequest(0), evidence.recordRequest(5)];
    expect(evidence.recordTimeout(0, waits[0] as number, 1_000)).toBe("shared");
    evidence.recordEnd();
    expect(evidence.recordTimeout(5, waits[1] as number, 1_005)).toBe("shared");
  });

  it("is `none` if the server was already unresponsive, also after the earlier requests ended", () => {
    const evidence = new FailureEvidence();
    evidence.recordTimeout(0, evidence.recordRequest(0), 1_000);
    evidence.recordEnd();
    expect(evidence.recordTimeout(1_200, evidence.recordRequest(1_200), 2_200)).toBe("none");
    evidence.recordEnd();
    evidence.recordResponse(3_000);
    expect(evidence.recordTimeout(3_100, evidence.recordRequest(3_100), 4_100)).toBe("alone");
  });

  it("is `shared` for all requests in flight when the server ends", () => {
    const evidence = new FailureEvidence();
    evidence.recordRequest(0);
    expect(evidence.recordDisconnect(0, 10)).toBe("alone");
    evidence.recordRequest(20);
    evidence.recordEnd();
    evidence.recordRequest(20);
    expect(evidence.recordDisconnect(20, 30)).toBe("shared");
  });
});

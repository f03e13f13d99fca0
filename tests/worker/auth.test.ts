import { describe, expect, it, vi } from "vitest";
import { fakeEdge, jsonBody, sendRequest } from "./fake_edge";

const ok = () => Response.json({ label: "survived" });
/** SHA-256 of the keys `one` and `two`, from sha256sum. */
const HASH_ONE = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
const HASH_TWO = "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3";
const KEYS = { API_KEYS: `mobile:${HASH_ONE}\n${HASH_TWO}` };
const RPC_PATH = "/lifeboat.titanic.v1.TitanicService/Predict";

/** Return a rate limit that allows `maxRequests` for each key, and records the keys. */
function rateLimit(maxRequests: number): RateLimit & { keys: string[] } {
  const keys: string[] = [];
  return {
    keys,
    limit: async ({ key }) => {
      keys.push(key);
      return { success: keys.filter((each) => each === key).length <= maxRequests };
    },
  };
}

describe("API keys", () => {
  it("are not required if none are configured", async () => {
    expect((await sendRequest(fakeEdge(ok), "/api/models")).status).toBe(200);
  });

  it.each([
    ["no key", {}],
    ["an unknown key", { authorization: "Bearer three" }],
    ["the hash of a key", { authorization: `Bearer ${HASH_ONE}` }],
    ["an empty key", { "x-api-key": "" }],
    ["another scheme", { authorization: "Basic one" }],
  ])("reject %s without starting a container", async (_what, headers) => {
    for (const path of ["/api/models", RPC_PATH, "/status"]) {
      const edge = fakeEdge(ok, KEYS);
      const response = await sendRequest(edge, path, { headers: headers as HeadersInit });
      expect([response.status, (await jsonBody(response)).code]).toEqual([401, "unauthenticated"]);
      expect(response.headers.get("www-authenticate")).toBe("Bearer");
      expect(edge.received).toEqual([]);
    }
  });

  it.each([{ authorization: "Bearer one" }, { "x-api-key": "one" }, { authorization: "bearer two" }])(
    "accept %j, one of several configured keys",
    async (headers) => {
      const edge = fakeEdge(ok, KEYS);
      expect((await sendRequest(edge, "/api/models", { headers })).status).toBe(200);
      expect([...(edge.received[0]?.request.headers.values() ?? [])].join()).not.toMatch(/one|two/);
    },
  );

  it("are not required for /healthz", async () => {
    expect((await sendRequest(fakeEdge(ok, KEYS), "/healthz")).status).toBe(200);
  });

  it("reject a gRPC-Web request with a gRPC status", async () => {
    const headers = { "content-type": "application/grpc-web+proto" };
    const response = await sendRequest(fakeEdge(ok, KEYS), RPC_PATH, { method: "POST", headers, body: "" });
    expect([response.status, response.headers.get("grpc-status")]).toEqual([200, "16"]);
  });

  it("fail every request if an entry is not a hash, and the entry is not logged", async () => {
    const log = vi.spyOn(console, "error").mockReturnValue();
    const response = await sendRequest(fakeEdge(ok, { API_KEYS: "plain-secret" }), "/api/models", {
      headers: { "x-api-key": "x" },
    });
    expect(response.status).toBe(500);
    expect(log.mock.calls.join()).toContain("API_KEYS: expected SHA-256");
    expect(log.mock.calls.join()).not.toContain("plain-secret");
  });

  it.each(["", " \n", ","])("fail every request if the secret is empty (%j)", async (secret) => {
    const log = vi.spyOn(console, "error").mockReturnValue();
    const edge = fakeEdge(ok, { API_KEYS: secret });
    expect((await sendRequest(edge, "/api/models")).status).toBe(500);
    expect(log.mock.calls.join()).toContain("API_KEYS: expected SHA-256");
    expect(edge.received).toEqual([]);
  });
});

describe("rate limits", () => {
  it("limit requests by address, with Retry-After", async () => {
    const byAddress = rateLimit(2);
    const edge = fakeEdge(ok, { RATE_BY_ADDRESS: byAddress });
    const from = (address: string) => sendRequest(edge, "/api/models", { headers: { "cf-connecting-ip": address } });
    const statuses = [];
    for (const address of ["a", "a", "a", "b"]) statuses.push((await from(address)).status);
    expect(statuses).toEqual([200, 200, 429, 200]);
    const rejected = await from("a");
    expect([(await jsonBody(rejected)).code, Number(rejected.headers.get("retry-after")) > 0]).toEqual([
      "resource_exhausted",
      true,
    ]);
    expect(edge.received).toHaveLength(3);
  });

  it.each([
    ["2001:db8:1:2::1", "2001:db8:1:2:ffff::9", 429],
    ["2001:db8::1", "2001:db8:0:0:5:6:7:8", 429],
    ["2001:db8:1:2::1", "2001:db8:1:3::1", 200],
    ["192.0.2.1", "192.0.2.2", 200],
  ])("count the addresses of one IPv6 /64 network as one client: %s and %s", async (one, other, status) => {
    const edge = fakeEdge(ok, { RATE_BY_ADDRESS: rateLimit(1) });
    const from = (address: string) => sendRequest(edge, "/api/models", { headers: { "cf-connecting-ip": address } });
    expect([(await from(one)).status, (await from(other)).status]).toEqual([200, status]);
  });

  it("limit requests by the name of the API key", async () => {
    const byKey = rateLimit(1);
    const edge = fakeEdge(ok, { ...KEYS, RATE_BY_KEY: byKey });
    const by = (key: string) => sendRequest(edge, "/api/models", { headers: { "x-api-key": key } });
    expect([(await by("one")).status, (await by("one")).status, (await by("two")).status]).toEqual([200, 429, 200]);
    expect(new Set(byKey.keys)).toEqual(new Set(["mobile", HASH_TWO.slice(0, 8)]));
  });

  it("limit requests with unknown keys by address", async () => {
    const edge = fakeEdge(ok, { ...KEYS, RATE_BY_ADDRESS: rateLimit(1) });
    const guess = () => sendRequest(edge, "/api/models", { headers: { "x-api-key": "guess" } });
    expect([(await guess()).status, (await guess()).status]).toEqual([401, 429]);
  });
});

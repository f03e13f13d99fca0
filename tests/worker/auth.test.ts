import { describe, expect, it, vi } from "vitest";
import { ask, body, fake } from "./fake_edge";

const ok = () => Response.json({ label: "survived" });
/** As sha256sum says them. */
const ONE = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
const TWO = "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3";
const KEYS = { API_KEYS: `mobile:${ONE}\n${TWO}` };
const CALL = "/lifeboat.titanic.v1.TitanicService/Predict";

/** A rate limit that lets so many requests of each key pass, and remembers the keys. */
function limit(most: number): RateLimit & { keys: string[] } {
  const keys: string[] = [];
  return {
    keys,
    limit: async ({ key }) => {
      keys.push(key);
      return { success: keys.filter((each) => each === key).length <= most };
    },
  };
}

describe("API keys", () => {
  it("are not asked for until they are configured", async () => {
    expect((await ask(fake(ok), "/api/models")).status).toBe(200);
  });

  it.each([
    ["no key", {}],
    ["a key that isn't known", { authorization: "Bearer three" }],
    ["the hash of a key", { authorization: `Bearer ${ONE}` }],
    ["an empty key", { "x-api-key": "" }],
    ["another scheme", { authorization: "Basic one" }],
  ])("refuse %s, and start no container for it", async (_what, headers) => {
    for (const path of ["/api/models", CALL, "/status"]) {
      const edge = fake(ok, KEYS);
      const response = await ask(edge, path, { headers: headers as HeadersInit });
      expect([response.status, (await body(response)).code]).toEqual([401, "unauthenticated"]);
      expect(response.headers.get("www-authenticate")).toBe("Bearer");
      expect(edge.seen).toEqual([]);
    }
  });

  it.each([{ authorization: "Bearer one" }, { "x-api-key": "one" }, { authorization: "bearer two" }])(
    "let %j pass, several of them at once",
    async (headers) => {
      const edge = fake(ok, KEYS);
      expect((await ask(edge, "/api/models", { headers })).status).toBe(200);
      expect([...(edge.seen[0]?.request.headers.values() ?? [])].join()).not.toMatch(/one|two/);
    },
  );

  it("leave the Worker's own health to everybody", async () => {
    expect((await ask(fake(ok, KEYS), "/healthz")).status).toBe(200);
  });

  it("are told in the words of a caller's protocol", async () => {
    const headers = { "content-type": "application/grpc-web+proto" };
    const response = await ask(fake(ok, KEYS), CALL, { method: "POST", headers, body: "" });
    expect([response.status, response.headers.get("grpc-status")]).toEqual([200, "16"]);
  });

  it("that are no hashes fail the request rather than let it pass, and are not in the log", async () => {
    const log = vi.spyOn(console, "error").mockReturnValue();
    const response = await ask(fake(ok, { API_KEYS: "plain-secret" }), "/api/models", {
      headers: { "x-api-key": "x" },
    });
    expect(response.status).toBe(500);
    expect(log.mock.calls.join()).toContain("API_KEYS: expected SHA-256");
    expect(log.mock.calls.join()).not.toContain("plain-secret");
  });

  it.each(["", " \n", ","])("that are there and empty (%j) open the door to nobody", async (secret) => {
    const log = vi.spyOn(console, "error").mockReturnValue();
    const edge = fake(ok, { API_KEYS: secret });
    expect((await ask(edge, "/api/models")).status).toBe(500);
    expect(log.mock.calls.join()).toContain("API_KEYS: expected SHA-256");
    expect(edge.seen).toEqual([]);
  });
});

describe("rate limits", () => {
  it("count by address, and say when to try again", async () => {
    const byAddress = limit(2);
    const edge = fake(ok, { RATE_BY_ADDRESS: byAddress });
    const from = (address: string) => ask(edge, "/api/models", { headers: { "cf-connecting-ip": address } });
    const statuses = [];
    for (const address of ["a", "a", "a", "b"]) statuses.push((await from(address)).status);
    expect(statuses).toEqual([200, 200, 429, 200]);
    const refused = await from("a");
    expect([(await body(refused)).code, Number(refused.headers.get("retry-after")) > 0]).toEqual([
      "resource_exhausted",
      true,
    ]);
    expect(edge.seen).toHaveLength(3);
  });

  it.each([
    ["2001:db8:1:2::1", "2001:db8:1:2:ffff::9", 429],
    ["2001:db8::1", "2001:db8:0:0:5:6:7:8", 429],
    ["2001:db8:1:2::1", "2001:db8:1:3::1", 200],
    ["192.0.2.1", "192.0.2.2", 200],
  ])("count the addresses of one IPv6 network as one caller: %s and %s", async (one, other, status) => {
    const edge = fake(ok, { RATE_BY_ADDRESS: limit(1) });
    const from = (address: string) => ask(edge, "/api/models", { headers: { "cf-connecting-ip": address } });
    expect([(await from(one)).status, (await from(other)).status]).toEqual([200, status]);
  });

  it("count by key, under its name", async () => {
    const byKey = limit(1);
    const edge = fake(ok, { ...KEYS, RATE_BY_KEY: byKey });
    const by = (key: string) => ask(edge, "/api/models", { headers: { "x-api-key": key } });
    expect([(await by("one")).status, (await by("one")).status, (await by("two")).status]).toEqual([200, 429, 200]);
    expect(new Set(byKey.keys)).toEqual(new Set(["mobile", TWO.slice(0, 8)]));
  });

  it("count guesses of keys too", async () => {
    const edge = fake(ok, { ...KEYS, RATE_BY_ADDRESS: limit(1) });
    const guess = () => ask(edge, "/api/models", { headers: { "x-api-key": "guess" } });
    expect([(await guess()).status, (await guess()).status]).toEqual([401, 429]);
  });
});

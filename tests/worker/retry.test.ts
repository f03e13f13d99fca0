import { beforeEach, describe, expect, it, vi } from "vitest";
import { poolOf } from "../../worker/pool/pool";
import { type Answer, ask, body, fake, patiently } from "./fake_edge";

const TWO = { WARM_INSTANCES: 2, MAX_INSTANCES: 2 };
const RECORD = '{"sex":"female"}';
const POST = { method: "POST", body: RECORD, headers: { "content-length": String(RECORD.length) } };
const ok = () => Response.json({ label: "survived" });
const gone = () => new Response("Container suddenly disconnected, try again", { status: 500 });
const told = (kind: string) => new Response("words", { status: 503, headers: { "x-lifeboat-failure": kind } });
const never = () => new Promise<Response>(() => {});

/** Fails the first calls in this way, then answers. */
function first(count: number, failing: Answer, then: Answer = ok): Answer {
  let calls = 0;
  return (request, name) => (++calls <= count ? failing(request, name) : then(request, name));
}

let log: ReturnType<typeof vi.spyOn>;
beforeEach(() => {
  log = vi.spyOn(console, "error").mockReturnValue();
  vi.spyOn(console, "log").mockReturnValue();
});

describe("a call that fails", () => {
  it.each([
    ["in the platform's words", gone],
    ["because no Durable Object is reached", () => Promise.reject(new Error("Durable Object reset"))],
    ["because the server hangs", () => told("hung")],
    ["because the instance sleeps", () => told("asleep")],
    ["because it doesn't start", () => told("start")],
    ["because its queue is full", () => Response.json({ code: "resource_exhausted" }, { status: 429 })],
    ["because it is stopping", () => Response.json({ code: "unavailable" }, { status: 503 })],
    ["as gRPC-Web says it", () => new Response(null, { headers: { "grpc-status": "14" } })],
  ])("%s is answered by another instance, its body whole", async (_why, failing) => {
    const edge = fake(first(1, failing), TWO);
    const response = await patiently(() => ask(edge, "/api/predict", POST));
    expect([response.status, await body(response)]).toEqual([200, { label: "survived" }]);
    const asked = edge.seen.filter(({ request }) => request.url.endsWith("/predict"));
    expect(new Set(asked.map(({ name }) => name)).size).toBe(2);
    expect(await Promise.all(asked.map(({ request }) => request.text()))).toEqual([RECORD, RECORD]);
  });

  it("is asked of the same instance again where there is one alone, and the log has the platform's words", async () => {
    const edge = fake(first(3, gone), { MAX_INSTANCES: 1 });
    const response = await patiently(() => ask(edge, "/api/predict", POST));
    expect([response.status, edge.seen.length]).toEqual([200, 4]);
    expect(log).toHaveBeenCalledWith(expect.stringContaining("suddenly disconnected"));
  });

  it("is told after some attempts", async () => {
    const edge = fake(gone, TWO);
    const response = await patiently(() => ask(edge, "/api/predict", POST));
    expect([response.status, (await body(response)).code]).toEqual([503, "unavailable"]);
    expect(edge.seen.length).toBeLessThan(10);
  });

  it.each([
    ["a queue that is full", () => Response.json({ code: "resource_exhausted" }, { status: 429 }), 429],
    ["a start that failed", () => told("start"), 503],
  ])("is not asked again of the instance that has %s", async (_what, failing, status) => {
    const edge = fake(failing, { MAX_INSTANCES: 1 });
    const response = await ask(edge, "/api/predict", POST);
    expect([response.status, edge.seen.length]).toEqual([status, 1]);
  });

  it.each([400, 404, 500, 504])("is not sent again where the server says %i", async (status) => {
    const edge = fake(() => Response.json({ code: "x" }, { status }), TWO);
    const response = await ask(edge, "/api/predict", POST);
    expect([response.status, edge.seen.length]).toEqual([status, 1]);
  });

  it.each([
    ["a file", "/api/batch", POST.headers],
    ["a body whose length is not told", "/api/predict", {}],
    ["a large body", "/api/predict", { "content-length": "262145" }],
  ])("is not sent again with %s", async (_what, path, headers) => {
    const edge = fake(gone, TWO);
    const response = await ask(edge, path, { method: "POST", body: RECORD, headers: headers as HeadersInit });
    expect([response.status, edge.seen.length]).toEqual([503, 1]);
  });

  it("is not sent again beyond the budget: an outage isn't made worse by retries", async () => {
    const edge = fake(gone, { MAX_INSTANCES: 1 });
    const calls = 400;
    await patiently(() => Promise.all(Array.from({ length: calls }, () => ask(edge, "/api/predict", POST))));
    expect(edge.seen.length).toBeLessThan(calls + 500 + 0.2 * calls + 100);
  });
});

describe("a deadline", () => {
  const within = (headers: Record<string, string>) => ({ ...POST, headers: { ...POST.headers, ...headers } });

  it.each([
    ["x-request-timeout-ms", "1000"],
    ["connect-timeout-ms", "1000"],
    ["grpc-timeout", "1S"],
  ])("%s: of an instance that never answers, half is left for another", async (name, value) => {
    const edge = fake(first(1, never), TWO);
    const began = Date.now();
    const response = await patiently(async () => {
      const answer = await ask(edge, "/api/predict", within({ [name]: value }));
      expect(Date.now() - began).toBeLessThan(1_000);
      return answer;
    });
    expect(response.status).toBe(200);
    const [one, other] = edge.seen.map(({ request }) => request.headers);
    expect([one?.get(name), one?.get("x-lifeboat-attempt-ms")]).toEqual([value, "500"]);
    expect(Number.parseInt(other?.get(name) ?? "", 10)).toBeLessThanOrEqual(300);
    expect(other?.get(name)).not.toBe(value);
  });

  it("that is over is told as such", async () => {
    const edge = fake(never, TWO);
    const response = await patiently(() => ask(edge, "/api/predict", within({ "x-request-timeout-ms": "300" })));
    expect([response.status, (await body(response)).code]).toEqual([504, "deadline_exceeded"]);
  });

  it("that the caller didn't name is the edge's own, and told as unavailable", async () => {
    const edge = fake(never, { MAX_INSTANCES: 1, ATTEMPT_TIMEOUT_MS: 100 });
    const response = await patiently(() => ask(edge, "/api/predict", POST));
    expect([response.status, (await body(response)).code]).toEqual([503, "unavailable"]);
  });

  it("that can't be read is the server's to refuse", async () => {
    const edge = fake(ok);
    await ask(edge, "/api/predict", within({ "x-request-timeout-ms": "soon" }));
    expect(edge.seen[0]?.request.headers.get("x-request-timeout-ms")).toBe("soon");
  });
});

describe("an instance that never answers", () => {
  it("is avoided by the calls after", async () => {
    const edge = fake((_, name) => (name === "inference-0" ? told("hung") : ok()), TWO);
    for (let i = 0; i < 40; i++) expect((await ask(edge, "/api/predict", POST)).status).toBe(200);
    expect(edge.seen.filter(({ name }) => name === "inference-0")).toHaveLength(1);
  });

  it("is replaced by the next instance where it was alone", async () => {
    const edge = fake((_, name) => (name === "inference-0" ? told("hung") : ok()), { MAX_INSTANCES: 2 });
    expect((await ask(edge, "/api/predict", POST)).status).toBe(200);
    await Promise.all(edge.behind);
    expect(edge.seen.map(({ name }) => name)).toContain("inference-1");
  });
});

describe("an instance that sleeps", () => {
  it("is woken behind the answer of one that doesn't", async () => {
    let isAwake = false;
    const edge = fake((request, name) => {
      isAwake ||= name === "inference-0" && request.url.endsWith("/ready");
      return name === "inference-1" || isAwake ? ok() : told("asleep");
    }, TWO);
    for (let i = 0; i < 20; i++) expect((await ask(edge, "/api/predict", POST)).status).toBe(200);
    await Promise.all(edge.behind);
    const woken = edge.seen.filter(({ name, request }) => name === "inference-0" && request.url.endsWith("/ready"));
    expect(woken).toHaveLength(1);
  });

  it("is waited for where there is no other", async () => {
    const edge = fake(ok);
    await ask(edge, "/api/predict", POST);
    expect(edge.seen[0]?.request.headers.get("x-lifeboat-wait")).toBeNull();
  });
});

describe("a caller in a hurry", () => {
  const hurry = { ...POST, headers: { ...POST.headers, "x-request-timeout-ms": "40" } };

  it.each([
    ["isn't answered in time", never],
    ["hears so of its Durable Object", () => told("hung")],
  ])("who %s has no instance avoided, nor another one started", async (_how, slow) => {
    const edge = fake(first(1, ok, slow), { MAX_INSTANCES: 3 });
    await ask(edge, "/api/predict", POST); // it runs
    await patiently(async () => {
      for (let i = 0; i < 5; i++) await ask(edge, "/api/predict", hurry);
    });
    expect(new Set(edge.seen.map(({ name }) => name))).toEqual(new Set(["inference-0"]));
    expect(
      poolOf(edge.env)
        .snapshot()[0]
        ?.instances.every(({ circuit }) => circuit.isClosed),
    ).toBe(true);
  });
});

describe("a body that is streamed", () => {
  it.each([
    ["and breaks the container's connection", gone],
    ["and the Durable Object's", () => Promise.reject(new Error("Network connection lost."))],
  ])("is broken off by its sender %s: that has no instance avoided, nor another one started", async (_how, broken) => {
    const edge = fake(broken, { MAX_INSTANCES: 3 });
    for (let i = 0; i < 5; i++) await ask(edge, "/api/predict", { method: "POST", body: RECORD });
    for (let i = 0; i < 5; i++) await ask(edge, "/api/batch", POST);
    expect(new Set(edge.seen.map(({ name }) => name))).toEqual(new Set(["inference-0"]));
  });

  it("may take longer than an attempt, and says nothing of the instance's speed", async () => {
    const slow = () => new Promise<Response>((resolve) => setTimeout(() => resolve(ok()), 5_000));
    const edge = fake(slow, { MAX_INSTANCES: 1, ATTEMPT_TIMEOUT_MS: 100 });
    const response = await patiently(() => ask(edge, "/api/predict", { method: "POST", body: RECORD }));
    expect(response.status).toBe(200);
    expect(Number(edge.seen[0]?.request.headers.get("x-lifeboat-attempt-ms"))).toBeGreaterThan(100_000);
    expect(poolOf(edge.env).snapshot()[0]?.instances[0]?.latencyMs).toBe(0);
  });
});

it("counts a call no longer whose caller is heard to leave, holds nothing against the instance, and asks no other", async () => {
  const edge = fake(never, TWO);
  const caller = new AbortController();
  void ask(edge, new Request("http://edge/api/models", { signal: caller.signal }));
  await vi.waitFor(() => expect(edge.seen).toHaveLength(1));
  const instances = () => poolOf(edge.env).snapshot()[0]?.instances ?? [];
  expect(
    instances()
      .map(({ inFlight }) => inFlight)
      .sort(),
  ).toEqual([0, 1]);
  caller.abort();
  expect(instances().map(({ inFlight, circuit }) => [inFlight, circuit.isClosed])).toEqual([
    [0, true],
    [0, true],
  ]);
});

it("sends nothing again for a caller who left", async () => {
  const caller = new AbortController();
  const edge = fake(() => {
    caller.abort();
    throw new DOMException("The operation was aborted", "AbortError");
  }, TWO);
  await ask(edge, new Request("http://edge/api/models", { signal: caller.signal }));
  expect([edge.seen.length, log.mock.calls.join()]).toEqual([1, expect.not.stringContaining("not reached")]);
});

it("counts a call no longer whose caller left, of which the runtime lets nothing more run", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  const edge = fake(first(1, never), { MAX_INSTANCES: 1, ATTEMPT_TIMEOUT_MS: 1_000 });
  void ask(edge, "/api/models"); // no timer of it will come
  await vi.waitFor(() => expect(edge.seen).toHaveLength(1));
  const inFlight = () => poolOf(edge.env).snapshot()[0]?.instances[0]?.inFlight;
  expect(inFlight()).toBe(1);
  vi.setSystemTime(Date.now() + 125_000);
  await ask(edge, "/api/models");
  vi.useRealTimers();
  expect(inFlight()).toBe(0);
});

it("grows under load, behind the answers, and sends calls to what it grew by", async () => {
  const edge = fake(
    (_, name) => new Response("{}", { headers: { "x-lifeboat-load": name === "inference-0" ? "9/0" : "1/0" } }),
    { MAX_INSTANCES: 2 },
  );
  await patiently(async () => {
    for (let i = 0; i < 40; i++) {
      await ask(edge, "/api/predict", POST);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await Promise.all(edge.behind);
  });
  const asked = edge.seen.filter(({ request }) => request.url.endsWith("/predict")).map(({ name }) => name);
  expect(asked[0]).toBe("inference-0");
  expect(asked.at(-1)).toBe("inference-1");
});

it.each(["words", "-1/3", ""])("answers all the same where an instance reports %j", async (load) => {
  const edge = fake(() => new Response("{}", { headers: { "x-lifeboat-load": load, "x-lifeboat-new": "1" } }));
  const response = await ask(edge, "/api/predict", POST);
  expect(response.status).toBe(200);
  expect([...response.headers.keys()].filter((name) => name.startsWith("x-lifeboat-"))).toEqual([]);
});

it("keeps what only the hop may say from a caller", async () => {
  const edge = fake(ok);
  await ask(edge, "/api/predict", { ...POST, headers: { ...POST.headers, "x-lifeboat-check": "yes" } });
  expect(edge.seen[0]?.request.headers.get("x-lifeboat-check")).toBeNull();
});

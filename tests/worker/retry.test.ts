import { beforeEach, describe, expect, it, vi } from "vitest";
import { poolOf } from "../../worker/pool/pool";
import { fakeEdge, type Handler, jsonBody, sendRequest, withFakeTime } from "./fake_edge";

const TWO_INSTANCES = { WARM_INSTANCES: 2, MAX_INSTANCES: 2 };
const RECORD = '{"sex":"female"}';
const POST = { method: "POST", body: RECORD, headers: { "content-length": String(RECORD.length) } };
const ok = () => Response.json({ label: "survived" });
const disconnect = () => new Response("Container suddenly disconnected, try again", { status: 500 });
const failure = (kind: string) => new Response("words", { status: 503, headers: { "x-lifeboat-failure": kind } });
const noResponse = () => new Promise<Response>(() => {});

/** Return a handler that fails the first `count` requests, then responds. */
function failFirst(count: number, handler: Handler, otherwise: Handler = ok): Handler {
  let calls = 0;
  return (request, name) => (++calls <= count ? handler(request, name) : otherwise(request, name));
}

let log: ReturnType<typeof vi.spyOn>;
beforeEach(() => {
  log = vi.spyOn(console, "error").mockReturnValue();
  vi.spyOn(console, "log").mockReturnValue();
});

describe("a failed request", () => {
  it.each([
    ["with a platform error", disconnect],
    ["because a Durable Object is unreachable", () => Promise.reject(new Error("Durable Object reset"))],
    ["because the server hangs", () => failure("hung")],
    ["because the instance sleeps", () => failure("asleep")],
    ["because it doesn't start", () => failure("start")],
    ["because its queue is full", () => Response.json({ code: "resource_exhausted" }, { status: 429 })],
    ["because it is stopping", () => Response.json({ code: "unavailable" }, { status: 503 })],
    ["with a gRPC-Web status", () => new Response(null, { headers: { "grpc-status": "14" } })],
  ])("%s is retried on another instance with its whole body", async (_why, handler) => {
    const edge = fakeEdge(failFirst(1, handler), TWO_INSTANCES);
    const response = await withFakeTime(() => sendRequest(edge, "/api/predict", POST));
    expect([response.status, await jsonBody(response)]).toEqual([200, { label: "survived" }]);
    const attempts = edge.received.filter(({ request }) => request.url.endsWith("/predict"));
    expect(new Set(attempts.map(({ name }) => name)).size).toBe(2);
    expect(await Promise.all(attempts.map(({ request }) => request.text()))).toEqual([RECORD, RECORD]);
  });

  it("is retried on the same instance if it is the only one, and the platform's error is logged", async () => {
    const edge = fakeEdge(failFirst(3, disconnect), { MAX_INSTANCES: 1 });
    const response = await withFakeTime(() => sendRequest(edge, "/api/predict", POST));
    expect([response.status, edge.received.length]).toEqual([200, 4]);
    expect(log).toHaveBeenCalledWith(expect.stringContaining("suddenly disconnected"));
  });

  it("is an error after a limited number of attempts", async () => {
    const edge = fakeEdge(disconnect, TWO_INSTANCES);
    const response = await withFakeTime(() => sendRequest(edge, "/api/predict", POST));
    expect([response.status, (await jsonBody(response)).code]).toEqual([503, "unavailable"]);
    expect(edge.received.length).toBeLessThan(10);
  });

  it.each([
    ["a full queue", () => Response.json({ code: "resource_exhausted" }, { status: 429 }), 429],
    ["a failed start", () => failure("start"), 503],
  ])("is not retried on the same instance after %s", async (_what, handler, status) => {
    const edge = fakeEdge(handler, { MAX_INSTANCES: 1 });
    const response = await sendRequest(edge, "/api/predict", POST);
    expect([response.status, edge.received.length]).toEqual([status, 1]);
  });

  it.each([400, 404, 500, 504])("is not retried after a %i of the server", async (status) => {
    const edge = fakeEdge(() => Response.json({ code: "x" }, { status }), TWO_INSTANCES);
    const response = await sendRequest(edge, "/api/predict", POST);
    expect([response.status, edge.received.length]).toEqual([status, 1]);
  });

  it.each([
    ["a file", "/api/batch", POST.headers],
    ["a body without Content-Length", "/api/predict", {}],
    ["a large body", "/api/predict", { "content-length": "262145" }],
  ])("is not retried with %s", async (_what, path, headers) => {
    const edge = fakeEdge(disconnect, TWO_INSTANCES);
    const response = await sendRequest(edge, path, { method: "POST", body: RECORD, headers: headers as HeadersInit });
    expect([response.status, edge.received.length]).toEqual([503, 1]);
  });

  it("is not retried if the retry budget is exhausted", async () => {
    const edge = fakeEdge(disconnect, { MAX_INSTANCES: 1 });
    const calls = 400;
    await withFakeTime(() => Promise.all(Array.from({ length: calls }, () => sendRequest(edge, "/api/predict", POST))));
    expect(edge.received.length).toBeLessThan(calls + 500 + 0.2 * calls + 100);
  });
});

describe("a deadline", () => {
  const withHeaders = (headers: Record<string, string>) => ({ ...POST, headers: { ...POST.headers, ...headers } });

  it.each([
    ["x-request-timeout-ms", "1000"],
    ["connect-timeout-ms", "1000"],
    ["grpc-timeout", "1S"],
  ])("%s leaves half of the time for another instance if the first one hangs", async (name, value) => {
    const edge = fakeEdge(failFirst(1, noResponse), TWO_INSTANCES);
    const startedAt = Date.now();
    const response = await withFakeTime(async () => {
      const response = await sendRequest(edge, "/api/predict", withHeaders({ [name]: value }));
      expect(Date.now() - startedAt).toBeLessThan(1_000);
      return response;
    });
    expect(response.status).toBe(200);
    const [first, second] = edge.received.map(({ request }) => request.headers);
    expect([first?.get(name), first?.get("x-lifeboat-attempt-ms")]).toEqual([value, "500"]);
    expect(Number.parseInt(second?.get(name) ?? "", 10)).toBeLessThanOrEqual(300);
    expect(second?.get(name)).not.toBe(value);
  });

  it("that is exceeded results in 504", async () => {
    const edge = fakeEdge(noResponse, TWO_INSTANCES);
    const response = await withFakeTime(() =>
      sendRequest(edge, "/api/predict", withHeaders({ "x-request-timeout-ms": "300" })),
    );
    expect([response.status, (await jsonBody(response)).code]).toEqual([504, "deadline_exceeded"]);
  });

  it("of the Worker itself results in 503", async () => {
    const edge = fakeEdge(noResponse, { MAX_INSTANCES: 1, ATTEMPT_TIMEOUT_MS: 100 });
    const response = await withFakeTime(() => sendRequest(edge, "/api/predict", POST));
    expect([response.status, (await jsonBody(response)).code]).toEqual([503, "unavailable"]);
  });

  it("that is invalid is forwarded to the server", async () => {
    const edge = fakeEdge(ok);
    await sendRequest(edge, "/api/predict", withHeaders({ "x-request-timeout-ms": "soon" }));
    expect(edge.received[0]?.request.headers.get("x-request-timeout-ms")).toBe("soon");
  });
});

describe("a hung instance", () => {
  it("is avoided by the next requests", async () => {
    const edge = fakeEdge((_, name) => (name === "inference-0" ? failure("hung") : ok()), TWO_INSTANCES);
    for (let i = 0; i < 40; i++) expect((await sendRequest(edge, "/api/predict", POST)).status).toBe(200);
    expect(edge.received.filter(({ name }) => name === "inference-0")).toHaveLength(1);
  });

  it("is replaced by the next instance if it was the only one", async () => {
    const edge = fakeEdge((_, name) => (name === "inference-0" ? failure("hung") : ok()), { MAX_INSTANCES: 2 });
    expect((await sendRequest(edge, "/api/predict", POST)).status).toBe(200);
    await Promise.all(edge.background);
    expect(edge.received.map(({ name }) => name)).toContain("inference-1");
  });
});

describe("a sleeping instance", () => {
  it("is started in the background, after another instance responded", async () => {
    let isStarted = false;
    const edge = fakeEdge((request, name) => {
      isStarted ||= name === "inference-0" && request.url.endsWith("/ready");
      return name === "inference-1" || isStarted ? ok() : failure("asleep");
    }, TWO_INSTANCES);
    for (let i = 0; i < 20; i++) expect((await sendRequest(edge, "/api/predict", POST)).status).toBe(200);
    await Promise.all(edge.background);
    const starts = edge.received.filter(
      ({ name, request }) => name === "inference-0" && request.url.endsWith("/ready"),
    );
    expect(starts).toHaveLength(1);
  });

  it("is waited for if there is no other", async () => {
    const edge = fakeEdge(ok);
    await sendRequest(edge, "/api/predict", POST);
    expect(edge.received[0]?.request.headers.get("x-lifeboat-wait")).toBeNull();
  });
});

describe("a short deadline", () => {
  const shortDeadline = { ...POST, headers: { ...POST.headers, "x-request-timeout-ms": "40" } };

  it.each([
    ["without a response in time", noResponse],
    ["with a timeout reported by the Durable Object", () => failure("hung")],
  ])("%s causes no avoided instance and no start", async (_how, handler) => {
    const edge = fakeEdge(failFirst(1, ok, handler), { MAX_INSTANCES: 3 });
    await sendRequest(edge, "/api/predict", POST); // now the instance is ready
    await withFakeTime(async () => {
      for (let i = 0; i < 5; i++) await sendRequest(edge, "/api/predict", shortDeadline);
    });
    expect(new Set(edge.received.map(({ name }) => name))).toEqual(new Set(["inference-0"]));
    expect(
      poolOf(edge.env)
        .snapshot()[0]
        ?.instances.every(({ circuit }) => circuit.isClosed),
    ).toBe(true);
  });
});

describe("a streamed body", () => {
  it.each([
    ["the container's connection", disconnect],
    ["the Durable Object's connection", () => Promise.reject(new Error("Network connection lost."))],
  ])("that breaks %s causes no avoided instance and no start", async (_how, handler) => {
    const edge = fakeEdge(handler, { MAX_INSTANCES: 3 });
    for (let i = 0; i < 5; i++) await sendRequest(edge, "/api/predict", { method: "POST", body: RECORD });
    for (let i = 0; i < 5; i++) await sendRequest(edge, "/api/batch", POST);
    expect(new Set(edge.received.map(({ name }) => name))).toEqual(new Set(["inference-0"]));
  });

  it("may take longer than an attempt and does not count as latency", async () => {
    const slow = () => new Promise<Response>((resolve) => setTimeout(() => resolve(ok()), 5_000));
    const edge = fakeEdge(slow, { MAX_INSTANCES: 1, ATTEMPT_TIMEOUT_MS: 100 });
    const response = await withFakeTime(() => sendRequest(edge, "/api/predict", { method: "POST", body: RECORD }));
    expect(response.status).toBe(200);
    expect(Number(edge.received[0]?.request.headers.get("x-lifeboat-attempt-ms"))).toBeGreaterThan(100_000);
    expect(poolOf(edge.env).snapshot()[0]?.instances[0]?.latencyMs).toBe(0);
  });
});

it("stops counting a request whose client disconnects, and keeps the circuit closed", async () => {
  const edge = fakeEdge(noResponse, TWO_INSTANCES);
  const client = new AbortController();
  void sendRequest(edge, new Request("http://edge/api/models", { signal: client.signal }));
  await vi.waitFor(() => expect(edge.received).toHaveLength(1));
  const instances = () => poolOf(edge.env).snapshot()[0]?.instances ?? [];
  expect(
    instances()
      .map(({ inFlight }) => inFlight)
      .sort(),
  ).toEqual([0, 1]);
  client.abort();
  expect(instances().map(({ inFlight, circuit }) => [inFlight, circuit.isClosed])).toEqual([
    [0, true],
    [0, true],
  ]);
});

it("does not retry after the client disconnected", async () => {
  const client = new AbortController();
  const edge = fakeEdge(() => {
    client.abort();
    throw new DOMException("The operation was aborted", "AbortError");
  }, TWO_INSTANCES);
  await sendRequest(edge, new Request("http://edge/api/models", { signal: client.signal }));
  expect([edge.received.length, log.mock.calls.join()]).toEqual([1, expect.not.stringContaining("not reachable")]);
});

it("stops counting a request after its time limit if the runtime dropped its handler", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  const edge = fakeEdge(failFirst(1, noResponse), { MAX_INSTANCES: 1, ATTEMPT_TIMEOUT_MS: 1_000 });
  void sendRequest(edge, "/api/models"); // its timers never fire
  await vi.waitFor(() => expect(edge.received).toHaveLength(1));
  const inFlight = () => poolOf(edge.env).snapshot()[0]?.instances[0]?.inFlight;
  expect(inFlight()).toBe(1);
  vi.setSystemTime(Date.now() + 125_000);
  await sendRequest(edge, "/api/models");
  vi.useRealTimers();
  expect(inFlight()).toBe(0);
});

it("starts instances in the background under load, and sends requests to them", async () => {
  const edge = fakeEdge(
    (_, name) => new Response("{}", { headers: { "x-lifeboat-load": name === "inference-0" ? "9/0" : "1/0" } }),
    { MAX_INSTANCES: 2 },
  );
  await withFakeTime(async () => {
    for (let i = 0; i < 40; i++) {
      await sendRequest(edge, "/api/predict", POST);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await Promise.all(edge.background);
  });
  const names = edge.received.filter(({ request }) => request.url.endsWith("/predict")).map(({ name }) => name);
  expect(names[0]).toBe("inference-0");
  expect(names.at(-1)).toBe("inference-1");
});

it.each(["words", "-1/3", ""])("responds normally if an instance reports the load %j", async (load) => {
  const edge = fakeEdge(() => new Response("{}", { headers: { "x-lifeboat-load": load, "x-lifeboat-new": "1" } }));
  const response = await sendRequest(edge, "/api/predict", POST);
  expect(response.status).toBe(200);
  expect([...response.headers.keys()].filter((name) => name.startsWith("x-lifeboat-"))).toEqual([]);
});

it("removes internal headers from a client's request", async () => {
  const edge = fakeEdge(ok);
  await sendRequest(edge, "/api/predict", { ...POST, headers: { ...POST.headers, "x-lifeboat-check": "yes" } });
  expect(edge.received[0]?.request.headers.get("x-lifeboat-check")).toBeNull();
});

import { beforeEach, describe, expect, it, vi } from "vitest";
import { type FakeEdge, fakeEdge, type Handler, jsonBody, sendRequest, withFakeTime } from "./fake_edge";

const PREDICT_PATH = "/api/predict?sex=female&age=29";
const RPC_PATH = "/lifeboat.titanic.v1.TitanicService/Predict?connect=v1&encoding=json&message=%7B%7D";
const CACHEABLE = { "cache-control": "public, max-age=60, must-revalidate", etag: '"tag"' };

/** Return a response with the models' fingerprint, as an instance sends it. */
const modelResponse = (models: string, headers: Record<string, string> = CACHEABLE) =>
  Response.json({ by: models }, { headers: { ...headers, "x-lifeboat-models": models } });

/** Fake of the platform's cache: responses by URL. */
const cacheStore = new Map<string, Response>();
beforeEach(() => {
  cacheStore.clear();
  vi.stubGlobal("caches", {
    default: {
      match: async ({ url }: Request) => cacheStore.get(url)?.clone(),
      put: async ({ url }: Request, response: Response) => void cacheStore.set(url, response),
    },
  });
  return () => vi.unstubAllGlobals();
});

/** Return an edge whose instances have and report these models. */
const edgeWithModels = (models: string | undefined, handler: Handler = () => modelResponse(models ?? "none")) =>
  fakeEdge(handler, { models });

/** Send a request `times` times. Returns the `lifeboat-cache` headers of the responses. */
async function cacheResults(
  edge: FakeEdge,
  path: string,
  init: RequestInit = {},
  times = 2,
): Promise<(string | null)[]> {
  const results = [];
  for (let i = 0; i < times; i++) {
    const response = await sendRequest(edge, path, init);
    await response.text();
    await Promise.all(edge.background);
    results.push(response.headers.get("lifeboat-cache"));
  }
  return results;
}

describe("a GET of a prediction", () => {
  it.each([PREDICT_PATH, PREDICT_PATH.replace("api", "api/models/titanic/labels/stable"), RPC_PATH])(
    "is served from the cache the second time: %s",
    async (path) => {
      const edge = edgeWithModels("a");
      expect(await cacheResults(edge, path, {}, 3)).toEqual(["miss", "hit", "hit"]);
      expect(edge.received).toHaveLength(1);
    },
  );

  it("has its own request id and no other per-request headers of the first response", async () => {
    const edge = edgeWithModels("a", () => modelResponse("a", { ...CACHEABLE, "server-timing": "model;dur=1" }));
    await cacheResults(edge, PREDICT_PATH, { headers: { "x-request-id": "first" } }, 1);
    const response = await sendRequest(edge, PREDICT_PATH, { headers: { "x-request-id": "second" } });
    expect(await jsonBody(response)).toEqual({ by: "a" });
    expect(response.headers.get("x-request-id")).toBe("second");
    expect(response.headers.get("etag")).toBe('"tag"');
    expect(response.headers.get("server-timing")).toMatch(/^edge;dur=\d+$/);
  });

  it("has an Age in whole seconds, also with 304", async () => {
    const edge = edgeWithModels("a");
    vi.useFakeTimers({ toFake: ["Date"], now: 1_000_000 });
    try {
      expect((await sendRequest(edge, PREDICT_PATH)).headers.get("age")).toBeNull();
      await Promise.all(edge.background);
      vi.setSystemTime(1_007_900);
      const hits = [
        await sendRequest(edge, PREDICT_PATH),
        await sendRequest(edge, PREDICT_PATH, { headers: { "if-none-match": '"tag"' } }),
      ];
      expect(hits.map(({ status, headers }) => [status, headers.get("age")])).toEqual([
        [200, "7"],
        [304, "7"],
      ]);
      for (const { headers } of hits) expect([...headers.keys()].join()).not.toContain("x-lifeboat-");
    } finally {
      vi.useRealTimers();
    }
  });

  it("is 304 if the client's ETag matches", async () => {
    const edge = edgeWithModels("a");
    await cacheResults(edge, PREDICT_PATH, {}, 1);
    const response = await sendRequest(edge, PREDICT_PATH, { headers: { "if-none-match": '"other", W/"tag"' } });
    expect([response.status, await response.text(), response.headers.get("lifeboat-cache")]).toEqual([304, "", "hit"]);
  });

  it("with another query is cached separately", async () => {
    const edge = edgeWithModels("a");
    await cacheResults(edge, PREDICT_PATH);
    expect(await cacheResults(edge, PREDICT_PATH.replace("29", "30"), {}, 1)).toEqual(["miss"]);
  });

  it("is requested uncompressed, so that every client can read the cached response", async () => {
    const edge = edgeWithModels("a");
    await sendRequest(edge, PREDICT_PATH, { headers: { "accept-encoding": "zstd" } });
    expect(edge.received[0]?.request.headers.get("accept-encoding")).toBe("identity");
  });

  it.each([
    ["an error", () => Response.json({ code: "invalid_argument" }, { status: 400, headers: CACHEABLE })],
    ["a response with no-cache", () => modelResponse("a", { "cache-control": "no-cache", etag: '"tag"' })],
    ["a response with no-store", () => modelResponse("a", { "cache-control": "no-store" })],
    ["a response of an older image without Cache-Control", () => modelResponse("a", {})],
  ])("does not cache %s", async (_what, handler) => {
    expect(await cacheResults(edgeWithModels("a", handler), PREDICT_PATH)).not.toContain("hit");
  });

  it("goes to an instance if the client requires it or the models are unknown", async () => {
    const edge = edgeWithModels("a");
    await cacheResults(edge, PREDICT_PATH);
    expect(await cacheResults(edge, PREDICT_PATH, { headers: { "cache-control": "no-cache" } }, 1)).toEqual(["miss"]);
    // Browsers send max-age=0 for a reload.
    expect(await cacheResults(edge, PREDICT_PATH, { headers: { "cache-control": "max-age=0" } }, 1)).toEqual(["miss"]);
    expect(await cacheResults(edge, PREDICT_PATH, { headers: { "cache-control": "No-Store" } }, 1)).toEqual([null]);
    expect(
      await cacheResults(
        edgeWithModels(undefined, () => Response.json({}, { headers: CACHEABLE })),
        PREDICT_PATH,
      ),
    ).toEqual([null, null]);
  });
});

it("leaves half of the client's deadline to the instance if the models are not read in time", async () => {
  const edge = fakeEdge(() => Response.json({}, { headers: CACHEABLE }), { models: new Promise(() => {}) });
  const elapsedMs = await withFakeTime(async () => {
    const startedAt = Date.now();
    expect((await sendRequest(edge, PREDICT_PATH, { headers: { "x-request-timeout-ms": "300" } })).status).toBe(200);
    return Date.now() - startedAt;
  });
  expect(elapsedMs).toBeLessThan(300);
});

it("reads the models again after a request with a short deadline did not read them in time", async () => {
  await cacheResults(edgeWithModels("a"), PREDICT_PATH);
  const binding = { models: new Promise(() => {}) as unknown };
  const edge = fakeEdge(() => new Promise<Response>(() => {}), {
    get models() {
      return binding.models;
    },
  });
  vi.spyOn(console, "error").mockReturnValue();
  await withFakeTime(() => sendRequest(edge, PREDICT_PATH, { headers: { "x-request-timeout-ms": "4" } }));
  binding.models = "a";
  expect(await cacheResults(edge, PREDICT_PATH, {}, 1)).toEqual(["hit"]);
});

describe("a new model version", () => {
  it("makes cached responses of the old version unreachable at once", async () => {
    await cacheResults(edgeWithModels("a"), PREDICT_PATH);
    const edge = edgeWithModels("b");
    const response = await sendRequest(edge, PREDICT_PATH);
    expect([response.headers.get("lifeboat-cache"), await jsonBody(response)]).toEqual(["miss", { by: "b" }]);
  });

  it("is recognised from any response, and its responses are cached separately", async () => {
    let models = "a";
    const edge = edgeWithModels("a", () => modelResponse(models));
    await cacheResults(edge, PREDICT_PATH);
    models = "b";
    await cacheResults(edge, `${PREDICT_PATH}&fare=7`, {}, 1);
    const response = await sendRequest(edge, PREDICT_PATH);
    expect([response.headers.get("lifeboat-cache"), await jsonBody(response)]).toEqual(["miss", { by: "b" }]);
  });

  it("that is rolled back makes the old cached responses valid again", async () => {
    await cacheResults(edgeWithModels("a"), PREDICT_PATH);
    await cacheResults(edgeWithModels("b"), PREDICT_PATH);
    expect(await cacheResults(edgeWithModels("a"), PREDICT_PATH, {}, 1)).toEqual(["hit"]);
  });
});

describe("a POST", () => {
  const post = (text: string, cache = "allow") => ({
    method: "POST",
    body: text,
    headers: { "lifeboat-cache": cache, "content-length": String(text.length) },
  });

  it("is served from the cache by its body if the client allows it", async () => {
    const edge = edgeWithModels("a", async (request) =>
      Response.json(await request.text(), { headers: { "x-lifeboat-models": "a" } }),
    );
    expect(await cacheResults(edge, "/api/predict", post("1"))).toEqual(["miss", "hit"]);
    expect(await cacheResults(edge, "/api/predict", post("2"))).toEqual(["miss", "hit"]);
    expect(await cacheResults(edge, "/v2/models/titanic/infer", post("1"))).toEqual(["miss", "hit"]);
    expect(edge.received).toHaveLength(3);
  });

  it.each([{ "inference-header-content-length": "1" }, { "content-encoding": "gzip" }, { "content-type": "text/csv" }])(
    "with %j is cached separately",
    async (headers) => {
      const edge = edgeWithModels("a", () => Response.json({}, { headers: { "x-lifeboat-models": "a" } }));
      await cacheResults(edge, "/v2/models/titanic/infer", post("1"));
      const other = { ...post("1"), headers: { ...post("1").headers, ...headers } };
      expect(await cacheResults(edge, "/v2/models/titanic/infer", other, 1)).toEqual(["miss"]);
    },
  );

  it("goes to an instance if the client does not allow the cache, and always for a file", async () => {
    const edge = edgeWithModels("a");
    expect(await cacheResults(edge, "/api/predict", post("1", "no"))).toEqual([null, null]);
    expect(await cacheResults(edge, "/api/batch", post("1"))).toEqual([null, null]);
  });
});

describe("with API keys", () => {
  const hash = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"; // printf key | sha256sum
  const withKey = { headers: { "x-api-key": "key" } };

  it("a rejected client gets no cached response", async () => {
    await cacheResults(edgeWithModels("a"), PREDICT_PATH);
    const edge = fakeEdge(() => modelResponse("a"), { models: "a", API_KEYS: hash });
    for (const headers of [{}, { "x-api-key": "wrong" }]) {
      const response = await sendRequest(edge, PREDICT_PATH, { headers });
      expect([response.status, response.headers.get("lifeboat-cache")]).toEqual([401, null]);
    }
    expect(await cacheResults(edge, PREDICT_PATH, withKey, 1)).toEqual(["hit"]);
  });

  it("a response is cached at the edge, but marked private for shared caches", async () => {
    const edge = fakeEdge(() => modelResponse("a"), { models: "a", API_KEYS: hash });
    for (const expected of ["miss", "hit"]) {
      const { headers } = await sendRequest(edge, PREDICT_PATH, withKey);
      await Promise.all(edge.background);
      expect(headers.get("lifeboat-cache")).toBe(expected);
      expect(headers.get("cache-control")).toBe("private, max-age=60, must-revalidate");
    }
    const response = await sendRequest(edgeWithModels("a"), PREDICT_PATH);
    expect(response.headers.get("cache-control")).toBe(CACHEABLE["cache-control"]);
  });
});

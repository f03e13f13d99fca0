import { beforeEach, describe, expect, it, vi } from "vitest";
import { type Answer, ask, body, type Fake, fake, patiently } from "./fake_edge";

const RECORD = "/api/predict?sex=female&age=29";
const CALL = "/lifeboat.titanic.v1.TitanicService/Predict?connect=v1&encoding=json&message=%7B%7D";
const FRESH = { "cache-control": "public, max-age=60, must-revalidate", etag: '"tag"' };

/** An answer that says which models it is by, as the instance does. */
const by = (models: string, headers: Record<string, string> = FRESH) =>
  Response.json({ by: models }, { headers: { ...headers, "x-lifeboat-models": models } });

/** The platform's cache: a map of addresses. */
const store = new Map<string, Response>();
beforeEach(() => {
  store.clear();
  vi.stubGlobal("caches", {
    default: {
      match: async ({ url }: Request) => store.get(url)?.clone(),
      put: async ({ url }: Request, response: Response) => void store.set(url, response),
    },
  });
  return () => vi.unstubAllGlobals();
});

/** An edge whose instance has these models, and answers by them. */
const having = (models: string | undefined, answer: Answer = () => by(models ?? "none")) => fake(answer, { models });

/** Asks again and again; returns what the answers said of the cache. */
async function asked(edge: Fake, path: string, init: RequestInit = {}, times = 2): Promise<(string | null)[]> {
  const said = [];
  for (let i = 0; i < times; i++) {
    const response = await ask(edge, path, init);
    await response.text();
    await Promise.all(edge.behind);
    said.push(response.headers.get("lifeboat-cache"));
  }
  return said;
}

describe("a GET of a prediction", () => {
  it.each([RECORD, RECORD.replace("api", "api/models/titanic/labels/stable"), CALL])(
    "is answered from the cache the second time: %s",
    async (path) => {
      const edge = having("a");
      expect(await asked(edge, path, {}, 3)).toEqual(["miss", "hit", "hit"]);
      expect(edge.seen).toHaveLength(1);
    },
  );

  it("is the same answer, with its own request id and nothing of the first caller's", async () => {
    const edge = having("a", () => by("a", { ...FRESH, "server-timing": "model;dur=1" }));
    await asked(edge, RECORD, { headers: { "x-request-id": "first" } }, 1);
    const response = await ask(edge, RECORD, { headers: { "x-request-id": "second" } });
    expect(await body(response)).toEqual({ by: "a" });
    expect(response.headers.get("x-request-id")).toBe("second");
    expect(response.headers.get("etag")).toBe('"tag"');
    expect(response.headers.get("server-timing")).toMatch(/^edge;dur=\d+$/);
  });

  it("says how old it is, in whole seconds, to who has it already too", async () => {
    const edge = having("a");
    vi.useFakeTimers({ toFake: ["Date"], now: 1_000_000 });
    try {
      expect((await ask(edge, RECORD)).headers.get("age")).toBeNull();
      await Promise.all(edge.behind);
      vi.setSystemTime(1_007_900);
      const hits = [await ask(edge, RECORD), await ask(edge, RECORD, { headers: { "if-none-match": '"tag"' } })];
      expect(hits.map(({ status, headers }) => [status, headers.get("age")])).toEqual([
        [200, "7"],
        [304, "7"],
      ]);
      for (const { headers } of hits) expect([...headers.keys()].join()).not.toContain("x-lifeboat-");
    } finally {
      vi.useRealTimers();
    }
  });

  it("is 304 to who has the answer already", async () => {
    const edge = having("a");
    await asked(edge, RECORD, {}, 1);
    const response = await ask(edge, RECORD, { headers: { "if-none-match": '"other", W/"tag"' } });
    expect([response.status, await response.text(), response.headers.get("lifeboat-cache")]).toEqual([304, "", "hit"]);
  });

  it("with another query is another", async () => {
    const edge = having("a");
    await asked(edge, RECORD);
    expect(await asked(edge, RECORD.replace("29", "30"), {}, 1)).toEqual(["miss"]);
  });

  it("is packed for nobody, so that whoever asks next can read it", async () => {
    const edge = having("a");
    await ask(edge, RECORD, { headers: { "accept-encoding": "zstd" } });
    expect(edge.seen[0]?.request.headers.get("accept-encoding")).toBe("identity");
  });

  it.each([
    ["a failure", () => Response.json({ code: "invalid_argument" }, { status: 400, headers: FRESH })],
    ["what the server wants asked anew", () => by("a", { "cache-control": "no-cache", etag: '"tag"' })],
    ["what the server wants kept by nobody", () => by("a", { "cache-control": "no-store" })],
    ["what an older image answers", () => by("a", {})],
  ])("keeps nothing of %s", async (_what, answer) => {
    expect(await asked(having("a", answer), RECORD)).not.toContain("hit");
  });

  it("comes from an instance where the caller wants it so, or the models aren't known", async () => {
    const edge = having("a");
    await asked(edge, RECORD);
    expect(await asked(edge, RECORD, { headers: { "cache-control": "no-cache" } }, 1)).toEqual(["miss"]);
    expect(await asked(edge, RECORD, { headers: { "cache-control": "max-age=0" } }, 1)).toEqual(["miss"]); // a reload
    expect(await asked(edge, RECORD, { headers: { "cache-control": "No-Store" } }, 1)).toEqual([null]);
    expect(
      await asked(
        having(undefined, () => Response.json({}, { headers: FRESH })),
        RECORD,
      ),
    ).toEqual([null, null]);
  });
});

it("leaves the instance half of the caller's time where nobody says which models there are", async () => {
  const edge = fake(() => Response.json({}, { headers: FRESH }), { models: new Promise(() => {}) });
  const took = await patiently(async () => {
    const began = Date.now();
    expect((await ask(edge, RECORD, { headers: { "x-request-timeout-ms": "300" } })).status).toBe(200);
    return Date.now() - began;
  });
  expect(took).toBeLessThan(300);
});

it("is looked for by others, where a caller in a hurry didn't hear which models there are", async () => {
  await asked(having("a"), RECORD);
  const heard = { models: new Promise(() => {}) as unknown };
  const edge = fake(() => new Promise<Response>(() => {}), {
    get models() {
      return heard.models;
    },
  });
  vi.spyOn(console, "error").mockReturnValue();
  await patiently(() => ask(edge, RECORD, { headers: { "x-request-timeout-ms": "4" } }));
  heard.models = "a";
  expect(await asked(edge, RECORD, {}, 1)).toEqual(["hit"]);
});

describe("a new model version", () => {
  it("never serves an old answer, from the first moment that an instance has it", async () => {
    await asked(having("a"), RECORD);
    const edge = having("b");
    const response = await ask(edge, RECORD);
    expect([response.headers.get("lifeboat-cache"), await body(response)]).toEqual(["miss", { by: "b" }]);
  });

  it("is learnt from any answer, and its answers are kept as its own", async () => {
    let models = "a";
    const edge = having("a", () => by(models));
    await asked(edge, RECORD);
    models = "b";
    await asked(edge, `${RECORD}&fare=7`, {}, 1);
    const response = await ask(edge, RECORD);
    expect([response.headers.get("lifeboat-cache"), await body(response)]).toEqual(["miss", { by: "b" }]);
  });

  it("that is taken back serves its old answers, which are right again", async () => {
    await asked(having("a"), RECORD);
    await asked(having("b"), RECORD);
    expect(await asked(having("a"), RECORD, {}, 1)).toEqual(["hit"]);
  });
});

describe("a POST", () => {
  const post = (text: string, cache = "allow") => ({
    method: "POST",
    body: text,
    headers: { "lifeboat-cache": cache, "content-length": String(text.length) },
  });

  it("is answered from the cache where it asks for that, by its body", async () => {
    const edge = having("a", async (request) =>
      Response.json(await request.text(), { headers: { "x-lifeboat-models": "a" } }),
    );
    expect(await asked(edge, "/api/predict", post("1"))).toEqual(["miss", "hit"]);
    expect(await asked(edge, "/api/predict", post("2"))).toEqual(["miss", "hit"]);
    expect(await asked(edge, "/v2/models/titanic/infer", post("1"))).toEqual(["miss", "hit"]);
    expect(edge.seen).toHaveLength(3);
  });

  it.each([{ "inference-header-content-length": "1" }, { "content-encoding": "gzip" }, { "content-type": "text/csv" }])(
    "that is to be read by %j is another",
    async (by) => {
      const edge = having("a", () => Response.json({}, { headers: { "x-lifeboat-models": "a" } }));
      await asked(edge, "/v2/models/titanic/infer", post("1"));
      const other = { ...post("1"), headers: { ...post("1").headers, ...by } };
      expect(await asked(edge, "/v2/models/titanic/infer", other, 1)).toEqual(["miss"]);
    },
  );

  it("comes from an instance where it doesn't, and a file always does", async () => {
    const edge = having("a");
    expect(await asked(edge, "/api/predict", post("1", "no"))).toEqual([null, null]);
    expect(await asked(edge, "/api/batch", post("1"))).toEqual([null, null]);
  });
});

describe("behind a key", () => {
  const hash = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"; // printf key | sha256sum
  const withKey = { headers: { "x-api-key": "key" } };

  it("who may not pass gets no kept answer", async () => {
    await asked(having("a"), RECORD);
    const locked = fake(() => by("a"), { models: "a", API_KEYS: hash });
    for (const headers of [{}, { "x-api-key": "wrong" }]) {
      const response = await ask(locked, RECORD, { headers });
      expect([response.status, response.headers.get("lifeboat-cache")]).toEqual([401, null]);
    }
    expect(await asked(locked, RECORD, withKey, 1)).toEqual(["hit"]);
  });

  it("an answer is its caller's alone: the edge keeps it, no cache that others share does", async () => {
    const locked = fake(() => by("a"), { models: "a", API_KEYS: hash });
    for (const said of ["miss", "hit"]) {
      const { headers } = await ask(locked, RECORD, withKey);
      await Promise.all(locked.behind);
      expect(headers.get("lifeboat-cache")).toBe(said);
      expect(headers.get("cache-control")).toBe("private, max-age=60, must-revalidate");
    }
    const open = await ask(having("a"), RECORD);
    expect(open.headers.get("cache-control")).toBe(FRESH["cache-control"]);
  });
});

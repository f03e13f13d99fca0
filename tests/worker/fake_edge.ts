/** A fake Durable Object namespace whose instances respond by a test's handler, without the platform. */
import { vi } from "vitest";
import { app } from "../../worker/app";

export type Handler = (request: Request, name: string) => Response | Promise<Response>;

export interface FakeEdge {
  env: Env;
  /** Requests that reached an instance, with the instance's name and its location hint. */
  received: { name: string; request: Request; hint?: string }[];
  /** Work that continues after the responses. */
  background: Promise<unknown>[];
}

/** Report of a Durable Object. */
const REPORT = {
  state: "asleep",
  inFlight: 0,
  failedStarts: 1,
  exits: { 137: 1 },
  coldCalls: 2,
  startMs: { last: 900, most: 1_100, total: 2_000 },
  hung: 0,
  restarts: 0,
};

/** Return an environment whose instances all respond by `handler`. */
export function fakeEdge(handler: Handler, variables: Record<string, unknown> = {}): FakeEdge {
  const received: FakeEdge["received"] = [];
  const getByName = (name: string, options: { locationHint?: string } = {}) => ({
    fetch: async (input: RequestInfo, init?: RequestInit) => {
      const request = new Request(input, init);
      received.push({ name, request, ...(options.locationHint === undefined ? {} : { hint: options.locationHint }) });
      return handler(request, name);
    },
    models: async () => variables.models,
    report: async () => {
      if (name === "inference-2") throw new Error("Durable Object reset");
      return { ...REPORT, starts: name === "inference-0" ? 3 : 0 };
    },
  });
  const env = { INFERENCE: { getByName }, WARM_INSTANCES: 1, SLEEP_AFTER: "10m", ...variables };
  return { env: env as unknown as Env, received, background: [] };
}

/** Return the Worker's response to a request. */
export async function sendRequest(edge: FakeEdge, input: string | Request, init?: RequestInit): Promise<Response> {
  const context = {
    waitUntil: (work: Promise<unknown>) => edge.background.push(work),
    passThroughOnException: () => {},
  };
  return app.request(input, init, edge.env, context as unknown as ExecutionContext);
}

/** Return the JSON body of a response. */
export async function jsonBody(response: Response): Promise<Record<string, unknown>> {
  return (await response.json()) as Record<string, unknown>;
}

/** Return the result of `work`, run with a fake clock, so that no test waits for the Worker's pauses. */
export async function withFakeTime<Value>(work: () => Promise<Value>): Promise<Value> {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  try {
    let isDone = false;
    const value = work().finally(() => {
      isDone = true;
    });
    value.catch(() => {});
    while (!isDone) await vi.advanceTimersByTimeAsync(25);
    return await value;
  } finally {
    vi.useRealTimers();
  }
}

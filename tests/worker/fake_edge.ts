/** A namespace of Durable Objects whose instances answer what a test says: the binding, without the platform behind it. */
import { vi } from "vitest";
import { app } from "../../worker/app";

export type Answer = (request: Request, name: string) => Response | Promise<Response>;

export interface Fake {
  env: Env;
  /** Each request that reached an instance, with the instance's name and the hint it was placed by. */
  seen: { name: string; request: Request; hint?: string }[];
  /** What goes on behind the answers. */
  behind: Promise<unknown>[];
}

/** What a Durable Object reports of itself. */
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

/** Returns an environment whose instances all answer by `answer`. */
export function fake(answer: Answer, variables: Record<string, unknown> = {}): Fake {
  const seen: Fake["seen"] = [];
  const getByName = (name: string, options: { locationHint?: string } = {}) => ({
    fetch: async (input: RequestInfo, init?: RequestInit) => {
      const request = new Request(input, init);
      seen.push({ name, request, ...(options.locationHint === undefined ? {} : { hint: options.locationHint }) });
      return answer(request, name);
    },
    models: async () => variables.models,
    report: async () => {
      if (name === "inference-2") throw new Error("Durable Object reset");
      return { ...REPORT, starts: name === "inference-0" ? 3 : 0 };
    },
  });
  const env = { INFERENCE: { getByName }, WARM_INSTANCES: 1, SLEEP_AFTER: "10m", ...variables };
  return { env: env as unknown as Env, seen, behind: [] };
}

/** Returns the Worker's answer to a request. */
export async function ask(edge: Fake, input: string | Request, init?: RequestInit): Promise<Response> {
  const context = { waitUntil: (work: Promise<unknown>) => edge.behind.push(work), passThroughOnException: () => {} };
  return app.request(input, init, edge.env, context as unknown as ExecutionContext);
}

/** Returns the JSON body of a response. */
export async function body(response: Response): Promise<Record<string, unknown>> {
  return (await response.json()) as Record<string, unknown>;
}

/** Returns what `work` comes to while time passes for it as fast as it can: no test waits for a pause of the Worker's. */
export async function patiently<Value>(work: () => Promise<Value>): Promise<Value> {
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

/** A namespace of Durable Objects whose instances answer what a test says: the binding, without the platform behind it. */

export type Answer = (request: Request) => Response | Promise<Response>;

export interface Fake {
  env: Env;
  /** Each request that reached an instance, with the instance's name. */
  seen: { name: string; request: Request }[];
}

/** Returns an environment whose instances all answer by `answer`. */
export function fake(answer: Answer, variables: Partial<Record<"WARM_INSTANCES", number>> = {}): Fake {
  const seen: Fake["seen"] = [];
  const getByName = (name: string) => ({
    fetch: async (input: RequestInfo, init?: RequestInit) => {
      const request = new Request(input, init);
      seen.push({ name, request });
      return answer(request);
    },
  });
  const env = { INFERENCE: { getByName }, WARM_INSTANCES: 1, SLEEP_AFTER: "10m", ...variables };
  return { env: env as unknown as Env, seen };
}

/** Returns the JSON body of a response. */
export async function body(response: Response): Promise<Record<string, unknown>> {
  return (await response.json()) as Record<string, unknown>;
}

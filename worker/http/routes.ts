/**
 * List the paths and methods that are forwarded; no other request starts a container.
 * @module
 */

/** Rules for the requests to a path. */
export interface Route {
  /** Allowed methods. */
  methods: string[];
  /** Whether the body is a file: streamed in both directions, of any size, never retried. */
  isFile: boolean;
  /** Whether the response to GET depends only on the model and the query. */
  isCacheable: boolean;
  /** Whether the response to POST depends only on the model and the body. */
  isPure: boolean;
}

/** Path of a model, one of its versions, or a label, percent-decoded. A name is one segment. */
const MODEL = "(/models/[^/]+(/(versions|labels)/[^/]+)?)";
const READ = ["GET", "HEAD"];

const ROUTES: [path: RegExp, route: Route][] = [
  [new RegExp(`^/api${MODEL}?/predict$`), route([...READ, "POST"], { isCacheable: true, isPure: true })],
  [new RegExp(`^/api${MODEL}?/explain$`), route(["POST"], { isPure: true })],
  [new RegExp(`^/api${MODEL}?/batch$`), route(["POST", "PUT"], { isFile: true })],
  [new RegExp(`^/api${MODEL}(/card|/drift|/form|/service\\.proto)?$`), route(READ)],
  [/^\/api\/(models|openapi\.json|docs)$/, route(READ)],
  [/^\/v2(\/health\/(live|ready))?$/, route(READ)],
  [/^\/v2\/models\/stats$/, route(READ)],
  [/^\/v2\/models\/[^/]+(\/versions\/[^/]+)?(\/(ready|stats|config))?$/, route(READ)],
  [/^\/v2\/models\/[^/]+(\/versions\/[^/]+)?\/infer$/, route(["POST"], { isPure: true })],
  [/^\/v2\/repository\/index$/, route(["POST"])],
];

/** `/package.Service/Method`, in protobuf's names. The server accepts more names; here they would start a container. */
const CALL = /^\/[A-Za-z]\w*(\.[A-Za-z]\w*)+\/[A-Za-z]\w*$/;
/** Connect uses GET for methods without side effects. */
const CALLED = route([...READ, "POST"], { isCacheable: true });

function route(methods: string[], kind: Partial<Route> = {}): Route {
  return { methods, isFile: false, isCacheable: false, isPure: false, ...kind };
}

/** Return the percent-decoded path, undefined if it is not UTF-8. Rules apply to the path that the server reads. */
export function decoded(request: Request): string | undefined {
  try {
    return decodeURIComponent(new URL(request.url).pathname);
  } catch {
    return undefined;
  }
}

/** Return whether a decoded path is an RPC path of Connect or gRPC-Web. */
export function isCall(path: string): boolean {
  return CALL.test(path);
}

/** Return the route of a decoded path, undefined if there is none. */
export function routeOf(path: string): Route | undefined {
  if (isCall(path)) return CALLED;
  return ROUTES.find(([pattern]) => pattern.test(path))?.[1];
}

/** Return whether a decoded path loads or unloads a model, also with repeated slashes. */
export function isControl(path: string): boolean {
  return (
    /^\/+v2\/+repository\/+models(\/|$)/.test(path) ||
    /^\/inference\.GRPCInferenceService\/RepositoryModel(Load|Unload)$/.test(path)
  );
}

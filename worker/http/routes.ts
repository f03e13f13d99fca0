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
const MODEL_PATH = "(/models/[^/]+(/(versions|labels)/[^/]+)?)";
const READ_METHODS = ["GET", "HEAD"];

const ROUTES: [path: RegExp, route: Route][] = [
  [
    new RegExp(`^/api${MODEL_PATH}?/predict$`),
    newRoute([...READ_METHODS, "POST"], { isCacheable: true, isPure: true }),
  ],
  [new RegExp(`^/api${MODEL_PATH}?/explain$`), newRoute(["POST"], { isPure: true })],
  [new RegExp(`^/api${MODEL_PATH}?/batch$`), newRoute(["POST", "PUT"], { isFile: true })],
  [new RegExp(`^/api${MODEL_PATH}(/card|/drift|/form|/service\\.proto)?$`), newRoute(READ_METHODS)],
  [/^\/api\/(models|openapi\.json|docs)$/, newRoute(READ_METHODS)],
  [/^\/v2(\/health\/(live|ready))?$/, newRoute(READ_METHODS)],
  [/^\/v2\/models\/stats$/, newRoute(READ_METHODS)],
  [/^\/v2\/models\/[^/]+(\/versions\/[^/]+)?(\/(ready|stats|config))?$/, newRoute(READ_METHODS)],
  [/^\/v2\/models\/[^/]+(\/versions\/[^/]+)?\/infer$/, newRoute(["POST"], { isPure: true })],
  [/^\/v2\/repository\/index$/, newRoute(["POST"])],
];

/** `/package.Service/Method`, in protobuf's names. The server accepts more names; here they would start a container. */
const RPC_PATH = /^\/[A-Za-z]\w*(\.[A-Za-z]\w*)+\/[A-Za-z]\w*$/;
/** Connect uses GET for methods without side effects. */
const RPC_ROUTE = newRoute([...READ_METHODS, "POST"], { isCacheable: true });

function newRoute(methods: string[], kind: Partial<Route> = {}): Route {
  return { methods, isFile: false, isCacheable: false, isPure: false, ...kind };
}

/** Return the percent-decoded path, undefined if it is not UTF-8. Rules apply to the path that the server reads. */
export function decodePath(request: Request): string | undefined {
  try {
    return decodeURIComponent(new URL(request.url).pathname);
  } catch {
    return undefined;
  }
}

/** Return whether a decoded path is an RPC path of Connect or gRPC-Web. */
export function isRpcPath(path: string): boolean {
  return RPC_PATH.test(path);
}

/** Return the route of a decoded path, undefined if there is none. */
export function routeOf(path: string): Route | undefined {
  if (isRpcPath(path)) return RPC_ROUTE;
  return ROUTES.find(([pattern]) => pattern.test(path))?.[1];
}

/** Return whether a decoded path loads or unloads a model, also with repeated slashes. */
export function isModelControl(path: string): boolean {
  return (
    /^\/+v2\/+repository\/+models(\/|$)/.test(path) ||
    /^\/inference\.GRPCInferenceService\/RepositoryModel(Load|Unload)$/.test(path)
  );
}

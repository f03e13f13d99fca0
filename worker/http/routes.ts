/**
 * List the paths and methods that are forwarded; no other request starts a container.
 * @module
 */

/** What may be done with requests to a path. */
export interface Route {
  methods: string[];
  /** A file: streamed both ways, of any size, and never sent a second time. */
  isFile: boolean;
  /** Whether an answer to GET is a function of the model and the query alone. */
  isCacheable: boolean;
  /** Whether the same is true of a POST and its body. */
  isPure: boolean;
}

/** A model, one of its versions, or a label. A name is one segment; `decoded` has unpacked what was percent-encoded. */
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

/** /package.Service/Method, in protobuf's names: as the server has it, but that no other name starts a container. */
const CALL = /^\/[A-Za-z]\w*(\.[A-Za-z]\w*)+\/[A-Za-z]\w*$/;
/** GET is Connect's, for methods without side effects. */
const CALLED = route([...READ, "POST"], { isCacheable: true });

function route(methods: string[], kind: Partial<Route> = {}): Route {
  return { methods, isFile: false, isCacheable: false, isPure: false, ...kind };
}

/** Returns the path as the server will read it, undefined where it is no UTF-8: an encoded letter must not pass a rule. */
export function decoded(request: Request): string | undefined {
  try {
    return decodeURIComponent(new URL(request.url).pathname);
  } catch {
    return undefined;
  }
}

/** Returns whether a decoded path is that of a call of Connect or gRPC-Web. */
export function isCall(path: string): boolean {
  return CALL.test(path);
}

/** Returns the route of a decoded path, undefined where there is none. */
export function routeOf(path: string): Route | undefined {
  if (isCall(path)) return CALLED;
  return ROUTES.find(([pattern]) => pattern.test(path))?.[1];
}

/** Returns whether a decoded path is that of model control, however many slashes are in it. */
export function isControl(path: string): boolean {
  return (
    /^\/+v2\/+repository\/+models(\/|$)/.test(path) ||
    /^\/inference\.GRPCInferenceService\/RepositoryModel(Load|Unload)$/.test(path)
  );
}

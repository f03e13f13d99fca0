"""The ASGI application: routes, dispatch, and the conversion of errors to responses."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

from server.errors import MethodNotAllowed, NotFound, RequestError
from server.http.handler import FastPathHandler
from server.http.held_bytes import HELD, HeldBody, HeldBytes
from server.http.lifecycle import Draining, Start
from server.http.request_context import note
from server.http.responses import asgi_response, envelope, failure
from server.http.routes import is_call
from server.http.watchdog import Watchdog
from server.inference.batcher import Limits
from server.inference.drift.lazy import DriftConfig
from server.inference.metadata import MetadataService
from server.inference.runner import Runners
from server.models.control import ModelControl
from server.models.repository import Repository
from server.models.threads import UnjoinedExecutor
from server.rest.batch import BatchEndpoint
from server.rest.catalog import DescribeEndpoint
from server.rest.explain import ExplainEndpoint
from server.rest.metrics import MetricsEndpoint
from server.rest.model_control import AdminEndpoint
from server.rest.open_inference import V2Endpoint
from server.rest.predict import PredictEndpoint
from server.rest.triton import TritonEndpoint
from server.rpc.lazy import LazyRpcApp
from server.settings import Settings

if TYPE_CHECKING:
    from server.telemetry.middleware import Observer

_PREDICTS: Final = frozenset({"GET", "HEAD", "POST"})


def create_app(
    repository: Repository,
    settings: Settings,
    observer: "Observer | None" = None,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> "RequestDispatcher":
    """Return the ASGI app that serves the loaded models of `repository`.

    `observer` observes the requests; time windows follow `clock_ns`.
    """
    limits = Limits(settings.max_batch_rows, settings.max_queue_rows, settings.queue_delay_us / 1e6)
    executor = UnjoinedExecutor(max_workers=1, thread_name_prefix="large")  # one: a second would slow down the first
    drift_config = DriftConfig(settings.drift_window_s, clock_ns)
    observe = None if observer is None else observer.observe_run
    runners = Runners(limits, executor, drift_config, run_limits=repository.run_limits, observe=observe)
    watchdog = Watchdog(runners.run_limits)
    predict = PredictEndpoint(repository, runners, settings)
    descriptions = MetadataService(repository, runners, settings)
    v2 = V2Endpoint(repository, runners, settings, descriptions)
    fast_path_handlers: dict[str, FastPathHandler] = {}
    queries: dict[str, ASGIApp] = {}

    def update_routes() -> None:
        """Update the fast-path handlers and queries to the models served now."""
        handlers = predict.fast_path_handlers() | v2.fast_path_handlers()
        if rpc.services is not None:
            handlers |= rpc.services.fast_path_handlers()
        fast_path_handlers.clear()
        fast_path_handlers.update(handlers if observer is None else observer.wrap_handlers(handlers))
        queries.clear()
        queries.update(predict.queries())

    def refresh() -> None:
        """Remove the state of models no longer served, and update the rest."""
        models = {model for versions in repository.models.values() for model in versions.models.values()}
        runners.retain(models)
        if observer is not None:
            observer.names = {name for model in models for name in (*model.signature.by_name, *model.output_names)}
        if rpc.services is not None:
            rpc.services.refresh()
        update_routes()

    control = ModelControl(repository, settings.admin_token, refresh)
    draining, start = Draining(), Start()
    rpc = LazyRpcApp(lambda make: make(repository, runners, settings, descriptions, control, draining), update_routes)
    refresh()
    app = Starlette(
        routes=[
            *predict.routes(),
            *BatchEndpoint(repository, runners, settings).routes(),
            *ExplainEndpoint(repository, runners, settings).routes(),
            *TritonEndpoint(descriptions, settings.max_body_bytes).routes(),
            *v2.routes(),
            *AdminEndpoint(control, settings.max_body_bytes).routes(),
            *DescribeEndpoint(repository, runners, settings).routes(),
            *MetricsEndpoint(repository, runners, start, watchdog).routes(),
        ],
        exception_handlers={RequestError: _request_error_response, HTTPException: _routing_error_response},
        middleware=[Middleware(ErrorMiddleware)],
        lifespan=_lifespan(repository, control, settings.repository_poll_s),
    )
    app.router.redirect_slashes = False  # no redirects: a redirect would lose the request body
    held = HeldBytes(settings.max_held_bytes)
    return RequestDispatcher(fast_path_handlers, queries, rpc, draining, start, held, watchdog, app)


def _lifespan(repository: Repository, control: ModelControl, repository_poll_s: int) -> Lifespan[Starlette] | None:
    """Return the app's lifespan: a repository watcher if polling is enabled, else None."""
    if not repository_poll_s or repository.loader is None:
        return None
    from server.models.watcher import RepositoryWatcher  # imported here, so that no other start pays for it

    return RepositoryWatcher(repository, repository.loader, control, repository_poll_s).following


class RequestDispatcher:
    """The outermost layer, which dispatches each request to its handler.

    A prediction on a known path goes to its handler, an RPC call to `rpc`, and all others to `app`.
    """

    def __init__(  # noqa: PLR0913, PLR0917 # these are all the parts that it dispatches to
        self,
        fast_path_handlers: Mapping[str, FastPathHandler],
        queries: Mapping[str, ASGIApp],
        rpc: LazyRpcApp,
        draining: Draining,
        start: Start,
        held: HeldBytes,
        watchdog: Watchdog,
        app: Starlette,
    ) -> None:
        """Handle POSTs to the paths in `fast_path_handlers`, and GETs of the paths in `queries`.

        All other requests go to `rpc` or `app`.
        """
        self.fast_path_handlers = fast_path_handlers
        self._queries = queries
        self.rpc = rpc
        self.draining = draining
        self.start = start
        self.held = held
        """Bytes of request bodies in memory, over all connections and interfaces."""
        self.watchdog = watchdog
        self._app = app

    @property
    def routes(self) -> list[BaseRoute]:
        """Every route except those of RPC calls, as path templates."""
        return self._app.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or run the lifespan of the server."""
        if scope["type"] == "lifespan":
            await self._app.router(scope, receive, send)
            return
        held: HeldBody = scope.setdefault(HELD, HeldBody(self.held))  # under uvicorn, the transport has created it
        try:
            await self._respond(scope, receive, send)
        finally:
            held.release()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        handlers: Mapping[str, ASGIApp] = self.fast_path_handlers if scope["method"] == "POST" else self._queries
        handler = handlers.get(scope["path"])
        if handler is not None and scope["method"] in _PREDICTS:
            await handler(scope, receive, send)
        elif is_call(scope["path"]):
            await self.rpc(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class ErrorMiddleware:
    """Middleware that converts unexpected errors on all other paths to responses.

    The error is logged under the request's id, and the client gets that id.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to the app, and respond to errors if no response has started.

        The response is 500 for an exception, and 503 if the drain time is over.
        """
        has_started = False

        async def send_and_record(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_record)
        except (Exception, asyncio.CancelledError) as error:
            request_error = failure(error, scope["headers"])
            if has_started:
                note(request_error)
                raise  # the connection must break: the client must not take half a response for a whole one
            await asgi_response(envelope(request_error))(scope, receive, send)


async def _request_error_response(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)  # noqa: S101 # the handler is registered for this class
    return asgi_response(envelope(error))


async def _routing_error_response(request: Request, error: Exception) -> Response:
    """Return the response for a path or method that no route has."""
    assert isinstance(error, HTTPException)  # noqa: S101 # the handler is registered for this class
    path = request.url.path[:128]
    if error.status_code == 405:
        allow = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        method_error = MethodNotAllowed(f"{path} takes {allow}, not {request.method}", headers={"allow": allow})
        return asgi_response(envelope(method_error))
    return asgi_response(envelope(NotFound(f"there is nothing at {path}; GET /api/models lists what is served")))

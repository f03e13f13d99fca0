"""The wiring: routes, and the one place where a failure becomes an answer."""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

from server.batching import Limits
from server.control import ModelControl
from server.descriptions import Descriptions
from server.draining import Draining
from server.endpoints.admin import AdminEndpoint
from server.endpoints.batch import BatchEndpoint
from server.endpoints.describe import DescribeEndpoint
from server.endpoints.explain import ExplainEndpoint
from server.endpoints.metrics import MetricsEndpoint
from server.endpoints.predict import PredictEndpoint
from server.endpoints.rpc import RpcDoor, is_call
from server.endpoints.triton import TritonEndpoint
from server.endpoints.v2 import V2Endpoint
from server.errors import MethodNotAllowed, NotFound, RequestError
from server.hot import Prediction
from server.observation import note
from server.repository import Repository
from server.responses import envelope, failure, response
from server.runner import Runner, Runners
from server.settings import Settings
from server.start import Start
from server.watch import Watch

if TYPE_CHECKING:
    from server.observed import Observer

_PREDICTS: Final = frozenset({"GET", "HEAD", "POST"})


def create_app(
    repository: Repository,
    settings: Settings,
    observer: "Observer | None" = None,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> "FrontDoor":
    """Return the ASGI app that serves the loaded models of `repository`.

    `observer` follows what is asked of it; windows of time slide by `clock_ns`.
    """
    limits = Limits(settings.max_batch_rows, settings.max_queue_rows, settings.queue_delay_us / 1e6)
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="large")  # one: a second would halve the first
    watch = Watch(settings.drift_window_s, clock_ns)
    runners = Runners(limits, executor, watch, Runner if observer is None else observer.runner)
    predict = PredictEndpoint(repository, runners, settings)
    descriptions = Descriptions(repository, runners, settings)
    v2 = V2Endpoint(repository, runners, settings, descriptions)
    hot: dict[str, Prediction] = {}
    queries: dict[str, ASGIApp] = {}

    def find() -> None:
        """Let the known paths be those of what is served now."""
        known = predict.hot() | v2.hot()
        if rpc.services is not None:
            known |= rpc.services.hot()
        hot.clear()
        hot.update(known if observer is None else observer.predictions(known))
        queries.clear()
        queries.update(predict.queries())

    def refresh() -> None:
        """Forget what is served no longer, and know what is."""
        served = {model for versions in repository.models.values() for model in versions.models.values()}
        runners.keep(served)
        if observer is not None:
            observer.names = {name for model in served for name in (*model.signature.by_name, *model.output_names)}
        if rpc.services is not None:
            rpc.services.refresh()
        find()

    control = ModelControl(repository, settings.admin_token, refresh)
    draining, start = Draining(), Start()
    rpc = RpcDoor(lambda make: make(repository, runners, settings, descriptions, control, draining), find)
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
            *MetricsEndpoint(repository, runners, start).routes(),
        ],
        exception_handlers={RequestError: _answer, HTTPException: _answer_routing},
        middleware=[Middleware(Opaque)],
        lifespan=_lifespan(repository, control, settings.watch_s),
    )
    app.router.redirect_slashes = False  # a path is what it says: a redirect would lose a body
    return FrontDoor(hot, queries, rpc, draining, start, app)


def _lifespan(repository: Repository, control: ModelControl, watch_s: int) -> Lifespan[Starlette] | None:
    """Return what goes on while the server lives: following the folder, where that is asked for."""
    if not watch_s or repository.loader is None:
        return None
    from server.following import Follower  # here: no other start pays for it

    return Follower(repository, repository.loader, control, watch_s).following


class FrontDoor:
    """The outermost layer: a prediction by a known path goes to what answers it, a call to RPC, the rest on."""

    def __init__(  # noqa: PLR0913, PLR0917 # it is what there is behind the door
        self,
        hot: Mapping[str, Prediction],
        queries: Mapping[str, ASGIApp],
        rpc: RpcDoor,
        draining: Draining,
        start: Start,
        app: Starlette,
    ) -> None:
        """Answer a POST to a path in `hot` and a GET of one in `queries`, whatever stands there at the time.

        Anything else is answered by `rpc` or `app`.
        """
        self.hot = hot
        self._queries = queries
        self.rpc = rpc
        self.draining = draining
        self.start = start
        self._app = app

    @property
    def routes(self) -> list[BaseRoute]:
        """Every route but those of calls, as templates of their paths."""
        return self._app.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or live as long as the server does."""
        if scope["type"] == "lifespan":
            await self._app.router(scope, receive, send)
            return
        known: Mapping[str, ASGIApp] = self.hot if scope["method"] == "POST" else self._queries
        prediction = known.get(scope["path"])
        if prediction is not None and scope["method"] in _PREDICTS:
            await prediction(scope, receive, send)
        elif is_call(scope["path"]):
            await self.rpc(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class Opaque:
    """The same for all other paths: what nobody foresaw is logged under the request's id, and the caller told that."""

    def __init__(self, app: ASGIApp) -> None:
        """Guard `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. Where no answer has begun: 500 for an exception, 503 when the drain's time is up."""
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except (Exception, asyncio.CancelledError) as error:
            told = failure(error, scope["headers"])
            if started:
                note(told)
                raise  # the connection must break: half an answer is no answer
            await response(envelope(told))(scope, receive, send)


async def _answer(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)  # noqa: S101 # what the handler is registered for
    return response(envelope(error))


async def _answer_routing(request: Request, error: Exception) -> Response:
    """Answer for a path or method that no route has."""
    assert isinstance(error, HTTPException)  # noqa: S101 # what the handler is registered for
    path = request.url.path[:128]
    if error.status_code == 405:
        allow = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        refused = MethodNotAllowed(f"{path} takes {allow}, not {request.method}", headers={"allow": allow})
        return response(envelope(refused))
    return response(envelope(NotFound(f"there is nothing at {path}; GET /api/models tells what is served")))

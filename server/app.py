"""The wiring: routes, and the one place where a failure becomes an answer."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.batching import Limits
from server.endpoints.describe import DescribeEndpoint
from server.endpoints.hot import Prediction
from server.endpoints.metrics import MetricsEndpoint
from server.endpoints.predict import PredictEndpoint
from server.endpoints.responses import error_response, failure
from server.endpoints.v2 import V2Endpoint
from server.errors import MethodNotAllowed, NotFound, RequestError
from server.repository import Repository
from server.requests import JSON
from server.runner import Runner
from server.settings import Settings

_JSON_HEADER: Final = (b"content-type", JSON.encode())


def create_app(repository: Repository, settings: Settings) -> "FrontDoor":
    """Return the ASGI app that serves the loaded models of `repository`."""
    limits = Limits(settings.max_batch_rows, settings.max_queue_rows, settings.queue_delay_us / 1e6)
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="large")  # one: a second would halve the first
    runners = {
        model: Runner(model, limits, executor)
        for versions in repository.models.values()
        for model in versions.models.values()
    }
    predict = PredictEndpoint(repository, runners, settings)
    v2 = V2Endpoint(repository, runners, settings)
    app = Starlette(
        routes=[
            *predict.routes(),
            *v2.routes(),
            *DescribeEndpoint(repository).routes(),
            *MetricsEndpoint(runners.values()).routes(),
        ],
        exception_handlers={RequestError: _answer, HTTPException: _answer_routing},
    )
    app.router.redirect_slashes = False  # a path is what it says: a redirect would lose a body
    return FrontDoor(predict.hot() | v2.hot(), app)


class FrontDoor:
    """The outermost layer. Predictions by a path known at load go straight to what answers them, all else to Starlette.

    What nobody foresaw is logged under the request's id, and the caller told only that id.
    """

    def __init__(self, hot: Mapping[str, Prediction], app: ASGIApp) -> None:
        """Answer a POST to a path in `hot` by what stands there, anything else by `app`."""
        self.hot = hot
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. Where no answer has begun: 500 for an exception, 503 when the drain's time is up."""
        prediction = self.hot.get(scope["path"])
        if prediction is None or scope["method"] != "POST":
            await self._answer_cold(scope, receive, send)
            return
        try:
            body = await prediction(scope, receive)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 # nothing was sent: each can be answered
            await error_response(failure(error, scope["headers"]))(scope, receive, send)
            return
        headers = [_JSON_HEADER, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer_cold(self, scope: Scope, receive: Receive, send: Send) -> None:
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
                raise  # the connection must break: half an answer is no answer
            await error_response(told)(scope, receive, send)


async def _answer(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)  # noqa: S101 # what the handler is registered for
    return error_response(error)


async def _answer_routing(request: Request, error: Exception) -> Response:
    """Answer for a path or method that no route has."""
    assert isinstance(error, HTTPException)  # noqa: S101 # what the handler is registered for
    path = request.url.path[:128]
    if error.status_code == 405:
        allow = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        return error_response(MethodNotAllowed(f"{path} takes {allow}, not {request.method}", headers={"allow": allow}))
    return error_response(NotFound(f"there is nothing at {path}; GET /api/models tells what is served"))

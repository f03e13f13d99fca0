"""The wiring: routes, and the one place where a failure becomes an answer."""

import asyncio
import logging
import re
import uuid
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.endpoints.describe import DescribeEndpoint
from server.endpoints.predict import PredictEndpoint
from server.endpoints.responses import error_response
from server.endpoints.v2 import V2Endpoint
from server.errors import Internal, MethodNotAllowed, NotFound, RequestError, Unavailable
from server.repository import Repository
from server.settings import Settings

REQUEST_ID: Final = "x-request-id"
_SOUND_ID: Final = re.compile(r"[\w.:/+=-]{1,128}")
_log = logging.getLogger("lifeboat.app")


def create_app(repository: Repository, settings: Settings) -> Starlette:
    """Return the ASGI app that serves the loaded models of `repository`."""
    app = Starlette(
        routes=[
            *PredictEndpoint(repository, settings).routes(),
            *V2Endpoint(repository, settings).routes(),
            *DescribeEndpoint(repository).routes(),
        ],
        exception_handlers={RequestError: _answer, HTTPException: _answer_routing},
        middleware=[Middleware(Opaque)],
    )
    app.router.redirect_slashes = False  # a path is what it says: a redirect would lose a body
    return app


class Opaque:
    """The outermost layer: what nobody foresaw is logged under the request's id, and the caller told only that id."""

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
        except asyncio.CancelledError:
            if started:
                raise
            await error_response(Unavailable("the server is stopping; try again"))(scope, receive, send)
        except Exception:
            request_id = _request_id(scope)
            _log.exception("request %s failed", request_id)
            if started:
                raise  # the connection must break: half an answer is no answer
            error = Internal(f"internal error; request id {request_id}", headers={REQUEST_ID: request_id})
            await error_response(error)(scope, receive, send)


def _request_id(scope: Scope) -> str:
    given = dict(scope["headers"]).get(REQUEST_ID.encode(), b"").decode("latin-1")
    return given if _SOUND_ID.fullmatch(given) else uuid.uuid4().hex


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

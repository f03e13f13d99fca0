"""Answers and failures to ASGI responses."""

import asyncio
import logging
import re
import uuid
from typing import Final

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.endpoints.hot import Headers
from server.errors import Internal, RequestError, Unavailable
from server.replies import JSON, Body, Reply

REQUEST_ID: Final = "x-request-id"
_SOUND_ID: Final = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)
_log = logging.getLogger("lifeboat.app")


def json_response(body: object) -> Response:
    """Return `body` as JSON, 200."""
    return Response(msgspec.json.encode(body), media_type=JSON)


def response(body: Body) -> ASGIApp:
    """Return an answer to be sent."""
    return _Response(Reply(body, JSON) if isinstance(body, bytes) else body)


class _Response:
    """An answer, whose fields may stand there more than once, and may follow the body."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        reply = self._reply
        fields = [(b"content-type", reply.media_type.encode()), *reply.headers]
        if not reply.trailers:
            fields.append((b"content-length", b"%d" % len(reply.body)))
        trails = bool(reply.trailers)
        await send({"type": "http.response.start", "status": reply.status, "headers": fields, "trailers": trails})
        await send({"type": "http.response.body", "body": reply.body})
        if reply.trailers:
            await send({"type": "http.response.trailers", "headers": reply.trailers})


def error_response(error: RequestError) -> Response:
    """Return the error envelope, with the status of its code."""
    return Response(error.envelope(), error.status, error.headers, JSON)


def failure(error: BaseException, headers: Headers) -> RequestError:
    """Return what the caller is told of `error`: of what nobody foresaw the request's id alone, the log all of it."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return Unavailable("the server is stopping; try again")
    request_id = _request_id(headers)
    _log.error("request %s failed", request_id, exc_info=error)
    return Internal(f"internal error; request id {request_id}", headers={REQUEST_ID: request_id})


def _request_id(headers: Headers) -> str:
    given = dict(headers).get(REQUEST_ID.encode(), b"").decode("latin-1")
    return given if _SOUND_ID.fullmatch(given) else uuid.uuid4().hex

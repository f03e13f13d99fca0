"""Answers and failures to ASGI responses."""

import asyncio
import logging
import re
import uuid
from typing import Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.caching import NO_STORE
from server.errors import Internal, RequestError, Unavailable
from server.replies import JSON, Body, Headers, Reply

NOT_MODIFIED: Final = 304
REQUEST_ID: Final = "x-request-id"
TRACE: Final = "traceparent"
_SOUND_TRACE: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
"""As W3C's Trace Context has it; what a later version adds is left out."""
_SOUND_ID: Final = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)
_log = logging.getLogger("lifeboat.app")


def json_response(body: object) -> Response:
    """Return `body` as JSON, 200."""
    return Response(msgspec.json.encode(body), media_type=JSON)


def response(body: Body) -> Response:
    """Return an answer to be sent."""
    return _Response(Reply(body, JSON) if isinstance(body, bytes) else body)


class _Response(Response):
    """An answer, whose fields may stand there more than once, and may follow the body."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.body, reply.status)
        self._reply = reply

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        reply = self._reply
        fields = [(b"content-type", reply.media_type.encode()), *reply.headers]
        if reply.status == NOT_MODIFIED:  # of it and its length it tells no more than has changed: nothing
            fields = [*reply.headers]
        elif not reply.trailers:
            fields.append((b"content-length", b"%d" % len(reply.body)))
        trails = bool(reply.trailers)
        await send({"type": "http.response.start", "status": reply.status, "headers": fields, "trailers": trails})
        await send({"type": "http.response.body", "body": reply.body})
        if reply.trailers:
            await send({"type": "http.response.trailers", "headers": reply.trailers})


def envelope(error: RequestError) -> Reply:
    """Return the error envelope, with the status of its code; no cache keeps it."""
    fields = tuple((name.encode(), value.encode()) for name, value in error.headers.items())
    return Reply(error.envelope(), JSON, (*fields, NO_STORE), error.status)


def uncacheable(reply: Reply) -> Reply:
    """Return an answer that no cache keeps."""
    return reply._replace(headers=(*reply.headers, NO_STORE))


def failure(error: BaseException, headers: Headers) -> RequestError:
    """Return what the caller is told of `error`: of what nobody foresaw the request's id alone, the log all of it."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return Unavailable("the server is stopping; try again")
    request_id = _request_id(headers)
    _log.error("request %s failed%s", request_id, _trace(headers), exc_info=error)
    return Internal(f"internal error; request id {request_id}", headers={REQUEST_ID: request_id})


def _request_id(headers: Headers) -> str:
    given = dict(headers).get(REQUEST_ID.encode(), b"").decode("latin-1")
    return given if _SOUND_ID.fullmatch(given) else uuid.uuid4().hex


def _trace(headers: Headers) -> str:
    """Return the trace that a request is part of, as the log has it; nothing where none was given, or no sound one."""
    given = dict(headers).get(TRACE.encode(), b"").decode("latin-1")
    return f", traceparent {given}" if _SOUND_TRACE.fullmatch(given) else ""

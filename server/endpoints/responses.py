"""Answers and failures to ASGI responses."""

import asyncio
import logging
import re
import uuid
from typing import Final

import msgspec
from starlette.responses import Response

from server.endpoints.hot import Headers
from server.errors import Internal, RequestError, Unavailable
from server.replies import JSON, Body

REQUEST_ID: Final = "x-request-id"
_SOUND_ID: Final = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)
_log = logging.getLogger("lifeboat.app")


def json_response(body: object) -> Response:
    """Return `body` as JSON, 200."""
    return Response(msgspec.json.encode(body), media_type=JSON)


def response(body: Body) -> Response:
    """Return an answer, 200."""
    if isinstance(body, bytes):
        return Response(body, media_type=JSON)
    return Response(body.body, media_type=body.media_type, headers={n.decode(): v.decode() for n, v in body.headers})


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

"""ASGI responses for predictions and errors."""

import asyncio
import errno
import logging
from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.errors import Internal, RequestError, Unavailable, drop_tracebacks
from server.http.caching import NO_STORE, Tagged, etag_matches
from server.http.message import JSON, Body, Headers, HttpResponse
from server.http.request_context import REQUEST_ID, note, request_id, trace, trace_ids

NOT_MODIFIED: Final = 304
_NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE})
_log = logging.getLogger("lifeboat.app")


def json_response(body: object) -> Response:
    """Return a 200 response with `body` as JSON."""
    return Response(msgspec.json.encode(body), media_type=JSON)


def revalidated(request: Request, tagged: Tagged, media_type: str, headers: Mapping[str, str]) -> Response:
    """Return content that clients revalidate for each request.

    The response is 304 if the client has the content in its cache.
    """
    fields = {**headers, "etag": tagged.tag, "cache-control": "no-cache"}
    if etag_matches(request.headers.get("if-none-match", ""), fields["etag"]):
        return Response(status_code=NOT_MODIFIED, headers=fields)
    return Response(tagged.content, headers=fields, media_type=media_type)


def asgi_response(body: Body) -> Response:
    """Return an ASGI response for a body."""
    return _Response(HttpResponse(body, JSON) if isinstance(body, bytes) else body)


class _Response(Response):
    """An ASGI response with support for repeated headers and for trailers."""

    def __init__(self, response: HttpResponse) -> None:
        super().__init__(response.body, response.status)
        self._response = response

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        response = self._response
        fields = [(b"content-type", response.media_type.encode()), *response.headers]
        if response.status == NOT_MODIFIED:  # a 304 response has no content type or length
            fields = [*response.headers]
        elif not response.trailers:
            fields.append((b"content-length", b"%d" % len(response.body)))
        has_trailers = bool(response.trailers)
        await send(
            {"type": "http.response.start", "status": response.status, "headers": fields, "trailers": has_trailers}
        )
        await send({"type": "http.response.body", "body": response.body})
        if response.trailers:
            await send({"type": "http.response.trailers", "headers": response.trailers})


def envelope(error: RequestError) -> HttpResponse:
    """Return the uncacheable error envelope, with the HTTP status of its code."""
    note(error)
    fields = tuple((name.encode(), value.encode()) for name, value in error.headers.items())
    return HttpResponse(error.envelope(), JSON, (*fields, NO_STORE), error.status)


def uncacheable(response: HttpResponse) -> HttpResponse:
    """Return a response that caches must not store."""
    return response._replace(headers=(*response.headers, NO_STORE))


def failure(error: BaseException, headers: Headers) -> RequestError:
    """Return the error that the client receives for `error`.

    For an unexpected error, the client receives only the request ID, and the log gets the traceback.
    """
    try:
        return _as_request_error(error, headers)
    finally:
        drop_tracebacks(error)


def _as_request_error(error: BaseException, headers: Headers) -> RequestError:
    if isinstance(error, RequestError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return Unavailable("the server is stopping; try again")
    if isinstance(error, OSError) and error.errno in _NO_DESCRIPTOR:
        _log.warning("the process has no file descriptor left: %s", error)
        return Unavailable("the server has no file descriptor left; try again")
    log_id, context = request_id(headers), trace(headers)
    part = f", traceparent {context}" if context else ""
    details = {"request_id": log_id, **trace_ids(context)}
    _log.error("request %s failed%s", log_id, part, exc_info=error, extra={"fields": details})
    return Internal(f"internal error; request id {log_id}", headers={REQUEST_ID.decode(): log_id})

"""Answers and failures to ASGI responses."""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.caching import NO_STORE, has
from server.errors import Internal, RequestError, Unavailable
from server.observation import REQUEST_ID, note, request_id, trace, trace_ids
from server.replies import JSON, Body, Headers, Reply

NOT_MODIFIED: Final = 304
_log = logging.getLogger("lifeboat.app")


def json_response(body: object) -> Response:
    """Return `body` as JSON, 200."""
    return Response(msgspec.json.encode(body), media_type=JSON)


def revalidated(request: Request, content: bytes, media_type: str, headers: Mapping[str, str]) -> Response:
    """Return content that is kept and asked for anew each time, under its tag; 304 to who has it already."""
    fields = {**headers, "etag": f'"{hashlib.sha256(content).hexdigest()}"', "cache-control": "no-cache"}
    if has(request.headers.get("if-none-match", ""), fields["etag"]):
        return Response(status_code=NOT_MODIFIED, headers=fields)
    return Response(content, headers=fields, media_type=media_type)


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
    note(error)
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
    given, context = request_id(headers), trace(headers)
    part = f", traceparent {context}" if context else ""
    told = {"request_id": given, **trace_ids(context)}
    _log.error("request %s failed%s", given, part, exc_info=error, extra={"fields": told})
    return Internal(f"internal error; request id {given}", headers={REQUEST_ID.decode(): given})

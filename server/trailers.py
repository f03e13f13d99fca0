"""Ends of answers that uvicorn has no word for: trailers on HTTP/1.1, and an answer that is broken off."""

from collections.abc import Callable
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

EXTENSION = "http.response.trailers"
BREAK_OFF = "lifeboat.break_off"
"""In a scope's extensions: the `Ends` by which an answer is broken off, which is no fault to be logged."""


def takes_trailers(scope: Scope) -> bool:
    """Return whether the caller can read trailers, and whoever passes the answer on to it.

    In HTTP/1.1 only who says so by `TE: trailers` (RFC 9110, section 6.5.1). Some would read them as the begin of the
    next answer on the connection, and refuse that one: the Workers runtime does.
    """
    if scope["http_version"] == "2":
        return True
    given = b",".join([value for name, value in scope["headers"] if name == b"te"])
    return b"trailers" in [each.partition(b";")[0].strip().lower() for each in given.split(b",")]


class Ends(NamedTuple):
    """How to end in the middle of an answer."""

    close: Callable[[], None]
    """Sends what was written first."""
    abort: Callable[[], None]
    """Ends at once."""


class Trailing:
    """An application whose chunked answers may have trailers, as the ASGI extension has it."""

    def __init__(self, app: ASGIApp, cycle: RequestResponseCycle) -> None:
        """Answer by `app` on uvicorn's `cycle`."""
        self._app = app
        self._cycle = cycle
        self._expected = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        transport = self._cycle.transport
        ends = Ends(transport.close, transport.abort)
        scope.setdefault("extensions", {}).update({EXTENSION: {}, BREAK_OFF: ends})

        async def pass_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._expected = message.get("trailers", False)
            elif message["type"] == "http.response.body" and self._expected and not message.get("more_body", False):
                message = {**message, "more_body": True}  # the end of the body is written with the trailers
            elif message["type"] == EXTENSION:
                message = self._end(message)
            await send(message)

        await self._app(scope, receive, pass_on)

    def _end(self, message: Message) -> Message:
        """Return the last chunk and the trailers as what they are on the wire: bytes that uvicorn is to leave alone."""
        if not self._cycle.chunked_encoding:
            return {"type": "http.response.body"}
        fields = b"".join([name + b": " + value + b"\r\n" for name, value in message["headers"]])
        end = b"0\r\n" + fields + b"\r\n"
        self._cycle.chunked_encoding = False
        self._cycle.expected_content_length = len(end)
        return {"type": "http.response.body", "body": end}

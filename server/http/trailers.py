"""HTTP/1.1 features that uvicorn lacks: trailers, aborted responses, ended requests, slow rejections."""

import socket
from asyncio import Transport
from collections.abc import Callable
from typing import NamedTuple, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

EXTENSION = "http.response.trailers"
BREAK_OFF = "lifeboat.break_off"
"""Key of a scope's extensions: the `RequestControls` that abort a response without an error log."""

_ESTABLISHED = 1
"""First byte of Linux's TCP_INFO if neither side has closed the connection."""
_CLOSED = 7
"""The same, if the peer has reset the connection."""


def accepts_trailers(scope: Scope) -> bool:
    """Return True if the client and all proxies in between accept trailers.

    In HTTP/1.1 they must send `TE: trailers` (RFC 9110, section 6.5.1). Other clients may parse trailers as the start
    of the next response on the connection, and reject that response; the Workers runtime does so.
    """
    if scope["http_version"] == "2":
        return True
    te_header = b",".join([value for name, value in scope["headers"] if name == b"te"])
    return b"trailers" in [each.partition(b";")[0].strip().lower() for each in te_header.split(b",")]


class RequestControls(NamedTuple):
    """Functions that end a request early."""

    break_off: Callable[[], None]
    """Ends the response after the written bytes. The client detects that the response is incomplete."""
    slow_down: Callable[[], None] = lambda: None
    """Delays reading: the request was rejected, and its client may retry immediately."""
    lift_timeout: Callable[[], None] = lambda: None
    """Lifts the body timeout: the application controls the pace itself."""
    is_lost: Callable[[], bool] = lambda: False
    """Whether the client disconnected, even if earlier input is still unread."""
    cut_off: Callable[[], None] = lambda: None
    """Ends the request immediately when the event loop stops.

    uvicorn then expects nothing more from the application.
    """
    is_reset: Callable[[], bool] = lambda: False
    """Whether the client reset the connection. A client that has only closed its own side may still read."""


class Cycle(Protocol):
    """Interface of uvicorn's cycles, which hold the state of one request."""

    disconnected: bool


def cut_off(cycle: Cycle, transport: Transport) -> None:
    """End a request early, as if the client had disconnected.

    uvicorn then logs no incomplete response.
    """
    transport.abort()
    cycle.disconnected = True


def has_closed(transport: Transport) -> bool:
    """Return True if the peer has closed a connection.

    A transport with paused reading does not detect it.
    """
    return transport.is_closing() or _tcp_state(transport) != _ESTABLISHED


def is_reset(transport: Transport) -> bool:
    """Return True if the peer has reset a connection, also if its reading is paused.

    A connection that the server itself closes may still have responses to send.
    """
    return not transport.is_closing() and _tcp_state(transport) == _CLOSED


def _tcp_state(transport: Transport) -> int:
    """Return the state of a connection, as in Linux; `_ESTABLISHED` if it is unknown."""
    connection = transport.get_extra_info("socket")
    if connection is None or not hasattr(socket, "TCP_INFO"):
        return _ESTABLISHED
    try:
        return int(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0])
    except (OSError, ValueError):
        return _ESTABLISHED  # not TCP, or closed by the server


class TrailersApp:
    """ASGI application with support for trailers in chunked responses, as in the ASGI extension."""

    def __init__(self, app: ASGIApp, cycle: RequestResponseCycle, receive: Receive) -> None:
        """Call `app` with uvicorn's `cycle` and the body from `receive`."""
        self._app = app
        self._cycle = cycle
        self._receive = receive
        self._has_trailers = False

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Respond to a request."""

        async def send_with_trailers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._has_trailers = message.get("trailers", False)
            elif message["type"] == "http.response.body" and self._has_trailers and not message.get("more_body", False):
                message = {**message, "more_body": True}  # the end of the body is written with the trailers
            elif message["type"] == EXTENSION:
                message = self._end(message)
            await send(message)

        try:
            await self._app(scope, self._receive, send_with_trailers)
        finally:
            self._cycle.body = bytearray()  # uvicorn holds an unread body until the next request

    def _end(self, message: Message) -> Message:
        """Return the last chunk and the trailers as body bytes that uvicorn sends unchanged."""
        if not self._cycle.chunked_encoding:
            return {"type": "http.response.body"}
        fields = b"".join([name + b": " + value + b"\r\n" for name, value in message["headers"]])
        end = b"0\r\n" + fields + b"\r\n"
        self._cycle.chunked_encoding = False
        self._cycle.expected_content_length = len(end)
        return {"type": "http.response.body", "body": end}

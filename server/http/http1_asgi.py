"""Requests of an HTTP/1.1 connection that go to the ASGI application: bodies, turns and ends."""

import functools
from abc import abstractmethod
from typing import Any, Final, cast

from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.errors import RequestError, ResourceExhausted
from server.http import asgi_request
from server.http.exchange import Exchange, Shared
from server.http.held_bytes import HELD, HeldBody
from server.http.http1_parser import ParsingProtocol, ParsingStopped
from server.http.message import Headers
from server.http.trailers import BREAK_OFF, EXTENSION, RequestControls, TrailersApp, cut_off, has_closed, is_reset

_DISCONNECT: Final = {"type": "http.disconnect"}


class AsgiProtocol(ParsingProtocol):
    """uvicorn's protocol with counted bodies and support for half-closed connections."""

    def __init__(self, shared: Shared, **uvicorn_arguments: Any) -> None:  # noqa: ANN401
        """Start requests in the turns of `shared`."""
        super().__init__(shared, **uvicorn_arguments)
        self._turns = shared.turns
        self._oversized: tuple[RequestResponseCycle, ResourceExhausted | None] | None = None
        """The last request whose body exceeded the limit of held bytes.

        The rest of the body is dropped.
        """
        self._fully_read: RequestResponseCycle | None = None
        """The last request whose application has the whole body."""
        self._is_half_closed = False
        """Whether the client has closed its side of the connection."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of a connection, and release the requests that wait for their turn."""
        super().connection_lost(exc)
        self._turns.drop(self)
        for cycle, _ in self.pipeline:  # their applications never start
            held(cycle).release()
        self.pipeline.clear()

    def eof_received(self) -> bool:  # type: ignore[override] # the type in asyncio
        """Keep the connection open if the client closed its side after a complete request.

        Otherwise close it. A half-closed connection and a disconnected client look the same until the server writes.
        Therefore an application that waits for a disconnect receives `http.disconnect` in both cases.
        """
        cycle = self.cycle
        if cycle is None or isinstance(cycle, Exchange) or cycle.response_complete or cycle.more_body:
            return False
        self._is_half_closed = True
        cycle.keep_alive = False
        cycle.message_event.set()
        return True

    def leave_to_uvicorn(self, headers: Headers) -> None:
        """Pass the head of a request to uvicorn."""
        self.exchange = None
        if self.transport.is_closing():
            raise ParsingStopped
        url, expect_continue = self.url, self.expect_100_continue
        HttpToolsProtocol.on_message_begin(self)
        self.url, self.expect_100_continue = url, expect_continue
        self.headers.extend(headers)
        self.scope[HELD] = HeldBody(self.held)  # type: ignore[typeddict-unknown-key] # the application reads it
        HttpToolsProtocol.on_headers_complete(self)

    def pass_on(self, body: bytes) -> None:
        """Pass a body chunk to uvicorn, and count it until the application receives it."""
        cycle = self.cycle
        if cycle.response_complete or (self._oversized is not None and self._oversized[0] is cycle):
            return
        try:
            held(cycle).take(len(body))
        except ResourceExhausted as error:
            self._oversized = (cycle, error)
            cycle.message_event.set()
        else:
            HttpToolsProtocol.on_body(self, body)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 # type of uvicorn
        """Start the application as uvicorn does, with support for trailers and aborted requests."""
        transport = self.transport
        lift_timeout = functools.partial(setattr, self, "untimed", cycle)
        is_lost = functools.partial(has_closed, transport)
        end = functools.partial(cut_off, cycle, transport)
        slow_down = functools.partial(self.slow_down, cycle.scope["headers"])
        break_off, reset = functools.partial(self.break_off, cycle), functools.partial(is_reset, transport)
        ends = RequestControls(break_off, slow_down, lift_timeout, is_lost, end, reset)
        cast("dict[str, Any]", cycle.scope.setdefault("extensions", {})).update({EXTENSION: {}, BREAK_OFF: ends})
        trailing = TrailersApp(app, cycle, functools.partial(self._receive, cycle))
        super()._start_asgi_task(cycle, functools.partial(asgi_request.run, trailing, cycle, self._turns, self))

    async def _receive(self, cycle: RequestResponseCycle) -> Message:
        """Return the next message of a request.

        Raises the error of a request that is not read completely.
        """
        if self._is_half_closed and self._fully_read is cycle:
            return _DISCONNECT
        message = cast("Message", await cycle.receive())
        if not cycle.disconnected and (failure := self._body_error(cycle)) is not None:
            raise failure
        if self._is_half_closed and self._fully_read is cycle:
            return _DISCONNECT
        if not message.get("more_body", False):
            self._fully_read = cycle
        held(cycle).give_back(len(message.get("body", b"")))  # the application counts them from now on
        return message

    def _body_error(self, cycle: RequestResponseCycle) -> RequestError | None:
        if self._oversized is not None and self._oversized[0] is cycle:
            error, self._oversized = self._oversized[1], (cycle, None)  # raised once: its traceback holds the body
            return error
        return self.failure if cycle is self.cycle and cycle.more_body else None

    @abstractmethod
    def slow_down(self, headers: Headers) -> None:
        """Delay reading if rejections use more than their share of the CPU."""

    @abstractmethod
    def on_response_complete(self) -> None:
        """Continue with the next request, or wait for it."""


def held(cycle: RequestResponseCycle) -> HeldBody:
    """Return the counter of a request's held body bytes."""
    return cast("HeldBody", cycle.scope[HELD])  # type: ignore[typeddict-item]

"""One HTTP/2 stream: a fast path request, or the body for an ASGI application."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import zttp
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.zttp_h2_impl import RequestResponseCycle
from uvicorn.server import ServerState

from server.errors import Canceled, RequestError
from server.http import asgi_request
from server.http.exchange import Exchange
from server.http.handler import FastPathHandler
from server.http.held_bytes import HELD, HeldBody, HeldBytes
from server.http.message import JSON, Body, Headers, HttpResponse
from server.http.request_turns import RequestTurns
from server.http.trailers import BREAK_OFF, RequestControls, cut_off, has_closed, is_reset

_INBOUND: Final = "lifeboat.inbound"
"""Key of a request's InboundBody in the extensions of its ASGI scope."""


class Connection(Protocol):
    """Interface that a stream needs from its connection."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    server_state: ServerState
    conn: zttp.H2Connection

    def on_response_complete(self, stream_id: int) -> None:
        """Continue with the connection's other streams."""

    def leave_to_uvicorn(self, exchange: "Http2Exchange") -> None:
        """Pass a request to uvicorn after a part of its body was read."""


class Http2Exchange(Exchange):
    """A request on the fast path. uvicorn's protocol uses it like its own cycle."""

    __slots__ = ("body", "connection", "event", "held", "more_body", "stream")

    def __init__(
        self,
        connection: Connection,
        event: zttp.Request,
        handler: FastPathHandler | None,
        headers: Headers,
        head: Any = None,  # noqa: ANN401
    ) -> None:
        """Create an exchange for the request of `event`."""
        super().__init__(connection.loop, handler, headers, head)
        self.connection = connection
        self.event = event
        self.stream = connection.conn.stream(event.stream_id)
        self.body = bytearray()
        self.more_body = True
        self.held: HeldBody | None = None
        """Counter of the held body bytes; None if the body arrived in one read."""

    def set(self) -> None:
        """Process the received body.

        Submit the request if the body is complete. Pass the request to uvicorn if the body is large.
        """
        if self.handler is None or self.response_complete:
            return
        if self.disconnected:
            if self.more_body:
                self.handler.fail(Canceled("the client disconnected before the request was complete"), self.head)
            self.end()
        elif len(self.body) > self.handler.max_short_bytes:
            self.connection.leave_to_uvicorn(self)
        elif not self.more_body:
            self.submit(bytes(self.body))

    def hold(self, total: HeldBytes) -> None:
        """Count the received bytes of an incomplete body in `total`. Raises ResourceExhausted."""
        if self.held is None:
            self.held = HeldBody(total)
        self.held.take(len(self.body) - self.held.size)

    def reject(self, error: RequestError) -> None:
        """Respond with `error` to an incomplete request."""
        if self.handler is not None:
            self.handler.fail(error, self.head)
        self.deliver(error)

    def end(self) -> None:
        """Mark the response as complete, and release the body."""
        super().end()
        if self.held is not None:
            self.held.release()

    def is_disconnected(self) -> bool:
        """Return True if the response is complete, or the stream or the connection is closed."""
        return self.response_complete or self.disconnected or self.connection.transport.is_closing()

    def reject_message(self, error: RequestError) -> None:
        """Respond with `error`; the rest of the stream is ignored."""
        self.reject(error)

    def write(self, response: Body) -> None:
        """Write a response, and continue with the connection's other streams."""
        response = HttpResponse(response, JSON) if isinstance(response, bytes) else response
        stream, connection = self.stream, self.connection
        fields = [
            *connection.server_state.default_headers,
            (b"content-type", response.media_type.encode()),
            *response.headers,
        ]
        if not response.trailers:
            fields.append((b"content-length", b"%d" % len(response.body)))
        stream.send_response(response.status, fields)
        if response.body:
            stream.send_data(response.body)
        stream.end_message([*response.trailers] or None)
        connection.transport.write(connection.conn.data_to_send())
        connection.on_response_complete(stream.stream_id)


class InboundBody:
    """Request body for an ASGI application, with a memory count and a timeout."""

    def __init__(self, cycle: RequestResponseCycle, total: HeldBytes, slow_down: Callable[[], None]) -> None:
        """Count the bytes for `cycle` in `total`, and let its application abort the response.

        `slow_down` is called for a rejected request.
        """
        self.cycle = cycle
        self._held = HeldBody(total)
        self._failure: RequestError | None = None
        """Error that the application has not received yet."""
        self._is_failed = False
        self.is_timed = True
        """Whether the body timeout applies. A file or a stream controls its own pace."""
        cycle.scope[HELD] = self._held  # type: ignore[typeddict-unknown-key] # the application reads it
        extensions = cast("dict[str, Any]", cycle.scope.setdefault("extensions", {}))
        extensions[_INBOUND] = self
        abort = functools.partial(cut_off, cycle, cycle.transport)
        has_reset = functools.partial(is_reset, cycle.transport)
        extensions[BREAK_OFF] = RequestControls(
            cycle.abort_stream, slow_down, self._lift_timeout, self._is_lost, abort, has_reset
        )

    def _is_lost(self) -> bool:
        return self.cycle.disconnected or has_closed(self.cycle.transport)

    def _lift_timeout(self) -> None:
        self.is_timed = False

    def take(self, data: bytes | bytearray) -> None:
        """Add a chunk. Fail the request if all held bodies together exceed the limit."""
        if self._is_failed:
            return
        try:
            self._held.take(len(data))
        except RequestError as error:
            self.fail(error)
        else:
            self.cycle.body += data
            self.cycle.message_event.set()

    def fail(self, error: RequestError) -> None:
        """Raise `error` in the application's next receive, and drop further bytes."""
        if not self._is_failed:
            self._is_failed = True
            self._failure = error
            self.cycle.body.clear()
            self.cycle.message_event.set()

    async def receive(self) -> Message:
        """Return the next message. Raises the error of a request that was rejected while incomplete."""
        cycle = self.cycle
        message = cast("Message", await cycle.receive())
        if message["type"] == "http.request":
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            self._held.give_back(len(message["body"]))  # the application counts them from now on
        return message


def inbound(cycle: object) -> InboundBody | None:
    """Return the InboundBody of a uvicorn cycle; None for a request on the fast path."""
    if not isinstance(cycle, RequestResponseCycle):
        return None
    extensions = cast("dict[str, InboundBody]", cycle.scope["extensions"])
    return extensions[_INBOUND]


class Inbound:
    """ASGI wrapper that starts the requests of a connection in turn and raises body errors."""

    def __init__(self, app: ASGIApp, turns: RequestTurns) -> None:
        """Pass requests to `app`, in the order of `turns`."""
        self._app = app
        self._turns = turns

    def drop(self) -> None:
        """End the waits of the connection's requests: the connection is lost."""
        self._turns.drop(self)

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Respond to a request."""
        self._turns.expected -= 1
        body: InboundBody = scope["extensions"][_INBOUND]
        await asgi_request.run(self._app, body.cycle, self._turns, self, scope, body.receive, send)

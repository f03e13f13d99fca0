"""HTTP/1.1 parser of one connection: rejects messages that exceed limits, and ignores upgrades."""

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

import httptools
from uvicorn.protocols.http.flow_control import FlowControl

from server.errors import Canceled, InvalidArgument, PayloadTooLarge, RequestError, RequestTimeout, ResourceExhausted
from server.http import framing
from server.http.exchange import Exchange, Http1Exchange, Shared
from server.http.http1_timeouts import TimedProtocol
from server.http.trailers import Cycle

if TYPE_CHECKING:
    from server.http.message import Headers

_NOT_HTTP: Final = "request: expected HTTP/1.1: a request line, headers and a body as they state it"
_TURN_S: Final = 0.005
"""Maximum seconds of parsing for one connection per turn of the event loop."""
_LINGER_S: Final = 1.0
"""Seconds a client has to close the connection after a rejected request.

Received bytes are dropped.
"""
_EMPTY: Final = memoryview(b"")
_SLICE_BYTES: Final = 16 * 1024
"""Maximum bytes per parser call: limits and pipelined requests are checked after each slice."""


class ParsingStopped(Exception):  # not an error: it stops the parser
    """Raised to stop the parsing of a connection."""


class Flow(FlowControl):
    """uvicorn's flow control, but reading stays paused while pipelined requests wait.

    uvicorn resumes reading for each request that it starts. A client that sends and never reads
    would then fill the memory.
    """

    def __init__(self, transport: asyncio.Transport, pipeline: Collection[object]) -> None:
        super().__init__(transport)
        self._pipeline = pipeline
        self.unparsed = _EMPTY
        """Received bytes that are parsed after the requests before them have started."""

    def resume_reading(self) -> None:
        """Resume reading, unless requests wait."""
        if not self._pipeline and not self.unparsed:
            super().resume_reading()


class Trailers(list[tuple[bytes, bytes]]):
    """List of header fields after the head. It counts and drops trailers (RFC 9110, 6.5.1)."""

    def __init__(self, count: Callable[[int], None]) -> None:
        super().__init__()
        self._count = count

    def append(self, field: tuple[bytes, bytes]) -> None:
        """Count a trailer."""
        self._count(len(field[0]) + len(field[1]) + 4)


class _IgnoringParser(httptools.HttpRequestParser):
    """Parser that ignores its input, for a connection after its last message."""

    def feed_data(self, data: object) -> None:
        """Ignore received bytes."""


class _ClosingTransport:
    """Transport for uvicorn's cycle on a connection that closes after a rejected request."""

    def __init__(self, protocol: "ParsingProtocol") -> None:
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing
        self.close = protocol.close


class ParsingProtocol(TimedProtocol):
    """uvicorn's protocol with limits for heads, chunk extensions and trailers, and with framing checks."""

    def __init__(self, shared: Shared, **uvicorn_arguments: Any) -> None:  # noqa: ANN401
        """Reject heads, chunk extensions and trailers that exceed the limit of `shared.settings`."""
        super().__init__(shared.settings.body_timeout_s, **uvicorn_arguments)
        self.max_header_bytes = shared.settings.max_header_bytes
        self._slice_bytes = min(_SLICE_BYTES, self.max_header_bytes)
        self.surely_short_bytes = self.max_header_bytes - self._slice_bytes
        """Counted bytes up to which a head is surely within the limit.

        Its first slice may not be counted.
        """
        self.heads = shared.heads
        self.held = shared.held
        self._no_headers = self.headers = []
        self.trailers: list[tuple[bytes, bytes]] = Trailers(self._count_trailer)
        """Value of `headers` while no head is being parsed."""
        self.trailer_bytes = 0
        self.unread_bytes = 0
        """Bytes received since the last complete head or body chunk.

        They belong to a head, chunk framing or trailers.
        """
        self.flow: Flow
        self.exchange: Http1Exchange | None = None
        """The request whose body the fast path is reading."""
        self.failure: RequestError | None = None
        """Why the connection's last request was rejected while incomplete. Parsing has stopped."""
        self._waiting_headers: Headers | None = None
        """The headers of a rejected request that waits for the response before it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Start a connection."""
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of a connection, and drop unparsed bytes."""
        super().connection_lost(exc)
        self.headers = self.trailers = []  # breaks the reference cycle of the previous list and this connection
        self.flow.unparsed = _EMPTY

    def data_received(self, data: bytes | memoryview) -> None:
        """Parse received bytes."""
        if len(data) > self._slice_bytes:
            self._parse_slices(memoryview(data))
            return
        self.data_s = self.loop.time()
        self.unread_bytes += len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._ignore_upgrade(memoryview(data)[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.reject(InvalidArgument(_NOT_HTTP))
            return
        if self.unread_bytes > self.max_header_bytes:
            self.reject(self.too_long_error())
        elif self.exchange is not None:
            self._hold(self.exchange)

    def _parse_slices(self, data: memoryview) -> None:
        """Parse a large read in slices, for a limited time.

        Bytes after waiting requests are parsed later.
        """
        until_s = self.loop.time() + _TURN_S
        while data and not self.pipeline and self.failure is None:
            if self.loop.time() > until_s:  # many small chunks: give other connections a turn
                self.flow.pause_reading()
                self.loop.call_soon(self.parse_rest)
                break
            part, data = data[: self._slice_bytes], data[self._slice_bytes :]
            self.data_received(part)
        if self.failure is None:
            self.flow.unparsed = data or _EMPTY  # an empty slice would keep the whole buffer alive

    def _ignore_upgrade(self, data: memoryview) -> None:
        """Ignore an upgrade request, and continue to parse.

        The parser treats the following bytes as another protocol. A new parser reads the head without the upgrade,
        and then continues.
        """
        while True:
            parser = self.parser
            head = framing.without_upgrade(parser.get_method(), self.url, parser.get_http_version(), self.headers)
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # the setting that uvicorn uses
            try:
                self.parser.feed_data(head)
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:  # a later request also requests an upgrade
                data = data[upgrade.args[0] :]
            else:
                return

    def _count_trailer(self, size: int) -> None:
        self.trailer_bytes += size
        if self.trailer_bytes > self.max_header_bytes:
            self.reject_and_stop(self.too_long_error())

    def too_long_error(self) -> PayloadTooLarge:
        """Return the error for a head, or for chunk framing, that exceeds the limit."""
        part = "trailers and chunk extensions" if self.headers is self.trailers else "headers"
        return PayloadTooLarge(f"{part}: expected at most {self.max_header_bytes} bytes", field="headers")

    def time_out(self) -> None:
        """Reject the current message. Close the connection if no message has started."""
        if self.headers is self._no_headers:
            self.transport.close()
        else:
            message = f"request: expected its head and body within {self._body_timeout_s} s"
            self.reject(RequestTimeout(message))

    def reject_and_stop(self, error: RequestError) -> NoReturn:
        """Reject the current message, and stop the parser."""
        self.reject(error)
        raise ParsingStopped

    def reject(self, error: RequestError) -> None:
        """Respond with `error` to the current message, after the responses before it; then close.

        Parsing stops, because the start of the next request is unknown.
        """
        if self.failure is not None or self.transport.is_closing():
            return
        self.failure = error
        self.parser = _IgnoringParser(None)
        is_body = self.headers is self.trailers and self.receiving_since_s is not None
        self.receiving_since_s = None
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.close_after_response()
            exchange.reject(error)
        elif self.cycle is not None and not self.cycle.response_complete:
            is_complete = isinstance(self.cycle, Exchange) or not self.cycle.more_body
            if not isinstance(self.cycle, Exchange):
                self.cycle.transport = cast("asyncio.Transport", _ClosingTransport(self))
            if is_complete and self.cycle.keep_alive:
                self._waiting_headers = self.headers
                return
            self.cycle.keep_alive = False
            self.cycle.message_event.set()  # the application gets the error if it waits for this body
        elif is_body:
            self.transport.close()  # the response is complete
        else:
            Http1Exchange(self, None, self.headers, keep_alive=False).deliver(error)

    def reject_waiting(self) -> None:
        """Respond to a request that was rejected while the response before it was incomplete."""
        headers, self._waiting_headers = self._waiting_headers, None
        if headers is not None and self.failure is not None and self.cycle.keep_alive:
            Http1Exchange(self, None, headers, keep_alive=False).deliver(self.failure)

    def close(self) -> None:
        """Close the connection. After a rejected request, give the client time to read the response.

        Bytes that arrive on a closed socket reset the connection, and the client may lose unread bytes (RFC 9112, 9.6).
        """
        if self.failure is None:
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write_eof()
            self.loop.call_later(_LINGER_S, self.transport.close)

    def break_off(self, cycle: Cycle) -> None:
        """Close the connection in the middle of the response of `cycle`; its application has finished.

        The client has time to read the written bytes. Bytes that it still sends are dropped, as after a
        rejected request.
        """
        cycle.disconnected = True
        if not self.transport.is_closing():
            self.failure = self.failure or Canceled("the response was broken off")
            self.parser = _IgnoringParser(None)
            self.flow.unparsed = _EMPTY
            self.flow.resume_reading()
            self.transport.write_eof()
            self.loop.call_later(_LINGER_S, self.transport.abort)

    def parse_rest(self) -> None:
        """Parse bytes that waited until the requests before them had started."""
        data, self.flow.unparsed = self.flow.unparsed, _EMPTY
        if self.parser is not None:
            self._parse_slices(data)
            self.flow.resume_reading()

    def _hold(self, exchange: Http1Exchange) -> None:
        """Count the received bytes of an incomplete body.

        If they exceed the limit, reject the request and drop the rest of its body.
        """
        try:
            exchange.hold(self.held)
        except ResourceExhausted as error:
            self.exchange = None
            exchange.reject(error)

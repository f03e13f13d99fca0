"""HTTP/2 protocol (cleartext) for uvicorn, with a fast path for small predictions.

The fast path is the one of `server.http.http1`: a plain POST with a small body to a path that is registered at load
bypasses ASGI. `server.http.http2_frames` checks frames before zttp reads them; `server.http.http2_connection` enforces
timeouts.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import Any, Final, cast

import zttp
from uvicorn.protocols.http.auto_zttp_impl import HTTP2_PREFACE, AutoZttpProtocol
from uvicorn.protocols.http.zttp_h2_impl import RequestResponseCycle

from server.errors import InvalidArgument, PayloadTooLarge, RequestError, ResourceExhausted
from server.http.exchange import Shared
from server.http.handler import FastPathHandler
from server.http.http2_connection import Connection
from server.http.http2_fields import MAX_LIST_BYTES
from server.http.http2_frames import FrameError
from server.http.http2_streams import Http2Exchange, Inbound, InboundBody, inbound
from server.http.message import Headers
from server.http.responses import envelope
from server.http.routes import is_call

_MAX_STREAMS: Final = 3_840
"""Maximum number of requests on a connection.

zttp closes a connection at 4,096 requests, and some hundreds may be in transit.
"""
_MAX_RESETS: Final = 192
"""Maximum number of stream resets on a connection: zttp closes it at 256."""
_NO_FIELD: Final = (b"", b"")
_MAX_UNFINISHED: Final = 64
"""Maximum number of responses to incomplete requests: each may occupy one of 128 streams permanently."""


class AnyVersion(AutoZttpProtocol):
    """Connection with unknown protocol: HTTP/2 if it starts with the HTTP/2 preface."""

    def __init__(
        self,
        http1: Callable[..., asyncio.Protocol],
        http2: Callable[..., asyncio.Protocol],
        preface_timeout_s: float,
        **uvicorn_arguments: Any,  # noqa: ANN401
    ) -> None:
        """Create the protocol with `http1` or `http2` when the first bytes arrive.

        Close the connection if they do not arrive within `preface_timeout_s`.
        """
        super().__init__(**uvicorn_arguments)
        self._http1 = http1
        self._http2 = http2
        self._preface_timeout_s = preface_timeout_s

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Wait for the first bytes."""
        super().connection_made(transport)
        if self.timeout_task is not None:
            self.timeout_task.cancel()
            self.timeout_task = self.loop.call_later(self._preface_timeout_s, transport.close)

    def _switch(self, http2: bool, initial_data: bytes = b"") -> None:  # the signature that uvicorn calls
        create_protocol = self._http2 if http2 else self._http1
        protocol = create_protocol(config=self.config, server_state=self.server_state, app_state=self.app_state)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if initial_data:
            protocol.data_received(initial_data.removeprefix(HTTP2_PREFACE) if http2 else initial_data)


class Http2Protocol(Connection):
    """uvicorn's protocol with a fast path, and limits for clients that misbehave.

    Such clients violate rules or do not read.
    """

    def __init__(
        self,
        shared: Shared,
        **uvicorn_arguments: Any,  # noqa: ANN401
    ) -> None:
        """Handle POST requests to the paths in `shared.fast_path_handlers` on the fast path."""
        super().__init__(shared, **uvicorn_arguments)
        self._fast_path_handlers = shared.fast_path_handlers
        self._max_header_bytes = shared.settings.max_header_bytes
        self._checks_head_sizes = self._max_header_bytes < MAX_LIST_BYTES
        """Whether a head that zttp decodes can exceed the limit."""
        self._turns = shared.turns
        self.app = self._inbound = Inbound(self.app, shared.turns)
        self._reject_call = shared.reject_call

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of a connection, and release the requests that wait for their turn."""
        super().connection_lost(exc)
        self._inbound.drop()

    def handle_events(self) -> None:
        """Handle the events of the connection and its streams.

        An error of one stream ends only that stream.
        """
        conn, cycles = self.conn, self.cycles
        grown: list[Http2Exchange] = []
        while (event := conn.next_event()) is not zttp.NEED_DATA:
            try:
                if isinstance(event, zttp.Data):
                    cycle = cycles.get(event.stream_id)
                    if isinstance(cycle, Http2Exchange):
                        cycle.body += event.data
                        grown.append(cycle)
                    elif cycle is not None:
                        self._pass_on(cycle, event.data)
                elif isinstance(event, zttp.Request):
                    self.handle_request(event)
                elif isinstance(event, zttp.EndOfMessage):
                    self._handle_end(event)
                else:
                    self._handle_other(event)
            except FrameError:
                raise
            except Exception as error:  # noqa: BLE001 # an error ends one stream, not the others
                self.reset(getattr(event, "stream_id", 0), error)
        if grown:
            self.hold_grown(grown)

    def _handle_end(self, event: zttp.EndOfMessage) -> None:
        """Handle the end of a request: submit it to its handler."""
        cycle = self.cycles.get(event.stream_id)
        if cycle is not None:
            if event.trailers or self.frames.shrunk:
                self._count_trailers(event, cycle)
            cycle.more_body = False
            cycle.message_event.set()

    def _handle_other(self, event: zttp.Event) -> None:
        """Handle an event that is not part of a request.

        zttp handles other frames and the windows.
        """
        if isinstance(event, zttp.RstStream):
            self.handle_rst_stream(event)
        elif isinstance(event, zttp.GoAway):
            self.shutdown_requested = True
            if not self.cycles:
                self._close_connection()

    def _pass_on(self, cycle: RequestResponseCycle, data: bytes) -> None:
        """Add a chunk to a body that an ASGI application reads."""
        body = inbound(cycle)
        if body is not None and not cycle.response_complete:
            body.take(data)
            self.pause_if_full(cycle)

    def _count_trailers(self, event: zttp.EndOfMessage, cycle: RequestResponseCycle | Http2Exchange) -> None:
        """Reject a request if its trailers exceed the header limit. Trailers are always dropped."""
        if not self._is_too_long(event.stream_id, event.trailers):
            return
        error = PayloadTooLarge(f"trailers: expected at most {self._max_header_bytes} bytes", field="headers")
        if isinstance(cycle, Http2Exchange):
            cycle.reject(error)
        elif (body := inbound(cycle)) is not None:
            body.fail(error)

    def _is_too_long(self, stream_id: int, fields: Headers) -> bool:
        """Return True if a head or trailers exceed the limit."""
        if stream_id in self.frames.shrunk:
            self.frames.shrunk.discard(stream_id)
            return True
        return sum(len(name) + len(value) for name, value in fields) > self._max_header_bytes

    def handle_request(self, event: zttp.Request) -> None:
        """Start a request, unless GOAWAY was sent before it."""
        if self.has_sent_goaway:
            return
        stream_id = self.last_stream_id = event.stream_id
        self.streams += 1
        self._begin(event, stream_id)
        if (
            event.end_stream and (cycle := self.cycles.get(stream_id)) is not None
        ):  # zttp sends no event for a request without a body
            cycle.more_body = False
            cycle.message_event.set()
        if self.streams >= _MAX_STREAMS or self.unfinished >= _MAX_UNFINISHED:
            self.send_goaway()

    def handle_rst_stream(self, event: zttp.RstStream) -> None:
        """Drop a request that the client cancelled or zttp rejected."""
        super().handle_rst_stream(event)
        self.frames.budget.spend(1)
        self.resets += 1
        if self.resets >= _MAX_RESETS:
            self.send_goaway()

    def _begin(self, event: zttp.Request, stream_id: int) -> None:
        """Start a request: on the fast path if its head is plain."""
        headers = cast("list[tuple[bytes, bytes]]", event.headers)  # names are in lower case (RFC 9113, 8.2.1)
        name, host = headers[-1] if headers else _NO_FIELD
        if name != b"host" or not host or self._checks_head_sizes or self.frames.shrunk:
            error = self._head_error(event, headers)
            if error is not None:
                self._reject(event, headers, error)
                return
        path = event.path
        handler = self._fast_path_handlers.get(path.decode("latin-1")) if event.method == b"POST" else None
        head = None if handler is None or self.flow.write_paused else handler.accept_headers(headers, http2=True)
        if head is not None:
            exchange = Http2Exchange(self, event, handler, headers, head)
            self.cycles[stream_id] = exchange  # type: ignore[assignment] # has all attributes that are used
        elif path.isascii() and event.method.isascii():
            if self._turns.is_full:
                self._reject(event, headers, ResourceExhausted("too many requests wait; try again"))
            elif handler is None or not self._reject_if_full(event, handler, headers):
                self._pass_to_uvicorn(event)
        else:
            self._reject(event, headers, InvalidArgument("path: expected a method and a path in ASCII"))

    def _reject_if_full(self, event: zttp.Request, handler: FastPathHandler, headers: Headers) -> bool:
        """Reject a large request if the queue has no room; its body is dropped."""
        try:
            handler.admit(headers)
        except ResourceExhausted as error:
            self._reject(event, headers, error)
            self.slow_down(headers)
            return True
        return False

    def _head_error(self, event: zttp.Request, headers: list[tuple[bytes, bytes]]) -> RequestError | None:
        """Return the error of a request whose head is invalid, or None."""
        if self._is_too_long(event.stream_id, headers):
            return PayloadTooLarge(f"headers: expected at most {self._max_header_bytes} bytes", field="headers")
        if not headers or headers[-1][0] != b"host" or not headers[-1][1]:  # zttp puts it last, as it does :authority
            return InvalidArgument("host: expected one header; got 0", field="host")
        return None

    def _pass_to_uvicorn(self, event: zttp.Request) -> None:
        """Start a request in uvicorn.

        The request was accepted: a pending shutdown of the connection applies only to later requests.
        """
        was_shutdown_requested, self.shutdown_requested = self.shutdown_requested, False
        super().handle_request(event)
        self._turns.expected += 1
        self.shutdown_requested = was_shutdown_requested
        slow_down = functools.partial(self.slow_down, cast("Headers", event.headers))
        # The application starts in the next turn of the event loop.
        InboundBody(self.cycles[event.stream_id], self.held, slow_down)

    def _reject(self, event: zttp.Request, headers: Headers, error: RequestError) -> None:
        """Respond with `error` in the format of the request's path, and ignore the body."""
        exchange = Http2Exchange(self, event, None, headers)
        self.cycles[event.stream_id] = exchange  # type: ignore[assignment] # has all attributes that are used
        exchange.more_body = not event.end_stream
        exchange.end()
        is_rpc = event.path.isascii() and event.method == b"POST" and is_call(event.path.decode("ascii"))
        exchange.write(self._reject_call(error, headers) if is_rpc else envelope(error))

    def leave_to_uvicorn(self, exchange: "Http2Exchange") -> None:
        """Pass a request to uvicorn after a part of its body was read."""
        exchange.end()
        self._pass_to_uvicorn(exchange.event)
        cycle = self.cycles[exchange.stream.stream_id]
        cycle.more_body = exchange.more_body
        if (body := inbound(cycle)) is not None:
            body.take(exchange.body)
            self.pause_if_full(cycle)

    def shutdown(self) -> None:
        """Start to drain: queued requests get their responses, or an error at the drain deadline."""
        self.draining.begin()
        for exchange in self.cycles.values():
            if isinstance(exchange, Http2Exchange):
                task = self.loop.create_task(exchange.wait_until_complete())
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
        self.send_goaway()

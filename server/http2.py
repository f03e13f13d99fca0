"""Bytes on a connection of cleartext HTTP/2 to requests and back: uvicorn's, with the short way for small predictions.

The short way is that of `server.protocol`: a plain POST of a small body to a path known at load goes without ASGI.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import zttp
from uvicorn.protocols.http.auto_zttp_impl import AutoZttpProtocol
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.zttp_h2_impl import ZttpH2Protocol

from server.draining import Draining
from server.errors import Canceled, InvalidArgument, PayloadTooLarge, RequestError
from server.exchange import Exchange
from server.hot import Prediction
from server.replies import JSON, Body, Headers, Reply
from server.trailers import BREAK_OFF, Ends

_MAX_STREAMS: Final = 3_840
"""Requests a connection is for: zttp breaks one at 4,096, of which some hundreds may be on their way."""
_LINGER_S: Final = 2.0
"""How long a caller has to close a connection of which it was told that it has ended."""
_PARKED_BYTES: Final = 256 * 1024
"""How much may wait for a caller's window before no more is made for it."""
_LINGERS: Final = 15
"""So many times as long, where it still has to take the last answers."""
_MAX_RESETS: Final = 192
"""Requests whose callers may leave: zttp breaks the connection at 256."""


class AnyVersion(AutoZttpProtocol):
    """A connection of which it isn't known yet what it speaks: HTTP/2 where it begins with that one's preface."""

    def __init__(
        self,
        http1: Callable[..., asyncio.Protocol],
        http2: Callable[..., asyncio.Protocol],
        **of_uvicorn: Any,  # noqa: ANN401
    ) -> None:
        """Hand the connection to what `http1` or `http2` makes."""
        super().__init__(**of_uvicorn)
        self._http1 = http1
        self._http2 = http2

    def _switch(self, http2: bool, initial_data: bytes = b"") -> None:  # as uvicorn calls it
        make = self._http2 if http2 else self._http1
        spoken = make(config=self.config, server_state=self.server_state, app_state=self.app_state)
        self.transport.set_protocol(spoken)
        spoken.connection_made(self.transport)
        if initial_data:
            spoken.data_received(initial_data)


class _Flow(FlowControl):
    """uvicorn's flow control, but that it also waits for a caller that lets nothing through its window.

    What the window doesn't take is parked in memory: of whoever never opens it there would be no end.
    """

    def __init__(self, transport: asyncio.Transport, parked_bytes: Callable[[], int]) -> None:
        super().__init__(transport)
        self._parked_bytes = parked_bytes

    async def drain(self) -> None:
        """Return when the transport takes more, and the window has taken most of what was parked."""
        while True:
            await super().drain()
            if self._transport.is_closing() or self._parked_bytes() <= _PARKED_BYTES:
                return
            self._is_writable_event.clear()

    def look(self) -> None:
        """Wake who waits: something came of the caller, a wider window maybe."""
        if not self._paused:
            self._is_writable_event.set()

    @property
    def write_paused(self) -> bool:
        """Whether who has something to send is to wait."""
        return self._paused or self._parked_bytes() > _PARKED_BYTES

    @write_paused.setter
    def write_paused(self, paused: bool) -> None:
        self._paused = paused

    def pause_writing(self) -> None:
        """Wait for the transport."""
        self._paused = True
        self._is_writable_event.clear()

    def resume_writing(self) -> None:
        """Wait for it no longer."""
        self._paused = False
        self._is_writable_event.set()


class Http2Protocol(ZttpH2Protocol):
    """uvicorn's own protocol, but for small predictions, and for callers that don't read."""

    def __init__(
        self,
        hot: Mapping[str, Prediction],
        draining: Draining,
        max_header_bytes: int,
        **of_uvicorn: Any,  # noqa: ANN401
    ) -> None:
        """Answer by the short way what is posted to a path in `hot`; a longer head than that is refused."""
        super().__init__(**of_uvicorn)
        self._draining = draining
        self._hot = hot
        self._max_header_bytes = max_header_bytes
        self.flow: _Flow
        self._parked: list[zttp.Stream] = []
        """Streams that are answered, when there was something that waited for the caller's window."""
        self._streams = 0
        self._resets = 0
        self._last_stream_id = 0
        self._idle_since = 0.0
        self._lingers = False
        self._went_away = False
        """Whether the caller was told that the last request so far is the last one that is answered."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin to serve a connection."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self._parked_bytes)

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        super().data_received(data)
        self.flow.look()

    def _parked_bytes(self) -> int:
        """Return how much waits for the caller's window."""
        if not self.conn.has_pending_send():
            self._parked.clear()
            return 0
        streams = [*self._parked, *(cycle.stream for cycle in self.cycles.values())]
        return sum(stream.pending_bytes or 0 for stream in streams)

    def on_response_complete(self, stream_id: int) -> None:
        """Forget a request that is answered, but not what of the answer waits for the window."""
        cycle = self.cycles.get(stream_id)
        if cycle is not None and self.conn.has_pending_send():
            self._parked.append(cycle.stream)
        super().on_response_complete(stream_id)

    def handle_request(self, event: zttp.Request) -> None:
        """Begin a request, unless its caller was told to send it elsewhere."""
        if self._went_away:
            return
        self._last_stream_id = event.stream_id
        self._begin(event)
        self._streams += 1
        if self._streams >= _MAX_STREAMS:
            self._go_away()

    def handle_rst_stream(self, event: zttp.RstStream) -> None:
        """Forget a request whose caller left."""
        super().handle_rst_stream(event)
        self._resets += 1
        if self._resets >= _MAX_RESETS:
            self._go_away()

    def _go_away(self) -> None:
        """Tell the caller that what it sent so far is answered, and to send the rest on another connection."""
        if self._went_away or self.transport.is_closing():
            return
        self._went_away = True
        self.conn.close(0, self._last_stream_id)  # NO_ERROR (RFC 9113, 6.8)
        self.flush()
        super().shutdown()  # ends the connection once the last one is answered

    def _close_connection(self) -> None:
        """Close the connection: by a GOAWAY first, and after a while in which its caller may close it.

        What the caller has sent meanwhile would break it otherwise, before the last answers are read.
        """
        if not self._went_away:
            self._go_away()
        elif not self._lingers:
            self._lingers = True
            super()._unset_keepalive_if_required()
            self._linger(_LINGERS)

    def _linger(self, left: int) -> None:
        """Close the connection when its caller has had time to, and has taken what waits for its window."""
        if not left or (left < _LINGERS and not self.conn.has_pending_send()):
            self.transport.close()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(_LINGER_S, self._linger, left - 1)

    def _begin(self, event: zttp.Request) -> None:
        """Begin a request: by the short way where it is plain, as far as its head tells."""
        headers: list[tuple[bytes, bytes]] = [*event.headers]  # in lower case: HTTP/2 has no other (RFC 9113, 8.2.1)
        if sum(len(name) + len(value) for name, value in headers) > self._max_header_bytes:
            words = f"headers: expected at most {self._max_header_bytes} bytes"
            self._refuse(event, headers, PayloadTooLarge(words, field="headers"))
            return
        if not (event.path.isascii() and event.method.isascii()):
            self._refuse(event, headers, InvalidArgument("path: expected a method and a path in ASCII"))
            return
        prediction = self._hot.get(event.path.decode("latin-1")) if event.method == b"POST" else None
        head = None if prediction is None or self.flow.write_paused else prediction.plain(headers, http2=True)
        if head is None:
            self._give_to_uvicorn(event)
        else:
            exchange = Http2Exchange(self, event, prediction, headers, head)
            self.cycles[event.stream_id] = exchange  # type: ignore[assignment] # the same
        cycle = self.cycles.get(event.stream_id)
        if event.end_stream and cycle is not None:  # there is no body, and no event that says so
            cycle.more_body = False
            cycle.message_event.set()

    def _give_to_uvicorn(self, event: zttp.Request) -> None:
        """Begin a request uvicorn's way. It was accepted: that the connection is to end is for later ones."""
        requested, self.shutdown_requested = self.shutdown_requested, False
        super().handle_request(event)
        self.shutdown_requested = requested
        cycle = self.cycles.get(event.stream_id)
        if cycle is not None:  # its application begins when this turn of the loop has ended
            extensions: dict[str, Any] = cycle.scope.setdefault("extensions", {})
            extensions[BREAK_OFF] = Ends(cycle.abort_stream, cycle.abort_stream)

    def _refuse(self, event: zttp.Request, headers: Headers, error: RequestError) -> None:
        """Answer a request for its head: nothing of its body is looked at."""
        refused = Http2Exchange(self, event, None, headers)
        self.cycles[event.stream_id] = refused  # type: ignore[assignment] # it has all of a cycle that is used
        refused.deliver(error)

    def on_stream_closed(self) -> None:
        """Go on with the connection's other streams, or begin to wait for one.

        A connection has one timer, which looks now and then whether it was idle for too long; uvicorn's own is set and
        cancelled for every request.
        """
        if self.transport.is_closing():
            return
        self.resume_reading_if_idle()
        if self.cycles:
            return
        if self.shutdown_requested:
            self._close_connection()
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_after(self.timeout_keep_alive)

    def _look_after(self, delay_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(delay_s, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection where no request is under way and nothing came for the time to keep it."""
        self.timeout_keep_alive_task = None
        if self.transport.is_closing():
            return
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if self.cycles:
            self._look_after(self.timeout_keep_alive)
        elif left_s > 0:
            self._look_after(left_s)
        else:
            self._close_connection()

    def _unset_keepalive_if_required(self) -> None:
        """Note that something came, where uvicorn would cancel the timer; cancel it only where the connection ends."""
        self._idle_since = self.loop.time()
        if self.transport.is_closing():
            super()._unset_keepalive_if_required()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection, and let go of its timer."""
        super().connection_lost(exc)
        super()._unset_keepalive_if_required()

    def leave_to_uvicorn(self, exchange: "Http2Exchange") -> None:
        """Give uvicorn a request of whose body a part was read, as if it alone had read it."""
        exchange.end()
        self._give_to_uvicorn(exchange.event)
        cycle = self.cycles[exchange.stream.stream_id]
        cycle.body += exchange.body
        cycle.more_body = exchange.more_body
        cycle.message_event.set()

    def shutdown(self) -> None:
        """Begin to drain: what waits in a queue is answered, or told that the time for it is up."""
        self._draining.begin()
        for exchange in self.cycles.values():
            if isinstance(exchange, Http2Exchange):
                task = self.loop.create_task(exchange.outlast())
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
        self._go_away()


class Http2Exchange(Exchange):
    """One stream of a connection of HTTP/2."""

    __slots__ = ("body", "connection", "event", "more_body", "stream")

    def __init__(
        self,
        connection: Http2Protocol,
        event: zttp.Request,
        prediction: Prediction | None,
        headers: Headers,
        head: Any = None,  # noqa: ANN401
    ) -> None:
        """Answer the request that `event` began."""
        super().__init__(connection.loop, prediction, headers, head)
        self.connection = connection
        self.event = event
        self.stream = connection.conn.stream(event.stream_id)
        self.body = bytearray()
        self.more_body = True

    def set(self) -> None:
        """Look at what has come of the body: answer it when it is whole, leave it to uvicorn when it grows large."""
        if self.prediction is None or self.response_complete:
            return
        if self.disconnected:
            if self.more_body:
                self.prediction.fail(Canceled("the caller left before its request was whole"), self.head)
            self.end()
        elif len(self.body) > self.prediction.max_short_bytes:
            self.connection.leave_to_uvicorn(self)
        elif not self.more_body:
            self.submit(bytes(self.body))

    def left(self) -> bool:
        """Return whether it was answered, or the stream or the connection is closed."""
        return self.response_complete or self.disconnected or self.connection.transport.is_closing()

    def keep_no_more(self) -> None:
        """Do nothing: what is left of a stream is passed over."""

    def write(self, answer: Body) -> None:
        """Write an answer, and go on with the connection's other streams."""
        reply = Reply(answer, JSON) if isinstance(answer, bytes) else answer
        stream, connection = self.stream, self.connection
        fields = [
            *connection.server_state.default_headers,
            (b"content-type", reply.media_type.encode()),
            *reply.headers,
        ]
        if not reply.trailers:
            fields.append((b"content-length", b"%d" % len(reply.body)))
        stream.send_response(reply.status, fields)
        if reply.body:
            stream.send_data(reply.body)
        stream.end_message([*reply.trailers] or None)
        connection.transport.write(connection.conn.data_to_send())
        connection.on_response_complete(stream.stream_id)

"""One HTTP/2 connection: frame processing, timeouts and close. `http2` handles its requests."""

import asyncio
import contextlib
from abc import abstractmethod
from collections import deque
from typing import Any, Final

import zttp
from uvicorn.protocols.http.auto_zttp_impl import HTTP2_PREFACE
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from server.errors import RequestError, RequestTimeout
from server.http.exchange import Shared
from server.http.header_numbers import content_length
from server.http.http2_closing import ClosingProtocol
from server.http.http2_fields import MAX_LIST_BYTES
from server.http.http2_flow import Flow
from server.http.http2_frames import ENHANCE_YOUR_CALM, Budget, FrameError, Frames
from server.http.http2_streams import Http2Exchange, inbound
from server.http.message import Headers
from server.http.responses import failure

_MAX_CONCURRENT_STREAMS: Final = 128
"""The limit of zttp."""
_CHECKS: Final = 4
"""Number of timeout checks within the body timeout."""
_INITIAL_WINDOW: Final = 65_535
_INCOME_PER_SECOND: Final = 200
_INCOME_PER_REQUEST: Final = 8
_SENT_BYTES_PER_FRAME: Final = 2_048
"""Income of the control frame budget.

Frames per second, frames per completed request, and sent bytes per frame.
"""


def _settings() -> bytes:
    """Return the server's SETTINGS frame.

    It has the limits of zttp, without the extended CONNECT (RFC 8441) that zttp offers.
    """
    values = ((3, _MAX_CONCURRENT_STREAMS), (6, MAX_LIST_BYTES))
    payload = b"".join([number.to_bytes(2, "big") + value.to_bytes(4, "big") for number, value in values])
    return len(payload).to_bytes(3, "big") + b"\4" + bytes(5) + payload


class Connection(ClosingProtocol):
    """uvicorn's protocol with limits for clients that misbehave.

    Such clients violate rules, never stop sending, or do not read.
    """

    def __init__(self, shared: Shared, **uvicorn_arguments: Any) -> None:  # noqa: ANN401
        """Apply the limits of `shared.settings` to the connection."""
        super().__init__(**uvicorn_arguments)
        settings = shared.settings
        self.draining = shared.draining
        self.held = shared.held
        self._pace = shared.pace
        self._is_delayed = False
        """Whether reading is delayed by the rejection pace."""
        self.frames = Frames(Budget(self._budget_income), shared.held)
        self.streams = 0
        """Number of started requests."""
        self.resets = 0
        """Number of streams that were reset."""
        self.unfinished = 0
        """Number of responses that were complete before their requests."""
        self._body_timeout_s = settings.body_timeout_s
        self._max_idle_s = settings.max_idle_s
        self._check_s = min(self._body_timeout_s / _CHECKS, self.timeout_keep_alive)
        self._blocked_streams: list[zttp.Stream] = []
        """Streams with complete responses whose bytes may still wait for the client's window."""
        self._checkpoints: deque[tuple[float, int, tuple[bool, int]]] = deque()
        """Time, last stream and frame position of the client at each recent check."""
        self._unsent: tuple[tuple[int, int], float] = ((0, 0), 0.0)
        """Output that waits for the client, and the time of its last change."""
        self._last_income = (0.0, 0, 0)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Start a connection."""
        self.conn.initiate_connection()
        self.conn.data_to_send()
        super().connection_made(transport)
        transport.write(_settings())
        self.conn.receive_data(HTTP2_PREFACE)
        self.flow = Flow(transport, self._blocked_bytes)
        self._idle_since = now_s = self.loop.time()
        self._last_income = (now_s, 0, 0)
        self._check_after(self._check_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of a connection, and cancel its timer."""
        super().connection_lost(exc)
        super()._unset_keepalive_if_required()
        self.frames.close()

    # Frame processing per turn of the event loop.

    def data_received(self, data: bytes) -> None:
        """Process received bytes. Excess frames wait for the next turn of the event loop."""
        self._idle_since = self.loop.time()
        if not self.is_cut_off:
            self._read(data)
        else:
            self.drop(data)

    def _read(self, data: bytes) -> None:
        try:
            frames = self.frames.admit(data)
            if frames:
                self.conn.receive_data(frames)
                self.handle_events()
        except zttp.RemoteProtocolError as error:
            self.logger.warning("Invalid HTTP/2 frame received: %s", error)
            self.flush()
            self.close()
            return
        except FrameError as error:
            self.cut_off(error.code)
            return
        self.flush()
        self.flow.wake_senders()
        if self.frames.is_behind:
            self.flow.pause_reading()
            self.loop.call_soon(self._read_waiting_frames)

    def _read_waiting_frames(self) -> None:
        """Process frames that waited for this turn."""
        if not (self.is_cut_off or self.transport.is_closing()):
            self._read(b"")
            self.resume_reading_if_idle()

    @abstractmethod
    def handle_events(self) -> None:
        """Handle the events of the connection and its streams."""

    def hold_grown(self, grown: list[Http2Exchange]) -> None:
        """Count the received bytes of incomplete bodies at the end of a turn."""
        for exchange in grown:
            if exchange.more_body and not exchange.response_complete:
                self._hold(exchange)

    def _hold(self, exchange: Http2Exchange) -> None:
        """Count the received bytes of an incomplete body."""
        try:
            exchange.hold(self.held)
        except RequestError as error:
            exchange.reject(error)
        else:
            exchange.set()

    def reset(self, stream_id: int, error: Exception) -> None:
        """End a stream after an unexpected error."""
        failure(error, ())
        cycle = self.cycles.pop(stream_id, None)
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        with contextlib.suppress(zttp.ProtocolError):
            self.conn.stream(stream_id).reset(2)  # INTERNAL_ERROR
        self.on_stream_closed()

    def _budget_income(self) -> int:
        """Return the income of the control frame budget since the last call."""
        now_s, sent = self.loop.time(), _INITIAL_WINDOW + self.frames.window_increase - self.conn.send_window
        completed = self.streams - len(self.cycles) - self.resets
        (before_s, before_completed, before_sent), self._last_income = self._last_income, (now_s, completed, sent)
        income = (now_s - before_s) * _INCOME_PER_SECOND + (completed - before_completed) * _INCOME_PER_REQUEST
        return int(income) + max(0, sent - before_sent) // _SENT_BYTES_PER_FRAME

    # Backpressure.

    def pause_if_full(self, cycle: Any) -> None:  # noqa: ANN401 # a uvicorn cycle or an exchange
        """Pause reading while an application has many unread body bytes."""
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def resume_reading_if_idle(self) -> None:
        """Resume reading if no limit requires a pause."""
        if self.flow.read_paused and not (self.flow.is_transport_paused or self.frames.is_behind or self._is_delayed):
            super().resume_reading_if_idle()

    def slow_down(self, headers: Headers) -> None:
        """Delay reading if rejections exceed their CPU share and no other request is active."""
        delay_s = self._pace.delay_s(content_length(headers))
        if delay_s and not self.cycles and not self.transport.is_closing():
            self._is_delayed = True
            self.flow.pause_reading()
            self.loop.call_later(delay_s, self._end_delay)

    def _end_delay(self) -> None:
        self._is_delayed = False
        if not self.transport.is_closing():
            self.resume_reading_if_idle()

    def pause_writing(self) -> None:
        """Wait for the transport, and pause reading, because responses to new requests would accumulate."""
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """Continue after the transport has room again."""
        super().resume_writing()
        self.resume_reading_if_idle()

    def _blocked_bytes(self) -> int:
        """Return the number of bytes that wait for the client's window."""
        if not self.conn.has_pending_send():
            self._blocked_streams.clear()
            return 0
        streams = [*self._blocked_streams, *(cycle.stream for cycle in self.cycles.values())]
        return sum(stream.pending_bytes or 0 for stream in streams)

    def on_response_complete(self, stream_id: int) -> None:
        """Remove a request with a complete response. Bytes that wait for the window stay queued."""
        self.server_state.total_requests += 1
        cycle = self.cycles.pop(stream_id, None)
        if cycle is not None:
            if cycle.more_body:
                self.unfinished += 1
            if self.conn.has_pending_send():
                self._blocked_streams.append(cycle.stream)
        self.on_stream_closed()

    # The timer of the connection.

    def _check_after(self, delay_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(delay_s, self._check)

    def _check(self) -> None:
        """End requests and connections that exceed a timeout."""
        self.timeout_keep_alive_task = None
        if self.transport.is_closing() or self.is_cut_off:
            return
        now_s = self.loop.time()
        if self._is_stalled(now_s):
            self.transport.abort()
            return
        self._add_checkpoint(now_s)
        remaining_s = self._idle_since + self.timeout_keep_alive - now_s
        if self.cycles or remaining_s > 0:
            self._check_after(self._check_s if self.cycles else min(remaining_s, self._check_s))
        else:
            self._close_connection()

    def _add_checkpoint(self, now_s: float) -> None:
        """End requests and frames that were already incomplete one body timeout ago."""
        position = self.frames.position
        self._checkpoints.append((now_s, self.last_stream_id, position))
        last_stream = 0
        while self._checkpoints and now_s - self._checkpoints[0][0] >= self._body_timeout_s:
            _, last_stream, before = self._checkpoints.popleft()
            if before[0] and before == position:
                self.cut_off(ENHANCE_YOUR_CALM)
                return
        if last_stream:
            self._expire(last_stream)

    def _expire(self, last_stream: int) -> None:
        """Reject incomplete requests up to stream `last_stream`."""
        message = f"request: expected its head and body within {self._body_timeout_s} s"
        for stream_id, cycle in [*self.cycles.items()]:
            if stream_id > last_stream:
                return
            if not cycle.more_body or cycle.response_complete:
                continue
            if isinstance(cycle, Http2Exchange):
                cycle.reject(RequestTimeout(message))
            elif (body := inbound(cycle)) is not None and body.is_timed:
                body.fail(RequestTimeout(message))

    def _is_stalled(self, now_s: float) -> bool:
        """Return True if the client has read no waiting output for `max_idle_s`."""
        waiting = self.transport.get_write_buffer_size()
        if not waiting and not self.conn.has_pending_send():
            self._unsent = ((0, 0), now_s)
            return False
        position = (waiting, self.conn.send_window)
        if position != self._unsent[0]:
            self._unsent = (position, now_s)
        return now_s - self._unsent[1] >= self._max_idle_s

    def _unset_keepalive_if_required(self) -> None:
        """Keep the timer, which uvicorn sets and cancels for every request.

        Cancel it if the connection closes.
        """
        if self.transport.is_closing():
            super()._unset_keepalive_if_required()

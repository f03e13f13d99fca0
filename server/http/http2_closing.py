"""Closing of an HTTP/2 connection: gracefully with GOAWAY, or by an error (RFC 9113, 6.8)."""

from typing import Any, Final

from uvicorn.protocols.http.zttp_h2_impl import ZttpH2Protocol

from server.http.http2_flow import Flow
from server.http.http2_frames import Frames

_LINGER_S: Final = 2.0
"""Seconds a client has to close the connection after GOAWAY."""
_MAX_LINGERS: Final = 15
"""Maximum number of these periods while the client still has to read responses."""
_QUIET_S: Final = 0.05
_MAX_QUIET_PERIODS: Final = 20
"""Period without input that ends an aborted connection, and the maximum number of periods.

The server reads and drops input until then. Closing a connection with unread bytes can lose the last response
(RFC 9112, 9.6).
"""
_MAX_DROPPED_BYTES: Final = 8 * 1024 * 1024
"""Maximum number of dropped bytes before the connection is closed immediately."""


class ClosingProtocol(ZttpH2Protocol):
    """uvicorn's protocol, with a close that does not lose the last responses."""

    flow: Flow
    frames: Frames

    def __init__(self, **uvicorn_arguments: Any) -> None:  # noqa: ANN401
        """Start without requests."""
        super().__init__(**uvicorn_arguments)
        self.last_stream_id = 0
        self.has_sent_goaway = False
        """Whether GOAWAY was sent: later requests get no response."""
        self.is_cut_off = False
        """Whether the connection was ended by an error."""
        self._dropped_bytes = 0
        """Bytes received since the connection was ended by an error."""
        self._is_lingering = False
        self._idle_since = 0.0

    def on_stream_closed(self) -> None:
        """Continue with the connection's other streams, or wait for a new one."""
        if self.transport.is_closing() or self.is_cut_off:
            return
        if self.flow.read_paused:
            self.resume_reading_if_idle()
        if not self.cycles:
            self._idle_since = self.loop.time()
            if self.shutdown_requested:
                self._close_connection()

    def send_goaway(self) -> None:
        """Send GOAWAY: earlier requests get responses, new requests need another connection."""
        if self.has_sent_goaway or self.transport.is_closing() or self.is_cut_off:
            return
        self.has_sent_goaway = True
        self.conn.close(0, self.last_stream_id)  # NO_ERROR (RFC 9113, 6.8)
        self.flush()
        super().shutdown()  # closes the connection after the last response

    def _close_connection(self) -> None:
        """Close the connection: send GOAWAY first, and give the client time to close it.

        Otherwise, input that arrives in the meantime would reset the connection before the client reads the last
        responses.
        """
        if not self.has_sent_goaway:
            self.send_goaway()
        elif not self._is_lingering:
            self._is_lingering = True
            if self.timeout_keep_alive_task is not None:
                self.timeout_keep_alive_task.cancel()
            self._linger(_MAX_LINGERS)

    def _linger(self, remaining: int) -> None:
        """Close the connection when the client has had time to read and close."""
        if not remaining or (remaining < _MAX_LINGERS and not self.conn.has_pending_send()):
            self.close()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(_LINGER_S, self._linger, remaining - 1)

    def cut_off(self, code: int) -> None:
        """End the connection with an error. Further input is dropped."""
        self.conn.close(code, self.last_stream_id)
        self.flush()
        self.is_cut_off = True
        for cycle in self.cycles.values():
            cycle.disconnected = True
            cycle.message_event.set()
        self.cycles.clear()
        self.flow.resume_writing()
        self.frames.close()
        self._await_quiet(_MAX_QUIET_PERIODS, self.loop.time())

    def drop(self, data: bytes) -> None:
        """Drop input after an error. Close the connection if the input exceeds the limit."""
        self._dropped_bytes += len(data)
        if self._dropped_bytes > _MAX_DROPPED_BYTES and not self.transport.is_closing():
            self.close()

    def _await_quiet(self, remaining: int, since_s: float) -> None:
        """Close the connection after an error, when input stops or the time is up."""
        if self.transport.is_closing():
            return
        if remaining and (self._idle_since >= since_s or remaining == _MAX_QUIET_PERIODS):
            self.flow.resume_reading()
            self.loop.call_later(_QUIET_S, self._await_quiet, remaining - 1, self.loop.time())
        else:
            self.close()

    def close(self) -> None:
        """Close the connection, even if its client does not read the last bytes."""
        self.transport.close()
        self.loop.call_later(_LINGER_S, self.transport.abort)

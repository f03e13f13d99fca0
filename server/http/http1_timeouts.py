"""Timeouts of one HTTP/1.1 connection: for receiving a request, and for an idle connection."""

import asyncio
from abc import abstractmethod
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class TimedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with one timer per connection; uvicorn sets and cancels one per request."""

    def __init__(self, body_timeout_s: float, **uvicorn_arguments: Any) -> None:  # noqa: ANN401
        """Expect each head and body within `body_timeout_s`."""
        super().__init__(**uvicorn_arguments)
        self._body_timeout_s = body_timeout_s
        self._check_s = min(body_timeout_s, self.timeout_keep_alive)
        self._unsent = (0, 0.0)
        """Response bytes that waited at the last check, and the time of their last decrease."""
        self.data_s = 0.0
        """Time of the last received bytes."""
        self.idle_since_s = 0.0
        """Time at which the last response was complete."""
        self.receiving_since_s: float | None = None
        """Start time of the current message; None: no message.

        The first message starts with the connection.
        """
        self.untimed: object = None
        """The uvicorn cycle without a body timeout.

        A file or a stream controls its own pace.
        """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Start a connection, and wait for its first head."""
        super().connection_made(transport)
        self.receiving_since_s = self.loop.time()
        self._check_after(self._check_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of a connection, and cancel its timer."""
        super().connection_lost(exc)
        super()._unset_keepalive_if_required()  # uvicorn does not cancel the timer after an error

    def _check_after(self, delay_s: float) -> None:
        delay_s = min(delay_s, self._check_s)  # a message may start at any time
        self.timeout_keep_alive_task = self.loop.call_later(delay_s, self._check_times)

    def _check_times(self) -> None:
        """Close the connection if a timeout has expired."""
        self.timeout_keep_alive_task = None
        is_closing = self.transport.is_closing()
        if is_closing and not self.transport.get_write_buffer_size():
            return
        now_s = self.loop.time()
        due_s = now_s + self._check_s if is_closing else self._due_s(now_s)
        if self._is_unread(now_s):
            self.transport.abort()
        elif due_s > now_s:
            self._check_after(due_s - now_s)
        elif self.receiving_since_s is None:
            super().timeout_keep_alive_handler()
        else:
            self.time_out()

    def _due_s(self, now_s: float) -> float:
        """Return the time at which the current timeout expires."""
        if self.receiving_since_s is not None:
            if self._is_untimed():
                return now_s + self._check_s
            if self.flow.read_paused:  # the server paused reading, so this time does not count for the client
                self.receiving_since_s = now_s
            return self.receiving_since_s + self._body_timeout_s
        if not self.cycle.response_complete:
            return now_s + self._check_s
        return self.idle_since_s + self.timeout_keep_alive

    def _is_untimed(self) -> bool:
        return self.cycle is not None and self.cycle is self.untimed and not self.cycle.response_complete

    def _is_unread(self, now_s: float) -> bool:
        """Return True if the client has read no waiting output for the body timeout."""
        waiting, before = self.transport.get_write_buffer_size(), self._unsent
        if not before[0] or waiting < before[0]:
            self._unsent = (waiting, now_s)
            return False
        return now_s - before[1] >= self._body_timeout_s and not self._is_untimed()

    @abstractmethod
    def time_out(self) -> None:
        """Reject the current message because its timeout has expired."""

    def _unset_keepalive_if_required(self) -> None:
        """Cancel the timer only if the connection closes."""
        if self.transport.is_closing():
            super()._unset_keepalive_if_required()

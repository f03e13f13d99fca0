"""Flow control of an HTTP/2 connection, for the transport and for the client's windows."""

import asyncio
from collections.abc import Callable
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl

_MAX_BLOCKED_BYTES: Final = 256 * 1024
"""Maximum bytes that wait for a client's window before the server produces more."""


class Flow(FlowControl):
    """uvicorn's flow control, extended to wait for the client's window.

    zttp buffers bytes that exceed the window. The buffer has no limit if a client never opens its window.
    """

    def __init__(self, transport: asyncio.Transport, blocked_bytes: Callable[[], int]) -> None:
        super().__init__(transport)
        self._blocked_bytes = blocked_bytes

    async def drain(self) -> None:
        """Wait until the transport has room, and the window has taken most waiting bytes."""
        while True:
            await super().drain()
            if self._transport.is_closing() or self._blocked_bytes() <= _MAX_BLOCKED_BYTES:
                return
            self._is_writable_event.clear()

    def wake_senders(self) -> None:
        """Wake waiting senders: received bytes may have opened the window."""
        if not self._paused:
            self._is_writable_event.set()

    @property
    def write_paused(self) -> bool:
        """Whether senders must wait."""
        return self._paused or self._blocked_bytes() > _MAX_BLOCKED_BYTES

    @write_paused.setter
    def write_paused(self, paused: bool) -> None:
        self._paused = paused

    @property
    def is_transport_paused(self) -> bool:
        """Whether the transport has no room."""
        return self._paused

    def pause_writing(self) -> None:
        """Pause senders until the transport has room."""
        self._paused = True
        self._is_writable_event.clear()

    def resume_writing(self) -> None:
        """Resume senders: the transport has room."""
        self._paused = False
        self._is_writable_event.set()

"""An event loop that measures its turns, and an in-memory transport."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Final

_ADDRESS: Final = ("127.0.0.1", 1)


class TimedLoop(asyncio.SelectorEventLoop):
    """asyncio's loop that times its longest turn, and counts calls in threads.

    The time is CPU time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.worst_turn_s = 0.0
        """CPU seconds of the longest turn since this was last set to 0.

        No other client is served during a turn.
        """
        self.in_threads = 0
        """Number of calls that run in an executor now."""

    def _run_once(self) -> None:
        began_s = time.thread_time()
        super()._run_once()  # type: ignore[misc] # the only place to measure a whole turn
        self.worst_turn_s = max(self.worst_turn_s, time.thread_time() - began_s)

    def run_in_executor(  # type: ignore[override] # typeshed has the same with type variables
        self,
        executor: Executor | None,
        func: Callable[..., Any],
        *args: Any,  # noqa: ANN401 # asyncio's signature
    ) -> asyncio.Future[Any]:
        """Run a call in a thread, and count it until it ends."""
        self.in_threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _future: asyncio.Future[Any]) -> None:
        self.in_threads -= 1

    def is_idle(self) -> bool:
        """Return True if no callback is left to run in this turn."""
        return not self._ready  # type: ignore[attr-defined]


class MemoryTransport(asyncio.Transport):
    """One connection of a server, without a socket; `written` holds the server's bytes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        """Connect `protocol`."""
        super().__init__({"sockname": _ADDRESS, "peername": _ADDRESS})
        self.written = bytearray()
        self.ended: asyncio.Future[None] = loop.create_future()
        """Done when the server closed the connection, or its side of it."""
        self.closed: asyncio.Future[None] = loop.create_future()
        """Done after the protocol's `connection_lost`."""
        self.resumed = asyncio.Event()
        """Set while the protocol reads."""
        self.resumed.set()
        self._loop = loop
        self._protocol = protocol
        self._is_closing = False
        protocol.connection_made(self)

    def feed(self, data: bytes) -> None:
        """Pass bytes to the protocol as if a client had sent them."""
        self._protocol.data_received(data)

    def end(self) -> None:
        """Close the client's side of the connection; the protocol gets `eof_received`."""
        if not self._is_closing and not self._protocol.eof_received():
            self.close()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes, unless the connection is closing.

        A socket's transport sends no more bytes then either.
        """
        if not self.ended.done():
            self.written += data

    def write_eof(self) -> None:
        """Close the server's side of the connection."""
        if not self.ended.done():
            self.ended.set_result(None)

    def close(self) -> None:
        """Close the connection in the next turn of the loop, as a socket's transport does."""
        if not self._is_closing:
            self._is_closing = True
            self.write_eof()
            self._loop.call_soon(self._lose)

    def abort(self) -> None:
        """Close the connection; there are no bytes left to write."""
        self.close()

    def _lose(self) -> None:
        self._protocol.connection_lost(None)
        if not self.closed.done():
            self.closed.set_result(None)

    def is_closing(self) -> bool:
        """Return True if the connection is closed or closing."""
        return self._is_closing

    def pause_reading(self) -> None:
        """Stop reading."""
        self.resumed.clear()

    def resume_reading(self) -> None:
        """Resume reading."""
        self.resumed.set()

    def is_reading(self) -> bool:
        """Return True if the protocol reads."""
        return self.resumed.is_set() and not self._is_closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the connection to another protocol."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the connection's protocol."""
        return self._protocol

    def can_write_eof(self) -> bool:
        """Return True, as for TCP."""
        return True

    def get_write_buffer_size(self) -> int:
        """Return 0: the client takes all bytes at once."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: there is no buffer."""

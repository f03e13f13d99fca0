"""Acceptor of new connections: accepts in batches, within the limit of file descriptors."""

import asyncio
import contextlib
import errno
import socket
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from server.errors import Unavailable

MAX_CONNECTIONS: Final = 8_192
"""Maximum number of open connections, regardless of the descriptor limit.

Each takes some kB of memory.
"""
RESERVED_DESCRIPTORS: Final = 32
"""Descriptors that are reserved for files, pages, metrics, and connections that are being rejected."""
_MAX_ACCEPTS: Final = 128
"""Maximum number of connections that are accepted per turn of the event loop."""
_PAUSE_S: Final = 0.1
"""Seconds without accepting after the system has run out of descriptors."""
_LINGER_S: Final = 0.2
"""Seconds a rejected client has to read the response."""
_MAX_LINGERING: Final = 16
_NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def max_connections() -> int:
    """Return how many more connections this process can open."""
    if sys.platform == "win32":
        return MAX_CONNECTIONS
    import resource  # here: not available on all platforms

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    open_count = sum(1 for _ in Path("/dev/fd").iterdir())
    return max(1, min(MAX_CONNECTIONS, soft - open_count - RESERVED_DESCRIPTORS))


class Acceptor:
    """Listening sockets with a protocol factory. uvicorn uses it like an asyncio.Server."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        create_protocol: Callable[[], asyncio.Protocol],
        connections: Collection[object],
    ) -> None:
        """Serve each new connection with `make()`; `connections` are the open connections."""
        self.sockets = sockets
        self._create_protocol = create_protocol
        self._connections = connections
        self._max_connections = max_connections()
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[object]] = set()
        self._lingering = 0
        self._is_closed = False
        for each in sockets:
            self._resume(each)

    def close(self) -> None:
        """Close the listening sockets."""
        self._is_closed = True
        for each in self.sockets:
            self._loop.remove_reader(each)
            each.close()

    async def wait_closed(self) -> None:
        """Return immediately: uvicorn itself waits for the connections."""

    def _resume(self, listener: socket.socket) -> None:
        if not self._is_closed:
            self._loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Accept the waiting connections."""
        for _ in range(_MAX_ACCEPTS):
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _NO_DESCRIPTOR:
                    continue  # the client has already closed this connection
                self._loop.remove_reader(listener)
                self._loop.call_later(_PAUSE_S, self._resume, listener)
                return
            if len(self._connections) + len(self._starting) >= self._max_connections:
                self._reject(connection)
            else:
                self._start(connection)

    def _start(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task: asyncio.Task[object] = self._loop.create_task(self._serve(connection))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._create_protocol, connection)
        except OSError:
            connection.close()

    def _reject(self, connection: socket.socket) -> None:
        """Respond with 503, and close after the client has had time to read it."""
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.send(_FULL_RESPONSE)
            connection.shutdown(socket.SHUT_WR)
        if self._lingering < _MAX_LINGERING:
            self._lingering += 1
            self._loop.call_later(_LINGER_S, self._close_lingering, connection)
        else:
            connection.close()

    def _close_lingering(self, connection: socket.socket) -> None:
        self._lingering -= 1
        connection.close()


def _full_response() -> bytes:
    error = Unavailable("too many connections are open; try again")
    body = error.envelope()
    headers = {**error.headers, "content-type": "application/json", "content-length": str(len(body))}
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 503 Service Unavailable\r\n{fields}connection: close\r\n\r\n".encode() + body


_FULL_RESPONSE: Final = _full_response()

"""Limit of requests that start per turn of the event loop.

The event loop handles other connections between the turns. A client can send hundreds of requests at once: an HTTP/2
connection accepts 128. Without a limit, all requests of all connections run in one turn of the event loop, and block
it for that time. Fast path requests do not use this module: their queue has its own limits.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

_MAX_STARTS: Final = 4
"""Maximum number of requests that start per turn.

The slowest requests take about 1 ms of CPU each.
"""
_MAX_DROPPED: Final = 64
"""Maximum number of requests of lost connections that are dropped per turn."""
_MAX_WAITING: Final = 8_192
"""Maximum number of requests that wait, as many as there may be connections: each takes about 8 kB of memory."""


class _WaitingRequest(NamedTuple):
    """One waiting request."""

    turn: asyncio.Future[None]
    is_lost: Callable[[], bool]


class RequestTurns:
    """Starts a few requests per turn of the event loop, in rotation over connections.

    Belongs to one event loop.
    """

    def __init__(self) -> None:
        """Start with no waiting requests."""
        self._start_count = 0
        """Requests that started in this turn."""
        self._is_scheduled = False
        """Whether `_next` runs in the next turn."""
        self.number = 0
        """Number of turns so far in which requests started."""
        self._waiting: dict[Hashable, deque[_WaitingRequest]] = {}
        """Waiting requests by connection. The first connection is the next in the rotation."""
        self._waiting_count = 0
        """Number of waiting requests."""
        self.expected = 0
        """Number of requests that were accepted, but have not called `wait` yet."""

    @property
    def is_full(self) -> bool:
        """True if no more requests may wait.

        A connection of HTTP/1.1 has one request at a time; one of HTTP/2 has 128, and must check this first. It counts
        each request that it accepts in `expected`.
        """
        return self._waiting_count + self.expected >= _MAX_WAITING

    async def wait(self, connection: Hashable, is_lost: Callable[[], bool]) -> None:
        """Wait until a request of this connection may start, or until the connection is lost.

        Return immediately if few requests have started in this turn. `is_lost` is called at the request's turn: a
        connection whose reading is paused does not detect that the client reset it. If it returns True, the connection
        must be closed by then, and another request starts instead.
        """
        if self._start_count < _MAX_STARTS and not self._waiting:
            self._schedule()
            self._start_count += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(connection, deque()).append(_WaitingRequest(turn, is_lost))
        self._waiting_count += 1
        await turn

    def drop(self, connection: Hashable) -> None:
        """End the waits of a lost connection at once.

        Without this, clients that send requests and disconnect could fill the memory: the number of connections limits
        only the requests of open ones.
        """
        requests = self._waiting.pop(connection, ())
        self._waiting_count -= len(requests)
        for turn, _ in requests:
            if not turn.done():
                turn.set_result(None)

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        """Start waiting requests, in the next turn of the event loop."""
        self._is_scheduled = False
        self._start_count = 0
        self.number += 1
        dropped_count = 0
        try:
            while self._waiting and self._start_count < _MAX_STARTS and dropped_count < _MAX_DROPPED:
                turn, is_lost = self._pop()
                if turn.done():  # its task was cancelled
                    continue
                turn.set_result(None)  # before `is_lost`: its error must hold up neither this request nor the others
                if is_lost():
                    dropped_count += 1
                else:
                    self._start_count += 1
        finally:
            if self._start_count or self._waiting:
                self._schedule()

    def _pop(self) -> _WaitingRequest:
        """Remove and return the next request; its connection goes to the end of the rotation."""
        connection = next(iter(self._waiting))
        requests = self._waiting.pop(connection)
        request = requests.popleft()
        self._waiting_count -= 1
        if requests:
            self._waiting[connection] = requests
        return request

"""Limit of requests that start per turn of the event loop.

The event loop handles other connections between the turns. A client can send hundreds of requests at once: an HTTP/2
connection accepts 128. Without a limit, all requests of all connections run in one turn of the event loop, and block
it for that time. Fast path requests do not use this module: their queue has its own limits.
"""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Final

_MAX_BEGUN: Final = 4
"""Maximum number of requests that start per turn.

The slowest requests take about 1 ms of CPU each.
"""


class RequestTurns:
    """Starts a few requests per turn of the event loop, in rotation over connections.

    Belongs to one event loop.
    """

    def __init__(self) -> None:
        """Start with no waiting requests."""
        self._begun = 0
        """Requests that started in this turn; 0: `_next` is not scheduled."""
        self.number = 0
        """Number of turns so far in which requests started."""
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}
        """Waiting requests by connection. The first connection is the next in the rotation."""

    async def wait(self, connection: Hashable) -> None:
        """Wait until a request of this connection may start.

        Return immediately if few requests have started in this turn.
        """
        loop = asyncio.get_running_loop()
        if self._begun < _MAX_BEGUN:  # no request waits
            if not self._begun:
                loop.call_soon(self._next)
            self._begun += 1
            return
        begins = loop.create_future()
        self._waiting.setdefault(connection, deque()).append(begins)
        await begins

    def _next(self) -> None:
        """Start waiting requests, in the next turn of the event loop."""
        self._begun = 0
        self.number += 1
        while self._waiting and self._begun < _MAX_BEGUN:
            connection = next(iter(self._waiting))
            requests = self._waiting.pop(connection)
            begins = requests.popleft()
            if requests:
                self._waiting[connection] = requests
            if not begins.done():  # else its task was cancelled
                begins.set_result(None)
                self._begun += 1
        if self._begun:
            asyncio.get_running_loop().call_soon(self._next)

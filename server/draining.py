"""That the server is to end, told to what would wait for ever."""

import asyncio


class Draining:
    """Begins once, when the first connection is asked to come to its end."""

    def __init__(self) -> None:
        """Not begun."""
        self.has_begun = False
        self._waiting: set[asyncio.Future[None]] = set()

    def begin(self) -> None:
        """Tell all who wait. To be called on the event loop."""
        self.has_begun = True
        for each in self._waiting:
            if not each.done():
                each.set_result(None)

    async def begins(self) -> None:
        """Return when it has begun."""
        if self.has_begun:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

"""Measure the pace at which a client sends and reads a file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.errors import RequestTimeout


class Pace:
    """Counter of the bytes that a client transfers while the server waits for it.

    Belongs to one event loop. Time in which the server holds the client back, or works, does not count.
    """

    def __init__(self, min_bytes_per_s: int, window_s: float, clock: Callable[[], float]) -> None:
        """Expect `min_bytes_per_s` on average over each `window_s` of waiting; 0: any pace."""
        self._min_bytes_per_s = min_bytes_per_s
        self._window_s = window_s
        self._clock = clock
        self._waits = 0
        self._since_s = 0.0
        self._waited_s = 0.0
        self._bytes = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of the block as waiting for the client."""
        if not self._waits:
            self._since_s = self._clock()
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1
            if not self._waits:
                self._waited_s += self._clock() - self._since_s

    def move(self, size: int) -> None:
        """Count bytes that the client sent or read."""
        self._bytes += size

    def check(self) -> None:
        """Raise RequestTimeout if the client transferred too few bytes in the last window."""
        now_s = self._clock()
        waited_s = self._waited_s + (now_s - self._since_s if self._waits else 0.0)
        if waited_s < self._window_s:
            return
        if self._bytes < self._min_bytes_per_s * waited_s:
            raise RequestTimeout(f"file: expected at least {self._min_bytes_per_s} bytes/s")
        self._since_s = now_s
        self._waited_s = 0.0
        self._bytes = 0

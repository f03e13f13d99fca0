"""Latency of predictions that each use a new connection, one after the other."""

import socket
import time
from collections.abc import Callable, Iterator
from typing import Final

from bench.targets import RECORD


class Fresh:
    """A client that opens a new connection for every prediction."""

    LOST: Final = -1.0
    """Time of a call that failed, or had no correct response within PATIENCE_S."""
    PATIENCE_S: Final = 20.0
    PAUSE_S: Final = 0.01

    def __init__(self, port: int) -> None:
        """Call the server on `port`."""
        self._port = port

    def times(self, count: int) -> list[float]:
        """Return the milliseconds of each of `count` calls."""
        left = iter(range(count))
        return self.while_(lambda: next(left, None) is not None)

    def while_(self, goes_on: Callable[[], bool]) -> list[float]:
        """Call while `goes_on()` is true, and return the milliseconds of each call."""
        return list(self._calls(goes_on))

    def _calls(self, goes_on: Callable[[], bool]) -> Iterator[float]:
        while goes_on():
            yield self._call()
            time.sleep(self.PAUSE_S)

    def _call(self) -> float:
        head = f"POST /api/predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(RECORD)}\r\n\r\n"
        began_s = time.perf_counter()
        try:
            with socket.create_connection(("127.0.0.1", self._port), self.PATIENCE_S) as connection:
                connection.sendall(head.encode() + RECORD)
                status = connection.makefile("rb").readline()
        except OSError:
            return self.LOST
        return (time.perf_counter() - began_s) * 1000 if b" 200 " in status else self.LOST

"""Start of the drain, for tasks that would otherwise wait forever."""

import asyncio
import os
import time
from pathlib import Path
from typing import Final

_STAT: Final = Path("/proc/self/stat")
_START: Final = 19
"""Where the start of the process stands behind its name, in ticks since the machine's (proc_pid_stat(5), field 22)."""


class Draining:
    """Event that starts once, when the first connection starts to shut down."""

    def __init__(self) -> None:
        """Create an event that has not started."""
        self.has_begun = False
        self._waiting: set[asyncio.Future[None]] = set()

    def begin(self) -> None:
        """Start the drain, and wake all waiting tasks. Call it on the event loop."""
        self.has_begun = True
        for each in self._waiting:
            if not each.done():
                each.set_result(None)

    async def wait_for_begin(self) -> None:
        """Wait until the drain has started."""
        if self.has_begun:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)


class Start:
    """When the server was ready. Linux alone tells when the process began; elsewhere nothing is known."""

    def __init__(self) -> None:
        """Begin with a server that isn't ready."""
        self._ready_s: float | None = None

    def ready(self) -> None:
        """Say that the port is open."""
        clock = getattr(time, "CLOCK_BOOTTIME", None)
        self._ready_s = None if clock is None else time.clock_gettime(clock)

    def seconds(self) -> float | None:
        """Return how long it took, to a hundredth; None where that isn't known."""
        if self._ready_s is None:
            return None
        try:
            start_ticks = int(_STAT.read_text().rpartition(")")[2].split()[_START])
        except (OSError, ValueError, IndexError):
            return None
        return max(0.0, self._ready_s - start_ticks / os.sysconf("SC_CLK_TCK"))

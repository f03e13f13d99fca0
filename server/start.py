"""From the start of the process to the open port: how long a cold caller waits for this one."""

import os
import time
from pathlib import Path
from typing import Final

_STAT: Final = Path("/proc/self/stat")
_START: Final = 19
"""Where the start of the process stands behind its name, in ticks since the machine's (proc_pid_stat(5), field 22)."""


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
            began_ticks = int(_STAT.read_text().rpartition(")")[2].split()[_START])
        except (OSError, ValueError, IndexError):
            return None
        return max(0.0, self._ready_s - began_ticks / os.sysconf("SC_CLK_TCK"))

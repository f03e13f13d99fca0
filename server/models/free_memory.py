"""Return of the process's freed memory to the operating system."""

import asyncio
import ctypes
import gc
import mmap
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

_FEW_REQUESTS: Final = 20
"""Maximum requests between two checks of an idle server: health probes continue."""
_GROWTH_BYTES: Final = 12 * 1024 * 1024
"""Growth at which memory is returned: less than a flood of requests may leave behind."""
_BUSY_CHECKS: Final = 4
"""Checks between two returns of memory if the server is busy or still large."""


def release_free_memory() -> None:
    """Return freed heap memory to the operating system; a no-op without malloc_trim.

    glibc caches freed blocks for later allocations, so that the resident size stays high after a flood. The call walks
    every heap and takes milliseconds: call it in a thread when the process is idle, never for each request.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Return glibc's malloc_trim; None for any other C library.

    A foreign call releases the interpreter lock.
    """
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim


class FreeMemory:
    """Returns freed memory to the operating system after the process has grown.

    An idle server returns it at once. A server that is busy, or larger than at startup, returns it every few checks.
    Large bodies, and responses that clients do not read, leave freed memory behind.
    """

    def __init__(self) -> None:
        """Store the current process size as the baseline."""
        self._start_bytes = self._settled_bytes = _resident_bytes()
        self._requests = 0
        self._checks = 0

    def check(self, requests: int) -> None:
        """Return memory if the process has grown.

        Call this every few seconds on the event loop. `requests` is the number of completed requests since the start.
        """
        is_idle = requests - self._requests <= _FEW_REQUESTS
        self._requests = requests
        self._checks += 1
        size = _resident_bytes()
        if is_idle and size > self._settled_bytes + _GROWTH_BYTES:
            self._settled_bytes = sys.maxsize  # until the new size is known
            asyncio.get_running_loop().run_in_executor(None, self._settle)
        elif self._checks % _BUSY_CHECKS == 0 and size > self._start_bytes + _GROWTH_BYTES:
            asyncio.get_running_loop().run_in_executor(None, release_free_memory)

    def _settle(self) -> None:
        """Return freed memory after a garbage collection, for which the event loop waits.

        The collection also frees the memory of reference cycles.
        """
        gc.collect()
        release_free_memory()
        self._settled_bytes = _resident_bytes()


def _resident_bytes() -> int:
    """Return the process's resident size in bytes; 0 if there is no /proc."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * mmap.PAGESIZE

"""Read pace after rejections, so that rejections use a small share of the CPU.

A client may ignore the delay of a rejection and retry immediately. Each retry costs CPU time to read and drop the body.
Without a pace, clients in a closed loop take the CPU from the requests that were admitted.
"""

import time
from collections.abc import Callable
from math import ceil
from typing import Final

_SHARE: Final = 0.055
"""Share of the process's CPU time for rejections."""
_REQUEST_S: Final = 105e-6
"""CPU seconds of a rejection under load, including a body of some 100 kB."""
_BYTE_S: Final = 0.2e-9
"""CPU seconds per byte of a larger body."""
_BURST_S: Final = 0.1
"""Seconds by which rejections may be ahead of their pace: some dozens of rejections."""
_MAX_DELAY_S: Final = 1.0
"""Maximum delay in seconds: the value of `Retry-After`."""
_TICK_S: Final = 0.02
"""Connections resume reading together, at multiples of this time.

One wake-up costs as much as a rejection.
"""
_WINDOW_S: Final = 0.1
"""Seconds over which the process's share of the CPU is measured."""


class RejectionPace:
    """Allocator of CPU time for rejections. Belongs to one event loop."""

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, cpu_clock: Callable[[], float] = time.process_time
    ) -> None:
        """Measure by these clocks, in seconds."""
        self._clock, self._cpu_clock = clock, cpu_clock
        self._since_s, self._cpu_since_s = clock(), cpu_clock()
        self._cpus = 1.0
        self._due_s = float("-inf")

    def delay_s(self, body_bytes: int) -> float:
        """Count a rejected request, and return the read delay of its connection.

        The delay is in seconds; 0: read immediately.
        """
        now_s = self._clock()
        if now_s - self._since_s >= _WINDOW_S:
            cpu_s = self._cpu_clock()
            self._cpus = min(1.0, max(0.05, (cpu_s - self._cpu_since_s) / (now_s - self._since_s)))
            self._since_s, self._cpu_since_s = now_s, cpu_s
        cost_s = max(_REQUEST_S, body_bytes * _BYTE_S) / (_SHARE * self._cpus)
        self._due_s = max(self._due_s, now_s - _BURST_S) + cost_s
        if self._due_s <= now_s:
            return 0.0
        return min(_MAX_DELAY_S, ceil(self._due_s / _TICK_S) * _TICK_S - now_s)

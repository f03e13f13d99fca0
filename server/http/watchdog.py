"""Watchdog thread for the event loop and the model runs; neither can block it.

The event loop calls `beat` ten times a second. If a beat is late, the watchdog logs the stack of the loop's thread.
The watchdog does no work per request.
"""

import logging
import sys
import threading
import time
import traceback
from typing import Final

from server.models.run_limits import LOOP_TIMEOUT_S, RunLimits

STALL_S: Final = 0.25
"""Seconds for which the event loop may be blocked before the watchdog logs it."""
BEAT_S: Final = 0.1
"""Seconds between two beats of the event loop, and between two checks of the watchdog."""
MIN_LOG_S: Final = 10.0
"""Minimum seconds between two log lines; other stalls are only counted."""
_MIN_CHECKS: Final = 3
"""Minimum number of checks that find the same run before the run is ended.

A process without CPU time does not check either.
"""
_MIN_CPU_S: Final = 0.1
"""Minimum CPU seconds of such a run.

A run that waits for a CPU on a busy machine uses none, and continues.
"""
_log = logging.getLogger("lifeboat.watchdog")


class Watchdog:
    """Logs stalls of the event loop, and ends model runs that exceed their time limit."""

    def __init__(self, limits: RunLimits) -> None:
        """Watch the runs of `limits`."""
        self.stalls = 0
        """Number of stalls of the event loop."""
        self.stalled_s = 0.0
        """Total stall time in seconds."""
        self._limits = limits
        self._thread_id = 0
        self._beat_s = 0.0
        """Time of the last beat; 0: the loop is not watched."""
        self._logged_s = -MIN_LOG_S
        self._run: object = None
        self._run_since_s = 0.0
        self._check_count = 0
        self._run_cpu_s = 0.0

    def start(self) -> None:
        """Start the watchdog thread. Call it in the event loop's thread."""
        self._thread_id = threading.get_ident()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def beat(self) -> None:
        """Record that the event loop runs. The event loop calls it every BEAT_S."""
        self._beat_s = time.monotonic()

    def stop(self) -> None:
        """Stop watching the event loop before it ends. Model runs are still watched."""
        self._beat_s = 0.0

    def _watch(self) -> None:
        stalled_at_s = 0.0
        while True:
            time.sleep(BEAT_S)
            beat_s, now_s = self._beat_s, time.monotonic()
            self._limits.end_overdue()
            self._end_run(now_s)
            if stalled_at_s and beat_s != stalled_at_s:
                self.stalled_s += max(0.0, beat_s - stalled_at_s - BEAT_S)
                stalled_at_s = 0.0
            if beat_s and not stalled_at_s and now_s - beat_s > STALL_S + BEAT_S:
                stalled_at_s = beat_s
                self.stalls += 1
                self._log_stack(now_s)

    def _end_run(self, now_s: float) -> None:
        """End a run on the event loop that exceeds its time limit."""
        run = self._limits.loop_run.batch
        if run is None or run is not self._run:
            self._run, self._run_since_s, self._check_count = run, now_s, 0
            self._run_cpu_s = self._cpu_s()
            return
        self._check_count += 1
        is_late = now_s - self._run_since_s > LOOP_TIMEOUT_S and self._check_count >= _MIN_CHECKS
        if is_late and self._cpu_s() - self._run_cpu_s >= _MIN_CPU_S:
            self._limits.loop_run.terminate(run)

    def _cpu_s(self) -> float:
        """Return the CPU time of the event loop's thread in seconds.

        Return the wall clock if the platform has no thread clock.
        """
        if sys.platform == "win32" or sys.platform == "darwin":
            return time.monotonic()
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread_id))

    def _log_stack(self, now_s: float) -> None:
        """Log the stack of the event loop, at most once per MIN_LOG_S.

        A separate thread writes the log: a write blocks if no process reads the log, and the watchdog must not block.
        """
        if now_s - self._logged_s < MIN_LOG_S:
            return
        self._logged_s = now_s
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 # documented for debuggers
        stack = "".join(traceback.format_stack(frame)).rstrip()
        threading.Thread(target=_log_stall, args=(stack,), name="stall", daemon=True).start()


def _log_stall(stack: str) -> None:
    _log.warning(
        "the event loop has been blocked for more than %.0f ms", STALL_S * 1e3, extra={"fields": {"stack": stack}}
    )

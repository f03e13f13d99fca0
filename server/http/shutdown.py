"""Shutdown of the process on a signal: gracefully if possible, and always within the deadline.

A separate thread receives SIGTERM and SIGINT. A Python signal handler runs only in the main thread, between two steps
of the interpreter. While a model runs there, or the opening of a file blocks, the handler would never run. The thread
passes the signal on to the event loop, and ends the process itself if the loop has not ended it by the deadline.
"""

import _thread
import contextlib
import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Final, NoReturn

SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT})
MIN_DRAIN_S: Final = 2.0
"""Lower bound of the drain limit in seconds from the signal.

It applies if LIFEBOAT_DRAIN_S is less.
"""
_MARGIN_S: Final = 1.0
_LAST_LINE_S: Final = 0.5
"""Maximum seconds to write the last log line.

Without a reader of the log, the write blocks.
"""
_log = logging.getLogger("lifeboat")


def orderly_s(drain_s: float) -> float:
    """Return the seconds of a drain for requests; the rest is for the cleanup."""
    return drain_s - min(_MARGIN_S, drain_s / 4)


class Shutdown:
    """Receiver of the signals that end the process."""

    def __init__(self) -> None:
        """Start to receive the signals. Call it in the main thread, before other threads start."""
        self._drain_s: float | None = None
        self._has_started = False
        for number in SIGNALS:
            signal.signal(number, _ignore)  # Python's own raises in the main thread; uvicorn installs its own later
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        threading.Thread(target=self._receive, name="signals", daemon=True).start()

    def serve(self, drain_s: float) -> None:
        """Pass later signals on to the main thread, which has `drain_s` seconds to end.

        Before this call, a signal ends the process.
        """
        self._drain_s = drain_s

    def _receive(self) -> None:
        while True:
            number = signal.Signals(signal.sigwait(SIGNALS))
            if self._drain_s is None:
                end(0)
            if not self._has_started:
                self._has_started = True
                deadline = threading.Timer(max(self._drain_s, MIN_DRAIN_S), _end_late)
                deadline.daemon = True
                deadline.start()
            _thread.interrupt_main(number)


def end(code: int) -> NoReturn:
    """End the process immediately, without waiting for any thread."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


def _end_late() -> NoReturn:
    line = threading.Thread(
        target=_log.error, args=("the drain time is over: the process ends with unfinished requests",), daemon=True
    )
    line.start()
    line.join(_LAST_LINE_S)
    os._exit(0)


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    """Do nothing: the thread that received the signal handles it."""

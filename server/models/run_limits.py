"""Time limits of model runs: an overdue run is terminated and raises an error.

onnxruntime checks `RunOptions.terminate` between the nodes of a graph, also inside the bodies of Loop and Scan. Runs in
threads, and runs on the event loop outside the queue, are registered here with the time at which they are overdue. The
queue's runs on the event loop are too frequent for that: `LoopRun` holds the current run, and the watchdog measures its
time.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from server.errors import DeadlineExceeded

DEFAULT_TIMEOUT_S: Final = 30
LOOP_TIMEOUT_S: Final = 0.5
"""Maximum seconds of a run on the event loop; then a thread re-runs it."""


class Terminable(Protocol):
    """Options that terminate a run from another thread: onnxruntime's RunOptions, or a test's."""

    terminate: bool


class RunTimeout(DeadlineExceeded):
    """A model run exceeded its time limit."""


class LoopRun:
    """The queue's current run on the event loop; one at a time over all models."""

    __slots__ = ("_make", "_terminated", "batch", "options")

    def __init__(self, make: Callable[[], Terminable]) -> None:
        """Create options for the first run with `make`."""
        self._make = make
        self._terminated: object = None
        self.batch: object = None
        """The batch that runs now; None if no batch runs."""
        self.options = make()

    def terminate(self, batch: object) -> None:
        """Terminate the run of a batch; call this from another thread.

        A run that has ended is not affected.
        """
        options = self.options
        if self.batch is batch:
            self._terminated = batch
            options.terminate = True

    def is_terminated(self, batch: object) -> bool:
        """Return whether the run of this batch was terminated."""
        return self._terminated is batch

    def renew(self) -> bool:
        """Prepare the options for the next run. Returns whether the last run was terminated."""
        was_terminated = self.options.terminate
        if was_terminated:
            self._terminated = None
            self.options = self._make()
        return was_terminated


class RunLimits:
    """Registered runs and the time at which each is overdue."""

    def __init__(self, make: Callable[[], Terminable], timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Limit runs to `timeout_s` seconds; `make` creates their options."""
        self.loop_run = LoopRun(make)
        self.timeout_s = timeout_s
        self._make = make
        self._overdue_at: dict[Terminable, float] = {}

    @contextmanager
    def limited(self, timeout_s: float | None = None) -> Iterator[Terminable]:
        """Yield the options of a new run.

        Raises RunTimeout if the run fails after it was overdue.
        """
        options = self.begin(timeout_s)
        try:
            yield options
        except Exception as error:
            if options.terminate:
                raise self.timeout() from error
            raise
        finally:
            self.end(options)

    def begin(self, timeout_s: float | None = None) -> Terminable:
        """Return the options of a new run; `timeout_s` overrides the default limit."""
        options = self._make()
        self._overdue_at[options] = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        return options

    def end(self, options: Terminable) -> None:
        """Remove a run that has ended."""
        self._overdue_at.pop(options, None)

    def end_overdue(self) -> None:
        """Terminate the overdue runs. Call it from a thread that no run blocks."""
        now_s = time.monotonic()
        for options, overdue_at in tuple(self._overdue_at.items()):
            if now_s > overdue_at:
                options.terminate = True

    def timeout(self) -> RunTimeout:
        """Return the error for the client of a terminated run."""
        return RunTimeout(f"the model did not answer within {self.timeout_s:g} s")

"""Limits on the time and the memory of loading a model version."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple, TypeVar

from server.errors import ModelError
from server.models.run_limits import RunLimits
from server.models.session import MAX_MODEL_BYTES, Cancellation
from server.models.threads import lower_priority

T = TypeVar("T")


class LoadLimits(NamedTuple):
    """Limits on the load of one version and its later runs.

    The defaults are the exporter's.
    """

    timeout_s: float = 3600
    max_model_bytes: int = MAX_MODEL_BYTES
    runs: RunLimits | None = None
    """None: the time of runs is not limited."""

    def load(self, load: Callable[[Cancellation], T]) -> T:
        """Return the result of `load`, which runs in its own thread, within the time limit.

        Raises its error, or ModelError after the timeout. The load is then cancelled. If it does not react, its thread
        goes on at the lowest priority: its result is not needed, and it does not delay the end of the process.
        """
        cancellation = Cancellation()
        loaded: Future[T] = Future()
        thread = threading.Thread(target=_set, args=(loaded, load, cancellation), name="load", daemon=True)
        thread.start()
        try:
            return loaded.result(self.timeout_s)
        except TimeoutError:
            if loaded.done():  # the load's own error
                raise
        cancellation.cancel()
        lower_priority(thread)
        raise ModelError(f"it was not loaded within {self.timeout_s:g} s")


def _set(loaded: "Future[T]", load: Callable[[Cancellation], T], cancellation: Cancellation) -> None:
    """Set a future to the result or the error of a load."""
    try:
        loaded.set_result(load(cancellation))
    except BaseException as error:  # noqa: BLE001 # raised by the thread that waits
        loaded.set_exception(error)

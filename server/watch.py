"""Who watches the drift of a model version: made when a first answer is there, so that no start waits for it."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from server.model import Model

if TYPE_CHECKING:
    from server.drift import Drift


class Watch(NamedTuple):
    """How the drift of each model version is watched."""

    window_s: int = 0
    """Over how many seconds; 0: it isn't."""
    clock_ns: Callable[[], int] = time.perf_counter_ns
    """By what clock; it never goes back."""

    def of(self, model: Model) -> "Watched | None":
        """Return what watches a model; None where nothing does, or its manifest has nothing to compare with."""
        return Watched(model, self) if self.window_s and model.manifest.reference is not None else None


class Watched:
    """One model version that is watched."""

    def __init__(self, model: Model, watch: Watch) -> None:
        """Watch `model`, whose manifest has a reference."""
        self.clock_ns = watch.clock_ns
        self.drift: Drift | None = None
        """What was seen; None before the first answer."""
        self._model = model
        self._window_s = watch.window_s
        self._lock = threading.Lock()

    def made(self) -> "Drift":
        """Return what was seen. From any thread."""
        from server.drift import Drift

        with self._lock:
            if self.drift is None:
                manifest = self._model.manifest
                assert manifest.reference is not None  # noqa: S101 # as `Watch.of` has seen to
                self.drift = Drift(manifest, manifest.reference, self._model.signature, self._window_s, self.clock_ns)
            return self.drift

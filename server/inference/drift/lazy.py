"""Drift monitors that are created at the first response, so that startup does not wait."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from server.models.session import Model

if TYPE_CHECKING:
    from server.inference.drift.monitor import Drift


class DriftConfig(NamedTuple):
    """Configuration of drift detection for all model versions."""

    window_s: int = 0
    """Length of the window in seconds; 0 disables drift detection."""
    clock_ns: Callable[[], int] = time.perf_counter_ns
    """A monotonic clock."""

    def for_model(self, model: Model) -> "LazyDrift | None":
        """Return the lazy drift monitor of a model.

        None if drift detection is disabled or the manifest has no reference.
        """
        return LazyDrift(model, self) if self.window_s and model.manifest.reference is not None else None


class LazyDrift:
    """Drift monitor of one model version, created on first use."""

    def __init__(self, model: Model, config: DriftConfig) -> None:
        """Watch `model`, whose manifest has a reference."""
        self.clock_ns = config.clock_ns
        self.drift: Drift | None = None
        """The counts; None before the first response."""
        self._model = model
        self._window_s = config.window_s
        self._lock = threading.Lock()

    def monitor(self) -> "Drift":
        """Return the drift monitor; create it if necessary. Any thread may call it."""
        from server.inference.drift.monitor import Drift

        with self._lock:
            if self.drift is None:
                manifest = self._model.manifest
                assert manifest.reference is not None  # noqa: S101 # `DriftConfig.for_model` ensures it
                self.drift = Drift(manifest, manifest.reference, self._model.signature, self._window_s, self.clock_ns)
            return self.drift

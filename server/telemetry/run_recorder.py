"""Recorder of model runs in the observations of their requests.

Imported only where requests are observed.
"""

from time import perf_counter_ns, time_ns
from typing import Any

from server.http.request_context import MAX_RUNS, Observation, Run, current
from server.inference.batcher import Receiver
from server.inference.statistics import RunInfo
from server.models.session import Model


def observe_run(model: Model, receiver: Receiver[Any]) -> "RunRecorder | None":
    """Return a recorder between the queue and the current request's `receiver`; None if the request is not observed."""
    observation = current.get()
    return None if observation is None else RunRecorder(observation, model, receiver)


class RunRecorder:
    """Receiver that records the run of one request and passes on the response."""

    __slots__ = ("_model", "_observation", "_queued_at", "_receiver")

    def __init__(self, observation: Observation, model: Model, receiver: Receiver[Any]) -> None:
        """Record a request that is queued now."""
        self._observation = observation
        self._model = model
        self._receiver = receiver
        self._queued_at = time_ns(), perf_counter_ns()

    def accept(self, rows: int) -> None:
        """Record the rows of the request, and the model that they are for."""
        self._observation.add_rows(self._model.name, self._model.version, rows)

    def is_disconnected(self) -> bool:
        """Return True if the client disconnected."""
        return self._receiver.is_disconnected()

    def deliver(self, result: object, run: RunInfo | None = None) -> None:
        """Record the run, and pass on the response or the error."""
        runs = self._observation.runs
        if run is not None and len(runs) < MAX_RUNS:
            queued_ns, clock_ns = self._queued_at
            unix_ns = queued_ns - clock_ns
            runs.append(Run(queued_ns, unix_ns + run.began_ns, unix_ns + run.ended_ns, run.rows, run.requests))
        self._receiver.deliver(result, run)

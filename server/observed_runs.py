"""Runs of a model to the requests that were part of them: imported where requests are observed."""

from collections.abc import Callable, Sequence
from time import time_ns
from typing import Any

from server.batching import Receiver
from server.counters import Stages
from server.observation import MAX_RUNS, Observation, Run, current
from server.replies import Body
from server.runner import Encode, Runner, Work
from server.signature import Outputs


class ObservedRunner(Runner):
    """A model version whose runs are told to the requests that were part of them."""

    @staticmethod
    def runs(*args: Any) -> "_TimedRuns":  # noqa: ANN401 # as Runner's own has them
        """Return what runs batches."""
        return _TimedRuns(Runner.runs(*args))

    def submit(self, work: Work, receiver: Receiver[Body], timeout_s: float | None = None) -> None:
        """Queue one request: see Runner."""
        observation = current.get()
        if observation is not None:
            observation.takes(self.model.name, self.model.version, work.rows)
            work.encode = _TimedEncode(observation, work.encode)
        token = current.set(None)  # what is called for a whole batch is done for no one request
        try:
            super().submit(work, receiver, timeout_s)
        finally:
            current.reset(token)


class _TimedEncode:
    """Encodes an answer, and knows whose it is."""

    __slots__ = ("_encode", "observation", "queued_ns")

    def __init__(self, observation: Observation, encode: Encode) -> None:
        self.observation = observation
        self.queued_ns = time_ns()
        self._encode = encode

    def __call__(self, outputs: Outputs, start: int, stop: int) -> Body:
        return self._encode(outputs, start, stop)


class _TimedRuns:
    """Runs batches, and tells when."""

    def __init__(self, runs: Callable[[Sequence[Work]], tuple[Sequence[Body], Stages]]) -> None:
        self._runs = runs

    def __call__(self, works: Sequence[Work]) -> tuple[Sequence[Body], Stages]:
        began_ns = time_ns()
        ran = self._runs(works)
        ended_ns = time_ns()
        rows = sum(work.rows for work in works)
        for work in works:
            encode = work.encode
            if isinstance(encode, _TimedEncode) and len(encode.observation.runs) < MAX_RUNS:
                encode.observation.runs.append(Run(encode.queued_ns, began_ns, ended_ns, rows, len(works)))
        return ran

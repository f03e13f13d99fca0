"""Recording of model runs in the observations of their requests.

Imported only where requests are observed.
"""

from collections.abc import Callable, Sequence
from time import time_ns
from typing import Any, Generic

from server.http.request_context import MAX_RUNS, Observation, Run, current
from server.inference.batcher import Receiver
from server.inference.runner import Encode, InferenceRequest, ResponseT, Runner
from server.inference.statistics import Stages
from server.models.signature import Outputs


class ObservedRunner(Runner):
    """Runner that records each run in the observations of its requests."""

    @staticmethod
    def wrapped(runs: Callable[[Sequence[InferenceRequest[Any]]], tuple[Sequence[Any], Stages]]) -> "_TimedRuns":
        """Wrap the function that runs batches."""
        return _TimedRuns(runs)

    def submit_undecoded(
        self,
        decode: Callable[[], InferenceRequest[ResponseT]],
        rows: int,
        receiver: Receiver[ResponseT],
        timeout_s: float | None = None,
    ) -> Callable[[], None]:
        """Queue one undecoded request: see Runner."""
        observation, queued_ns = current.get(), time_ns()

        def observed() -> InferenceRequest[ResponseT]:
            work = decode()
            if observation is not None:
                observation.takes(self.model.name, self.model.version, work.rows)
                work.encode = _TimedEncode(observation, work.encode, queued_ns)
            return work

        token = current.set(None)
        try:
            return super().submit_undecoded(observed, rows, receiver, timeout_s)
        finally:
            current.reset(token)

    def submit(
        self, work: InferenceRequest[ResponseT], receiver: Receiver[ResponseT], timeout_s: float | None = None
    ) -> None:
        """Queue one request: see Runner."""
        observation = current.get()
        if observation is not None:
            observation.takes(self.model.name, self.model.version, work.rows)
            work.encode = _TimedEncode(observation, work.encode, time_ns())
        token = current.set(None)  # work for a whole batch belongs to no single request
        try:
            super().submit(work, receiver, timeout_s)
        finally:
            current.reset(token)


class _TimedEncode(Generic[ResponseT]):
    """Response encoder that carries the observation of its request."""

    __slots__ = ("_encode", "observation", "queued_ns")

    def __init__(self, observation: Observation, encode: Encode[ResponseT], queued_ns: int) -> None:
        self.observation = observation
        self.queued_ns = queued_ns
        self._encode = encode

    def __call__(self, outputs: Outputs, start: int, stop: int) -> ResponseT:
        return self._encode(outputs, start, stop)


class _TimedRuns:
    """Batch runner that records the time of each run."""

    def __init__(self, runs: Callable[[Sequence[InferenceRequest[Any]]], tuple[Sequence[Any], Stages]]) -> None:
        self._runs = runs

    def __call__(self, works: Sequence[InferenceRequest[Any]]) -> tuple[Sequence[Any], Stages]:
        began_ns = time_ns()
        ran = self._runs(works)
        ended_ns = time_ns()
        rows = sum(work.rows for work in works)
        for work in works:
            encode = work.encode
            if isinstance(encode, _TimedEncode) and len(encode.observation.runs) < MAX_RUNS:
                encode.observation.runs.append(Run(encode.queued_ns, began_ns, ended_ns, rows, len(works)))
        return ran

"""Runners: one queue per model version, from checked columns to encoded responses.

Every interface uses them.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NamedTuple, Protocol, TypeVar

from server.errors import DeadlineExceeded
from server.inference.batcher import Batcher, Limits, Receiver
from server.inference.drift.lazy import DriftConfig, LazyDrift
from server.inference.input_buffers import InputBuffers
from server.inference.statistics import Counters, Stages
from server.models.run_limits import LOOP_TIMEOUT_S, RunLimits, RunTimeout, Terminable
from server.models.session import Model
from server.models.session import run_limits as new_run_limits
from server.models.signature import Columns, Outputs, Values
from server.models.threads import UnjoinedExecutor, lower_priority

if TYPE_CHECKING:
    from server.inference.drift.monitor import Drift

_log = logging.getLogger("lifeboat.runner")

ResponseT = TypeVar("ResponseT")
"""The body of a response, as the encoder of a request returns it."""

Encode = Callable[[Outputs, int, int], ResponseT]
"""Encodes the response for the rows from a start up to a stop."""


@dataclass(slots=True)
class InferenceRequest(Generic[ResponseT]):
    """The rows of one request, their runner, and the encoder of the response."""

    runner: "Runner"
    columns: Sequence[Values]
    """For each feature a column of `rows` checked values, in the manifest's order."""
    rows: int
    encode: Encode[ResponseT]
    """Encodes the response from its rows of the outputs."""
    timeout_s: float | None = None
    """Seconds that the client waits, if the body states a timeout."""
    is_alone: bool = False
    """Whether it runs in a thread, with arrays other than the event loop's."""
    counts_for_drift: ClassVar[bool] = True
    """Whether the rows come from a client, so that they count for drift."""


class HypotheticalRequest(InferenceRequest[ResponseT]):
    """A request with hypothetical rows, which do not count for drift.

    They run like all others.
    """

    __slots__ = ()
    counts_for_drift: ClassVar[bool] = False


def no_rows(runner: "Runner", encode: Encode[ResponseT], timeout_s: float | None = None) -> InferenceRequest[ResponseT]:
    """Return the work of a request without rows.

    It runs the example row, and encodes no row of the output.
    """
    columns = [column.array([column.feature.example]).reshape(-1) for column in runner.model.signature.columns]
    return HypotheticalRequest(
        runner, columns, 1, lambda outputs, start, _stop: encode(outputs, start, start), timeout_s
    )


class Load(NamedTuple):
    """The current load of all models."""

    requests: int
    """Requests that wait or run."""
    rows: int
    """Rows of these requests."""


class RunRecorder(Receiver[Any], Protocol):
    """Receiver that records the run of one request and passes on the response."""

    def accept(self, rows: int) -> None:
        """Record that the request has `rows` rows."""


Observe = Callable[[Model, Receiver[Any]], RunRecorder | None]
"""Returns a recorder between the queue and a request's receiver; None if the request is not observed."""


class Runner:
    """The queue of one model version, which runs requests that arrive together in one batch.

    The outputs have the same bits as in a run alone.
    """

    def __init__(  # noqa: PLR0913, PLR0917 # all runners share these
        self,
        model: Model,
        limits: Limits,
        executor: Executor,
        load: Callable[[], Load],
        drift_config: DriftConfig,
        run_limits: RunLimits,
        observe: "Observe | None" = None,
    ) -> None:
        """Allocate the batches of `model`.

        Large requests run in `executor`; `load` returns the load of all runners; `observe` records runs.
        """
        self.model = model
        self.load = load
        self.explanations = Counters()
        """Explanation requests of this version, and the runs and rows of the model for them."""
        self._observe = observe
        self._lazy_drift = drift_config.for_model(model)
        # The queue refers to `runs` and not to this object: a reference cycle would hold a session until it is
        # collected.
        runs = _Runs(model, limits.max_batch_rows, self._lazy_drift, run_limits)
        self._batcher: Batcher[InferenceRequest[Any], Any] = Batcher(runs, limits, executor, runs)

    @property
    def drift(self) -> "Drift | None":
        """Distributions of inputs and outputs beside the reference; None if drift is not watched."""
        return None if self._lazy_drift is None else self._lazy_drift.monitor()

    @property
    def counters(self) -> Counters:
        """Counters of this version's requests since the start."""
        return self._batcher.counters

    @property
    def rows(self) -> int:
        """Number of rows that wait or run now."""
        return self._batcher.rows

    def submit(
        self, request: InferenceRequest[ResponseT], receiver: Receiver[ResponseT], timeout_s: float | None = None
    ) -> None:
        """Queue one request; `receiver` takes its response.

        After `timeout_s` without a response it takes DeadlineExceeded. Raises ResourceExhausted if the queue is full.
        """
        if self._observe is not None and (recorder := self._observe(self.model, receiver)) is not None:
            recorder.accept(request.rows)
            receiver = recorder
        self._batcher.submit(request, request.rows, receiver, timeout_s)

    def check_room(self, rows: int) -> None:
        """Raise ResourceExhausted if the queue has no room for `rows` more rows."""
        self._batcher.check_room(rows)

    def submit_undecoded(
        self,
        decode: Callable[[], InferenceRequest[ResponseT]],
        rows: int,
        receiver: Receiver[ResponseT],
        timeout_s: float | None = None,
    ) -> Callable[[], None]:
        """Queue a request of about `rows` rows, to be decoded later in a thread.

        All else is as in `submit`. `decode` may raise RequestError, which `receiver` then takes. Returns a function to
        call when the client of `receiver` disconnects: it frees the request's memory.
        """
        arrived_ns = time.perf_counter_ns()
        recorder = None if self._observe is None else self._observe(self.model, receiver)

        def decode_request() -> tuple[InferenceRequest[ResponseT], int]:
            request = decode()
            if recorder is not None:
                recorder.accept(request.rows)
            request.is_alone = True
            if request.timeout_s is not None and time.perf_counter_ns() - arrived_ns >= request.timeout_s * 1e9:
                raise DeadlineExceeded("the deadline passed before the response")
            return request, request.rows

        return self._batcher.submit_undecoded(decode_request, rows, recorder or receiver, timeout_s)


class _Runs:
    """Runs batches of one model version."""

    def __init__(self, model: Model, max_batch_rows: int, lazy_drift: LazyDrift | None, limits: RunLimits) -> None:
        self._model = model
        self._limits = limits
        self._loop_run = limits.loop_run
        self._thread_run: Terminable | None = None
        """Options of the run in a thread; there is one at a time."""
        self._abandoned_run: Terminable | None = None
        """Options of a run in a thread that no client waits for."""
        self._lazy_drift = lazy_drift
        self._clock_ns = time.perf_counter_ns if lazy_drift is None else lazy_drift.clock_ns
        self._max_batch_rows = max_batch_rows
        self._feed = self._allocate_buffers(max_batch_rows)

    def _allocate_buffers(self, rows: int) -> InputBuffers:
        return InputBuffers(self._model.signature, rows, self._model.manifest.min_batch_rows)

    def __call__(self, requests: Sequence[InferenceRequest[Any]]) -> tuple[list[Any], Stages]:
        """Run one batch on the event loop, or in a thread.

        The event loop uses the arrays allocated at load; a thread allocates its own.
        """
        clock_ns = self._clock_ns
        start_ns = clock_ns()
        large = requests[0].is_alone or requests[0].rows > self._max_batch_rows
        feed = self._allocate_buffers(requests[0].rows) if large else self._feed
        rows = 0
        for request in requests:
            feed.write(rows, request.rows, request.columns)
            rows += request.rows
        written_ns = clock_ns()
        tensors = feed.tensors(rows)
        if large:
            outputs = self._compute_in_thread(tensors)
        else:
            loop_run = self._loop_run
            loop_run.batch = requests
            try:
                outputs = self._model.compute(tensors, loop_run.options)
            except Exception as error:  # noqa: BLE001 # raised again, unless the termination was meant for another run
                outputs = self._rerun_on_loop(requests, tensors, error)
            loop_run.batch = None
        computed_ns = clock_ns()
        responses: list[Any] = []
        start = 0
        for request in requests:
            responses.append(request.encode(outputs, start, start + request.rows))
            start += request.rows
        stages = Stages(written_ns - start_ns, computed_ns - written_ns, clock_ns() - computed_ns)
        lazy_drift = self._lazy_drift
        if lazy_drift is not None:
            drift = lazy_drift.drift
            if large:
                if requests[0].counts_for_drift:
                    lazy_drift.monitor().count_run("requests", tensors, rows, outputs)
            elif drift is None:
                asyncio.get_running_loop().call_soon(_count_first_batch, lazy_drift, requests, outputs, start_ns)
            elif drift.accepts_rows(start_ns):
                _count_batch(drift, requests, outputs, start_ns)
        return responses, stages

    def move_to_thread(self) -> Executor:
        """Move all later runs from the event loop to a thread.

        Each run then has one request. Returns the executor of that thread.
        """
        self._max_batch_rows = -1
        self._model.is_slow = True
        _log.error(
            "model %s version %s: a run took too long; from now on, its requests run one at a time in a thread",
            self._model.name,
            self._model.version,
        )
        return UnjoinedExecutor(1, "slow", lower_priority)  # its own: other models' requests don't wait for it

    def end(self) -> None:
        """Terminate the current run in a thread: no client waits for it."""
        options = self._thread_run
        if options is not None:
            self._abandoned_run = options
            options.terminate = True

    def _compute_in_thread(self, tensors: Columns) -> Outputs:
        limits = self._limits
        self._thread_run = options = limits.begin()
        try:
            return self._model.compute(tensors, options)
        except Exception as error:
            if options.terminate and options is not self._abandoned_run:
                raise limits.timeout() from error
            raise
        finally:
            self._thread_run = self._abandoned_run = None
            limits.end(options)

    def _rerun_on_loop(self, requests: Sequence[InferenceRequest[Any]], tensors: Columns, error: Exception) -> Outputs:
        """Re-run on the event loop if the termination was meant for the previous run.

        Raises RunTimeout if it was meant for this run, and otherwise the model's error.
        """
        loop_run = self._loop_run
        is_own_termination = loop_run.is_terminated(requests)
        try:
            if not loop_run.renew():
                raise error
            if is_own_termination:
                raise RunTimeout(f"a run blocked the event loop for more than {LOOP_TIMEOUT_S:g} s") from error
            return self._model.compute(tensors, loop_run.options)
        except BaseException:
            loop_run.batch = None
            raise


def _count_first_batch(
    lazy_drift: LazyDrift, requests: Sequence[InferenceRequest[Any]], outputs: Outputs, at_ns: int
) -> None:
    """Count the first batch for drift after its responses are sent.

    The first call creates the `Drift`, and no client may wait for that.
    """
    _count_batch(lazy_drift.monitor(), requests, outputs, at_ns)


def _count_batch(drift: "Drift", requests: Sequence[InferenceRequest[Any]], outputs: Outputs, at_ns: int) -> None:
    """Count a batch of the event loop for drift."""
    start = 0
    for request in requests:
        if request.counts_for_drift:
            drift.count_request(at_ns, request.columns, request.rows, outputs, start)
        start += request.rows


class Runners:
    """One runner for each served model version, created on first use."""

    def __init__(
        self,
        limits: Limits,
        executor: Executor,
        drift_config: DriftConfig = DriftConfig(),  # noqa: B008 # immutable
        *,
        run_limits: RunLimits | None = None,
        observe: Observe | None = None,
    ) -> None:
        """Create runners with the same limits, and one `executor` for large requests.

        `drift_config` configures drift detection; `run_limits` bounds the time of runs; `observe` records runs.
        """
        self.run_limits: Final = run_limits or new_run_limits()
        self.limits: Final = limits
        self.executor: Final = executor
        """Runs large requests, one after the other."""
        self._observe = observe
        self._drift_config = drift_config
        self._runners: dict[Model, Runner] = {}
        self._served: Collection[Model] = ()

    def __getitem__(self, model: Model) -> Runner:
        """Return the model's own runner.

        A runner for a model that is no longer served is not cached.
        """
        runner = self._runners.get(model)
        if runner is None:
            runner = Runner(
                model, self.limits, self.executor, self.load, self._drift_config, self.run_limits, self._observe
            )
            if model in self._served:
                self._runners[model] = runner
        return runner

    def __iter__(self) -> Iterator[Runner]:
        """Yield every existing runner."""
        return iter([*self._runners.values()])

    def load(self) -> Load:
        """Return the current load."""
        requests = rows = 0
        for runner in tuple(self._runners.values()):  # a copy: a large request calls this from its thread
            requests += runner.counters.pending
            rows += runner.rows
        return Load(requests, rows)

    def retain(self, models: Collection[Model]) -> None:
        """Keep only the runners of `models`; the requests of others still get their responses."""
        self._served = models
        self._runners = {model: runner for model, runner in self._runners.items() if model in models}

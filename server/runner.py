"""Checked columns to encoded answers: one model version behind its queue, as every interface calls it."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from server.batching import Batcher, Limits, Receiver, Run
from server.counters import Counters, Stages
from server.feed import Feed, Values
from server.model import Model
from server.replies import Body
from server.signature import Outputs
from server.watch import Watch, Watched

if TYPE_CHECKING:
    from server.drift import Drift

Encode = Callable[[Outputs, int, int], Body]
"""Encodes the answer of the rows from one number up to another."""


@dataclass(slots=True)
class Work:
    """One request's rows, what runs them, and how its answer is written."""

    runner: "Runner"
    columns: Sequence[Values]
    """A column of `rows` checked values for each feature, in the manifest's order."""
    rows: int
    encode: Encode
    """Makes the answer of its rows of the outputs."""
    timeout_s: float | None = None
    """How long the caller waits, where its body says so."""
    is_asked: ClassVar[bool] = True
    """Whether its rows are what somebody asks about, which counts for the drift."""


class Supposed(Work):
    """A request whose rows are nobody's: what an answer would be if. They are answered like all others."""

    __slots__ = ()
    is_asked: ClassVar[bool] = False


class Load(NamedTuple):
    """How much there is to do now, by all models."""

    requests: int
    """That wait or run."""
    rows: int
    """Of these requests."""


class Runner:
    """A model version that answers: requests that arrive together are run together, with the same bits as alone."""

    def __init__(
        self, model: Model, limits: Limits, executor: Executor, load: Callable[[], Load], watch: Watch
    ) -> None:
        """Lay out the batches of `model`; large requests run in `executor`; `load` tells of all runners."""
        self.model = model
        self.load = load
        self.explanations = Counters()
        """What explanations of this version's answers took: their requests, and the runs and rows of the model."""
        self._watched = watch.of(model)
        # The queue holds what runs the model and not this object: a circle would keep a session until it is collected.
        runs = self.runs(model, limits.max_batch_rows, self._watched)
        self._batcher: Batcher[Work, Body] = Batcher(runs, limits, executor)

    @staticmethod
    def runs(model: Model, max_batch_rows: int, watched: Watched | None) -> Run[Work, Body]:
        """Return what runs batches of `model`, of so many rows at most on the event loop, and has them `watched`."""
        return _Runs(model, max_batch_rows, watched)

    @property
    def drift(self) -> "Drift | None":
        """What was asked and answered, beside the reference; None where that isn't watched."""
        return None if self._watched is None else self._watched.made()

    @property
    def counters(self) -> Counters:
        """What this version has answered since the start."""
        return self._batcher.counters

    @property
    def rows(self) -> int:
        """How many rows wait or run now."""
        return self._batcher.rows

    def submit(self, work: Work, receiver: Receiver[Body], timeout_s: float | None = None) -> None:
        """Queue one request, whose answer `receiver` takes; DeadlineExceeded where it isn't there after `timeout_s`.

        Raises ResourceExhausted where the queue is full.
        """
        self._batcher.submit(work, work.rows, receiver, timeout_s)


class _Runs:
    """Runs batches of one model version."""

    def __init__(self, model: Model, max_batch_rows: int, watched: Watched | None) -> None:
        self._model = model
        self._watched = watched
        self._clock_ns = time.perf_counter_ns if watched is None else watched.clock_ns
        self._max_batch_rows = max_batch_rows
        self._feed = self._lay_out(max_batch_rows)

    def _lay_out(self, rows: int) -> Feed:
        return Feed(self._model.signature, rows, self._model.manifest.min_batch_rows)

    def __call__(self, works: Sequence[Work]) -> tuple[list[Body], Stages]:
        """Run one batch: on the event loop with the arrays made at load, in a thread with its own."""
        clock_ns = self._clock_ns
        began_ns = clock_ns()
        large = works[0].rows > self._max_batch_rows
        feed = self._lay_out(works[0].rows) if large else self._feed
        rows = 0
        for work in works:
            feed.write(rows, work.rows, work.columns)
            rows += work.rows
        laid_out_ns = clock_ns()
        outputs = self._model.compute(feed.tensors(rows))
        computed_ns = clock_ns()
        answers: list[Body] = []
        start = 0
        for work in works:
            answers.append(work.encode(outputs, start, start + work.rows))
            start += work.rows
        stages = Stages(laid_out_ns - began_ns, computed_ns - laid_out_ns, clock_ns() - computed_ns)
        watched = self._watched
        if watched is not None:
            drift = watched.drift
            if large:
                if works[0].is_asked:
                    watched.made().see_run("requests", feed.tensors(rows), rows, outputs)
            elif drift is None:
                asyncio.get_running_loop().call_soon(_see_first, watched, works, outputs, began_ns)
            elif drift.takes(began_ns):
                _see(drift, works, outputs, began_ns)
        return answers, stages


def _see_first(watched: Watched, works: Sequence[Work], outputs: Outputs, at_ns: int) -> None:
    """Have a first batch be looked at, whose answers are on their way."""
    _see(watched.made(), works, outputs, at_ns)


def _see(drift: "Drift", works: Sequence[Work], outputs: Outputs, at_ns: int) -> None:
    """Have a batch that was run on the event loop be looked at."""
    start = 0
    for work in works:
        if work.is_asked:
            drift.see(at_ns, work.columns, work.rows, outputs, start)
        start += work.rows


class Runners:
    """A runner for each model version that is served, made when it is first asked for."""

    def __init__(
        self,
        limits: Limits,
        executor: Executor,
        watch: Watch = Watch(),  # noqa: B008 # it can't be changed
        kind: type[Runner] = Runner,
    ) -> None:
        """Give every runner, each of this `kind`, the same limits; they share `executor` for large requests.

        `watch` says how their drift is watched.
        """
        self.limits: Final = limits
        self._kind = kind
        self._executor = executor
        self._watch = watch
        self._runners: dict[Model, Runner] = {}
        self._served: Collection[Model] = ()

    def __getitem__(self, model: Model) -> Runner:
        """Return the model's own runner; one that is not kept for a model that is served no longer."""
        runner = self._runners.get(model)
        if runner is None:
            runner = self._kind(model, self.limits, self._executor, self.load, self._watch)
            if model in self._served:
                self._runners[model] = runner
        return runner

    def __iter__(self) -> Iterator[Runner]:
        """Yield every runner there is."""
        return iter([*self._runners.values()])

    def load(self) -> Load:
        """Return how much there is to do now."""
        requests = rows = 0
        for runner in tuple(self._runners.values()):  # a copy: a large request looks from its thread
            requests += runner.counters.pending
            rows += runner.rows
        return Load(requests, rows)

    def keep(self, models: Collection[Model]) -> None:
        """Keep the runners of these models alone: what others have under way is still answered."""
        self._served = models
        self._runners = {model: runner for model, runner in self._runners.items() if model in models}

"""Items that arrive together to one run, and its answers back to each: dynamic batching.

What is submitted in one turn of the event loop is run as one batch at the loop's next turn, on the loop itself: a lone
item waits for nothing, and under load each run takes what gathered while the one before it ran. An item of more rows
than a batch may have runs alone in a thread, so that the loop keeps answering the small ones beside it. The queue is
bounded by rows, and refuses at once. Knows nothing of models and nothing of HTTP.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from server.counters import Counters, Stages
from server.errors import Canceled, DeadlineExceeded, RequestError, ResourceExhausted

_log = logging.getLogger("lifeboat.batching")

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Answer_contra = TypeVar("Answer_contra", contravariant=True)


Run = Callable[[Sequence[Item]], tuple[Sequence[Answer], Stages]]
"""Runs a batch: an answer for each item, in their order, and where the time went."""


class Receiver(Protocol[Answer_contra]):
    """Who waits for an item's answer. Both methods are called on the event loop."""

    def left(self) -> bool:
        """Return whether nobody waits any more: the item is then dropped before it is run."""

    def deliver(self, answer: Answer_contra | Exception) -> None:
        """Take the answer, or what was raised in its stead."""


class Limits(NamedTuple):
    """What a batcher may hold and how long it may wait."""

    max_batch_rows: int
    """Rows that one run on the event loop takes at most; an item of more runs alone, in a thread."""
    max_queue_rows: int
    """Rows that may wait or run; where there are none, one item is always taken."""
    delay_s: float = 0.0
    """How long the first of a batch waits for company; 0: not at all."""


class _Entry(Generic[Item, Answer]):
    """One item, who waits for its answer, and since when."""

    __slots__ = ("arrived_ns", "expired", "item", "receiver", "rows", "timer")

    def __init__(self, item: Item, rows: int, receiver: Receiver[Answer]) -> None:
        self.item = item
        self.rows = rows
        self.receiver = receiver
        self.timer: asyncio.TimerHandle | None = None
        self.expired = False
        self.arrived_ns = time.perf_counter_ns()


class Batcher(Generic[Item, Answer]):
    """A bounded queue before `run`. Of one event loop: only the runs of large items leave it, for `executor`."""

    def __init__(self, run: Run[Item, Answer], limits: Limits, executor: Executor) -> None:
        """Hold what is submitted to `limits`; `executor` bounds how many large items run at a time."""
        self.counters = Counters()
        self._run = run
        self._limits = limits
        self._executor = executor
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rows = 0
        self._small: deque[_Entry[Item, Answer]] = deque()
        self._small_rows = 0
        self._turn: asyncio.Handle | None = None
        self._turn_waits = False
        """Whether the turn is that of a delay; a loop's own timers tell it by other types."""
        self._large: deque[_Entry[Item, Answer]] = deque()
        self._large_runs = False

    @property
    def rows(self) -> int:
        """How many rows wait or run now."""
        return self._rows

    def submit(self, item: Item, rows: int, receiver: Receiver[Answer], timeout_s: float | None = None) -> None:
        """Queue an item of `rows` rows, whose answer `receiver` takes. To be called on one event loop, always the same.

        After `timeout_s` without an answer `receiver` takes DeadlineExceeded; what isn't run by then never is. Raises
        ResourceExhausted where the queue is full.
        """
        if self._rows and self._rows + rows > self._limits.max_queue_rows:
            error = ResourceExhausted(f"the queue is full: {self._rows} rows wait; try again")
            self.counters.fail(error)
            raise error
        loop = self._loop
        if loop is None:  # kept, as asking for it is a system call before Python 3.12
            loop = self._loop = asyncio.get_running_loop()
        entry = _Entry(item, rows, receiver)
        self._rows += rows
        self.counters.pending += 1
        if timeout_s is not None:
            entry.timer = loop.call_later(timeout_s, self._expire, entry)
        if rows > self._limits.max_batch_rows:
            self._large.append(entry)
            self._start_large(loop)
            return
        self._small.append(entry)
        self._small_rows += rows
        if self._turn is None or self._limits.delay_s:
            self._schedule(loop)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the small items run: at the next turn, or when the first has waited its delay."""
        full = self._small_rows >= self._limits.max_batch_rows
        if self._turn is not None and not (full and self._turn_waits):
            return
        if self._turn is not None:
            self._turn.cancel()
        self._turn_waits = bool(self._limits.delay_s) and not full
        if self._turn_waits:
            self._turn = loop.call_later(self._limits.delay_s, self._run_small, loop)
        else:
            self._turn = loop.call_soon(self._run_small, loop)

    def _run_small(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run one batch of small items; what doesn't fit into it has the loop's turn after."""
        self._turn = None
        batch: list[_Entry[Item, Answer]] = []
        rows = 0
        while self._small and rows + self._small[0].rows <= self._limits.max_batch_rows:
            entry = self._small.popleft()
            self._small_rows -= entry.rows
            if entry.expired or entry.receiver.left():
                self._drop(entry)
            else:
                batch.append(entry)
                rows += entry.rows
        if self._small:
            self._turn_waits = False
            self._turn = loop.call_soon(self._run_small, loop)
        if batch:
            self._settle(batch, rows, self._answer(batch))

    def _start_large(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the next large item run in a thread, unless one of this batcher's does."""
        if self._large_runs:
            return
        while self._large:
            entry = self._large.popleft()
            if not (entry.expired or entry.receiver.left()):
                self._large_runs = True
                run = loop.run_in_executor(self._executor, self._answer, [entry])
                run.add_done_callback(partial(self._finish_large, loop, entry))
                return
            self._drop(entry)

    def _finish_large(
        self, loop: asyncio.AbstractEventLoop, entry: _Entry[Item, Answer], ran: "asyncio.Future[_Answered[Answer]]"
    ) -> None:
        self._large_runs = False
        self._settle([entry], entry.rows, ran.result())
        self._start_large(loop)

    def _answer(self, batch: list[_Entry[Item, Answer]]) -> "_Answered[Answer]":
        """Run a batch. One that fails is run again in halves: a bad item never fails its neighbours."""
        started_ns = time.perf_counter_ns()
        try:
            answers, stages = self._run([entry.item for entry in batch])
        except Exception as error:  # noqa: BLE001 # whatever it is, it is the answer of the item it belongs to
            if len(batch) == 1:
                return _Answered(started_ns, [error], _NO_STAGES, 1)
            middle = len(batch) // 2
            first, second = self._answer(batch[:middle]), self._answer(batch[middle:])
            stages = Stages(*map(sum, zip(first.stages, second.stages, strict=True)))
            both: list[Answer | Exception] = [*first.answers, *second.answers]
            return _Answered(started_ns, both, stages, 1 + first.runs + second.runs)
        return _Answered(started_ns, answers, stages, 1)

    def _settle(self, batch: list[_Entry[Item, Answer]], rows: int, answered: "_Answered[Answer]") -> None:
        """Count a run of so many rows, and hand out its answers."""
        counters = self.counters
        ended_ns = time.perf_counter_ns()
        started_ns, answers, stages, runs = answered
        counters.runs += runs
        counters.batches[(rows - 1).bit_length()] += 1
        counters.batch_rows += rows
        counters.last_run_unix_ms = time.time_ns() // 1_000_000
        counters.input_ns += stages[0]
        counters.infer_ns += stages[1]
        counters.output_ns += stages[2]
        counters.pending -= len(batch)
        for entry, answer in zip(batch, answers, strict=True):
            self._rows -= entry.rows
            if entry.expired:
                continue
            if entry.timer is not None:
                entry.timer.cancel()
            if isinstance(answer, Exception):
                counters.fail(answer, ended_ns - entry.arrived_ns)
            else:
                counters.requests += 1
                counters.rows += entry.rows
                counters.request_ns += ended_ns - entry.arrived_ns
                counters.queue_ns += started_ns - entry.arrived_ns
            _deliver(entry, answer)

    def _drop(self, entry: _Entry[Item, Answer]) -> None:
        """Forget an item before it is run: its caller has left, or was told that it took too long."""
        self._rows -= entry.rows
        self.counters.pending -= 1
        if entry.timer is not None:
            entry.timer.cancel()
        if not entry.expired:
            self._refuse(entry, Canceled("the caller left before its answer"))

    def _expire(self, entry: _Entry[Item, Answer]) -> None:
        """Tell a caller that its time is over."""
        entry.expired = True
        self._refuse(entry, DeadlineExceeded("the deadline passed before the answer"))

    def _refuse(self, entry: _Entry[Item, Answer], error: RequestError) -> None:
        self.counters.fail(error, time.perf_counter_ns() - entry.arrived_ns)
        _deliver(entry, error)


class _Answered(NamedTuple, Generic[Answer]):
    """What came of a batch."""

    started_ns: int
    answers: Sequence[Answer | Exception]
    stages: Stages
    runs: int
    """More than one where a run failed and was made again in parts."""


_NO_STAGES: Final = Stages(0, 0, 0)


def _deliver(entry: _Entry[Item, Answer], answer: Answer | Exception) -> None:
    """Hand out an answer. A receiver that fails is logged: those behind it in the batch are answered all the same."""
    try:
        entry.receiver.deliver(answer)
    except Exception:  # noqa: BLE001 # logged, whatever it is
        _log.exception("an answer could not be delivered")


class Waiter(Generic[Answer]):
    """A receiver to await: for callers that are coroutines."""

    def __init__(self) -> None:
        """Wait on the running event loop."""
        self._future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def left(self) -> bool:
        """Return whether the waiting was given up."""
        return self._future.done()

    def deliver(self, answer: Answer | Exception) -> None:
        """End the waiting, where it wasn't given up."""
        if self._future.done():
            return
        if isinstance(answer, Exception):
            self._future.set_exception(answer)
        else:
            self._future.set_result(answer)

    async def answer(self) -> Answer:
        """Return the answer, or raise what was delivered in its stead. Cancelling this gives the waiting up."""
        return await self._future

"""Items that arrive together to one run, and its answers back to each: dynamic batching.

What is submitted in one turn of the event loop is run as one batch at the loop's next turn, on the loop itself: a lone
item waits for nothing, and under load each run takes what gathered while the one before it ran. An item of more rows
than a batch may have runs alone in a thread, so that the loop keeps answering the small ones beside it. The queue is
bounded by rows, and refuses at once. Knows nothing of models and nothing of HTTP.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, NamedTuple, Protocol, TypeVar

from server.errors import Canceled, Internal, RequestError, ResourceExhausted

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Answer_contra = TypeVar("Answer_contra", contravariant=True)


class Stages(NamedTuple):
    """Nanoseconds that one run took to lay out its input, to compute, and to encode its answers."""

    input_ns: int
    infer_ns: int
    output_ns: int


Run = Callable[[Sequence[Item]], tuple[Sequence[Answer], Stages]]
"""Runs a batch: an answer for each item, in their order, and where the time went."""


class Receiver(Protocol[Answer_contra]):
    """Who waits for an item's answer. Both methods are called on the event loop."""

    def left(self) -> bool:
        """Return whether nobody waits any more: the item is then dropped before it is run."""

    def deliver(self, answer: Answer_contra | Exception) -> None:
        """Take the answer, or what was raised in its stead. Must not raise."""


class Limits(NamedTuple):
    """What a batcher may hold and how long it may wait."""

    max_batch_rows: int
    """Rows that one run on the event loop takes at most; an item of more runs alone, in a thread."""
    max_queue_rows: int
    """Rows that may wait or run; where there are none, one item is always taken."""
    delay_s: float = 0.0
    """How long the first of a batch waits for company; 0: not at all."""


@dataclass(slots=True)
class Counters:
    """What a batcher has done since the start; durations are sums over requests, in nanoseconds."""

    requests: int = 0
    """Items answered."""
    rows: int = 0
    runs: int = 0
    request_ns: int = 0
    """From submission to answer."""
    queue_ns: int = 0
    """From submission to the start of the run."""
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0
    pending: int = 0
    """Items that wait or run now."""
    failures: dict[str, int] = field(default_factory=dict)
    """The error's code to the number of items that ended in it."""

    def fail(self, error: Exception) -> None:
        """Count a failure."""
        code = error.code if isinstance(error, RequestError) else Internal.code
        self.failures[code] = self.failures.get(code, 0) + 1


class _Entry(Generic[Item, Answer]):
    """One item, who waits for its answer, and since when."""

    __slots__ = ("arrived_ns", "item", "receiver", "rows")

    def __init__(self, item: Item, rows: int, receiver: Receiver[Answer]) -> None:
        self.item = item
        self.rows = rows
        self.receiver = receiver
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
        self._large: deque[_Entry[Item, Answer]] = deque()
        self._large_runs = False

    def submit(self, item: Item, rows: int, receiver: Receiver[Answer]) -> None:
        """Queue an item of `rows` rows, whose answer `receiver` takes. To be called on one event loop, always the same.

        Raises ResourceExhausted where the queue is full.
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
        if self._turn is None and (full or not self._limits.delay_s):
            self._turn = loop.call_soon(self._run_small, loop)
        elif self._turn is None:
            self._turn = loop.call_later(self._limits.delay_s, self._run_small, loop)
        elif full and isinstance(self._turn, asyncio.TimerHandle):
            self._turn.cancel()
            self._turn = loop.call_soon(self._run_small, loop)

    def _run_small(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run one batch of small items; what doesn't fit into it has the loop's turn after."""
        self._turn = None
        batch: list[_Entry[Item, Answer]] = []
        rows = 0
        while self._small and rows + self._small[0].rows <= self._limits.max_batch_rows:
            entry = self._small.popleft()
            self._small_rows -= entry.rows
            if entry.receiver.left():
                self._drop(entry)
            else:
                batch.append(entry)
                rows += entry.rows
        if self._small:
            self._turn = loop.call_soon(self._run_small, loop)
        if batch:
            self._settle(batch, *self._answer(batch))

    def _start_large(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the next large item run in a thread, unless one of this batcher's does."""
        if self._large_runs:
            return
        while self._large:
            entry = self._large.popleft()
            if not entry.receiver.left():
                self._large_runs = True
                run = loop.run_in_executor(self._executor, self._answer, [entry])
                run.add_done_callback(partial(self._finish_large, loop, entry))
                return
            self._drop(entry)

    def _finish_large(
        self, loop: asyncio.AbstractEventLoop, entry: _Entry[Item, Answer], ran: "asyncio.Future[_Answered[Answer]]"
    ) -> None:
        self._large_runs = False
        self._settle([entry], *ran.result())
        self._start_large(loop)

    def _answer(self, batch: list[_Entry[Item, Answer]]) -> "_Answered[Answer]":
        """Run a batch. One that fails is run again item by item: a bad item never fails its neighbours."""
        started_ns = time.perf_counter_ns()
        try:
            answers, stages = self._run([entry.item for entry in batch])
        except Exception as error:  # noqa: BLE001 # whatever it is, it is the answer of the item it belongs to
            if len(batch) == 1:
                return started_ns, [error], _NO_STAGES
            return started_ns, [self._answer([entry])[1][0] for entry in batch], _NO_STAGES
        return started_ns, answers, stages

    def _settle(
        self,
        batch: list[_Entry[Item, Answer]],
        started_ns: int,
        answers: Sequence[Answer | Exception],
        stages: Stages,
    ) -> None:
        """Count a run, and hand out its answers."""
        counters = self.counters
        ended_ns = time.perf_counter_ns()
        counters.runs += 1
        counters.input_ns += stages[0]
        counters.infer_ns += stages[1]
        counters.output_ns += stages[2]
        counters.pending -= len(batch)
        for entry, answer in zip(batch, answers, strict=True):
            self._rows -= entry.rows
            if isinstance(answer, Exception):
                counters.fail(answer)
            else:
                counters.requests += 1
                counters.rows += entry.rows
                counters.request_ns += ended_ns - entry.arrived_ns
                counters.queue_ns += started_ns - entry.arrived_ns
            entry.receiver.deliver(answer)

    def _drop(self, entry: _Entry[Item, Answer]) -> None:
        """Forget an item whose caller has left, before it is run."""
        self._rows -= entry.rows
        self.counters.pending -= 1
        error = Canceled("the caller left before its answer")
        self.counters.fail(error)
        entry.receiver.deliver(error)


_Answered = tuple[int, Sequence[Answer | Exception], Stages]
"""When a run started, its answers, and where the time went."""
_NO_STAGES = Stages(0, 0, 0)


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

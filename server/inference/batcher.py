"""Dynamic batching: a bounded queue that combines items into runs.

Items submitted in one turn of the event loop run as one batch at the loop's next turn, on the loop itself. A single
item therefore waits for nothing, and under load each run takes the items that gathered during the run before it.

If thousands of items arrive in one turn, they run some dozens at a time during that turn: the CPU's caches hold no
more. An item with more rows than a batch may have runs alone in a thread, so that the loop still serves the small
items. An item that is large to decode waits undecoded, and is decoded in that thread when its turn comes.

The queue is bounded by rows, and rejects items at once. This module knows nothing of models or HTTP.
"""

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextvars import Context
from functools import partial
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar, cast

from server.errors import Canceled, DeadlineExceeded, RequestError, ResourceExhausted
from server.inference.statistics import Counters, RunInfo, Stages
from server.models.run_limits import RunTimeout

_log = logging.getLogger("lifeboat.batching")

Item = TypeVar("Item")
Result = TypeVar("Result")
Result_contra = TypeVar("Result_contra", contravariant=True)


Run = Callable[[Sequence[Item]], tuple[Sequence[Result], Stages]]
"""Runs a batch. Returns a result for each item, in order, and the stages' times."""


_EARLY_ROWS: Final = 64
"""Rows that run before another item is queued, also within a turn of the loop.

Larger runs don't take less time per row. Items that wait in the queue fill the CPU's caches, and every garbage
collection visits them: at 4,000 connections a prediction took 30 to 33 us of CPU without this limit, 28 with it.
"""


Decode = Callable[[], tuple[Item, int]]
"""Decodes an item. Returns the item and its number of rows."""


class RunControl(Protocol):
    """Control over the runs of one queue."""

    def move_to_thread(self) -> Executor:
        """Move all later runs to threads. Returns the executor for them."""

    def end(self) -> None:
        """Terminate the current run in a thread: no client waits for it."""


class Receiver(Protocol[Result_contra]):
    """Receiver of an item's result. Both methods are called on the event loop."""

    def is_disconnected(self) -> bool:
        """Return True if the client disconnected; the item is then dropped before it runs."""

    def deliver(self, result: Result_contra | Exception, run: RunInfo | None = None) -> None:
        """Take the result, or the error of the item, and the run that made the result."""


class Limits(NamedTuple):
    """Limits of a batcher's queue and of its delay."""

    max_batch_rows: int
    """Maximum rows of one run on the event loop; larger items run in a thread."""
    max_queue_rows: int
    """Maximum rows that wait or run; an empty queue always accepts one item."""
    delay_s: float = 0.0
    """Seconds that the first item of a batch waits for more items; 0: no delay."""


class _Entry(Generic[Item, Result]):
    """One item, its receiver, and the time of its submission."""

    __slots__ = ("arrived_ns", "expired", "item", "receiver", "rows", "timer")

    def __init__(self, item: Item, rows: int, receiver: Receiver[Result]) -> None:
        self.item = item
        self.rows = rows
        self.receiver = receiver
        self.timer: asyncio.TimerHandle | None = None
        self.expired = False
        self.arrived_ns = time.perf_counter_ns()


class _Undecoded(_Entry[Item, Result]):
    """An item that is decoded when its turn comes; until then `rows` is an estimate."""

    __slots__ = ("_decode", "decoded_rows")

    def __init__(self, decode: Decode[Item], rows: int, receiver: Receiver[Result]) -> None:
        super().__init__(cast("Item", None), rows, receiver)
        self._decode: Decode[Item] | None = decode
        self.decoded_rows = rows

    def decode(self) -> None:
        """Decode the item, and release the undecoded data.

        Raises Canceled if the data was dropped.
        """
        decode, self._decode = self._decode, None
        if decode is None:
            raise Canceled("the client disconnected before the response")
        self.item, self.decoded_rows = decode()

    def drop(self) -> None:
        """Release the undecoded data: no client waits for the item."""
        self._decode = None


class Batcher(Generic[Item, Result]):
    """A bounded queue for `run`, which belongs to one event loop.

    Only the runs of large items leave the loop, for `executor`.
    """

    def __init__(
        self, run: Run[Item, Result], limits: Limits, executor: Executor, control: RunControl | None = None
    ) -> None:
        """Limit the queue to `limits`; `executor` bounds the number of concurrent large items.

        If `run` raises RunTimeout on the event loop, `control` moves this run and all later runs to a thread.
        """
        self.counters = Counters()
        self._run = run
        self._limits = limits
        self._loop_rows = limits.max_batch_rows
        """Maximum rows of an item on the event loop; negative: all run in threads."""
        self._early_rows = sys.maxsize if limits.delay_s else min(_EARLY_ROWS, limits.max_batch_rows)
        self._executor = executor
        self._control = control
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rows = 0
        self._small: deque[_Entry[Item, Result]] = deque()
        self._small_rows = 0
        self._turn: asyncio.Handle | None = None
        self._is_delayed_turn = False
        """Whether the scheduled turn is the end of a delay.

        The event loop's own timer types can't tell: they differ from loop to loop.
        """
        self._large: deque[_Entry[Item, Result]] = deque()
        self._large_run: _Entry[Item, Result] | None = None
        self._context = Context()
        """Empty context for runs and timers: a batch belongs to no single request."""

    @property
    def rows(self) -> int:
        """Number of rows that wait or run now."""
        return self._rows

    def submit(self, item: Item, rows: int, receiver: Receiver[Result], timeout_s: float | None = None) -> None:
        """Queue an item of `rows` rows; `receiver` takes its result.

        Call this always on the same event loop. After `timeout_s` without a result, `receiver` takes DeadlineExceeded,
        and an item that has not run by then never runs. Raises ResourceExhausted if the queue is full.
        """
        if self._rows and self._rows + rows > self._limits.max_queue_rows:
            error = self._queue_full_error()
            self.counters.fail(error)
            raise error
        loop = self._loop
        if loop is None:  # cached: get_running_loop() makes a system call before Python 3.12
            loop = self._loop = asyncio.get_running_loop()
        if self._small_rows >= self._early_rows:
            Context().run(self._run_small, loop)  # a new context: a receiver may submit within a run
        entry = _Entry(item, rows, receiver)
        self._rows += rows
        self.counters.pending += 1
        if timeout_s is not None:
            entry.timer = loop.call_later(timeout_s, self._expire, entry, context=self._context)
        if rows > self._loop_rows:
            self._large.append(entry)
            self._start_large(loop)
            return
        self._small.append(entry)
        self._small_rows += rows
        if self._turn is None or self._limits.delay_s:
            self._schedule(loop)

    def submit_undecoded(
        self, decode: Decode[Item], rows: int, receiver: Receiver[Result], timeout_s: float | None = None
    ) -> Callable[[], None]:
        """Queue an item of about `rows` rows, which `decode` decodes in the run's thread.

        All else is as in `submit`. Returns a function to call when the client of `receiver` disconnects: it frees the
        item's memory before the item's turn.
        """
        try:
            self.check_room(rows)
        except ResourceExhausted as error:
            self.counters.fail(error)
            raise
        loop = asyncio.get_running_loop()
        entry = _Undecoded(decode, rows, receiver)
        self._rows += rows
        self.counters.pending += 1
        if timeout_s is not None:
            entry.timer = loop.call_later(timeout_s, self._expire, entry, context=self._context)
        self._large.append(entry)
        self._start_large(loop)
        return entry.drop

    def check_room(self, rows: int) -> None:
        """Raise ResourceExhausted if the queue has no room for `rows` more rows. Counts nothing."""
        if self._rows and self._rows + rows > self._limits.max_queue_rows:
            raise self._queue_full_error()

    def _queue_full_error(self) -> ResourceExhausted:
        return ResourceExhausted(f"the queue is full: {self._rows} rows wait; try again")

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Schedule the run of the small items: at the next turn, or after the delay."""
        is_full = self._small_rows >= self._limits.max_batch_rows
        if self._turn is not None and not (is_full and self._is_delayed_turn):
            return
        if self._turn is not None:
            self._turn.cancel()
        self._is_delayed_turn = bool(self._limits.delay_s) and not is_full
        if self._is_delayed_turn:
            self._turn = loop.call_later(self._limits.delay_s, self._run_small, loop, context=self._context)
        else:
            self._turn = loop.call_soon(self._run_small, loop, context=self._context)

    def _run_small(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run one batch of small items; the rest runs at the loop's next turn."""
        if self._turn is not None:
            self._turn.cancel()  # `submit` may run a batch before its turn
            self._turn = None
        batch: list[_Entry[Item, Result]] = []
        rows = 0
        while self._small and rows + self._small[0].rows <= self._limits.max_batch_rows:
            entry = self._small.popleft()
            self._small_rows -= entry.rows
            if entry.expired or entry.receiver.is_disconnected():
                self._drop(entry)
            else:
                batch.append(entry)
                rows += entry.rows
        if self._small:
            self._is_delayed_turn = False
            self._turn = loop.call_soon(self._run_small, loop, context=self._context)
        if batch:
            try:
                batch_result = self._run_batch(batch, rows)
            except RunTimeout:
                self._move_to_thread(loop, batch)
                return
            self._deliver_results(batch, rows, batch_result)

    def _move_to_thread(self, loop: asyncio.AbstractEventLoop, batch: Sequence[_Entry[Item, Result]] = ()) -> None:
        """Move all runs to a thread, `batch` first, after a run that took too long."""
        if self._control is None or self._loop_rows < 0:
            return
        self._loop_rows = -1
        self._executor = self._control.move_to_thread()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._large.extend([*batch, *self._small])
        self._small.clear()
        self._small_rows = 0
        self._start_large(loop)

    def _start_large(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the next large item in a thread, unless one is running."""
        if self._large_run is not None:
            return
        while self._large:
            entry = self._large.popleft()
            if not (entry.expired or entry.receiver.is_disconnected()):
                self._large_run = entry
                run = loop.run_in_executor(self._executor, self._run_large_entry, entry)
                run.add_done_callback(partial(self._finish_large, loop, entry), context=self._context)
                return
            self._drop(entry)

    def _finish_large(
        self,
        loop: asyncio.AbstractEventLoop,
        entry: _Entry[Item, Result],
        future: "asyncio.Future[_BatchResult[Result]]",
    ) -> None:
        self._large_run = None
        if isinstance(entry, _Undecoded):
            self._rows += entry.decoded_rows - entry.rows
            entry.rows = entry.decoded_rows
        try:
            batch_result = future.result()
        except RunTimeout as error:
            batch_result = _failed(time.perf_counter_ns(), error, runs=1)
            self._move_to_thread(loop)
        self._deliver_results([entry], entry.rows, batch_result)
        self._start_large(loop)

    def _run_large_entry(self, entry: _Entry[Item, Result]) -> "_BatchResult[Result]":
        """Run a large item in a thread; decode it first if necessary."""
        if isinstance(entry, _Undecoded):
            started_ns = time.perf_counter_ns()
            try:
                entry.decode()
            except RequestError as error:
                error.__context__ = None  # the frames of both errors hold the decoded data until a garbage collection
                return _failed(started_ns, error.with_traceback(None), runs=0)
            except Exception as error:  # noqa: BLE001 # any error is the item's result
                return _failed(started_ns, error, runs=0)
            return self._run_batch([entry], entry.decoded_rows)
        return self._run_batch([entry], entry.rows)

    def _run_batch(self, batch: list[_Entry[Item, Result]], rows: int) -> "_BatchResult[Result]":
        """Run a batch of `rows` rows; re-run a failed batch in halves, so that other items succeed.

        Raises RunTimeout if the run took too long: the halves would too.
        """
        started_ns = time.perf_counter_ns()
        try:
            results, stages = self._run([entry.item for entry in batch])
        except RunTimeout:
            raise
        except Exception as error:  # noqa: BLE001 # any error is the result of its item
            if len(batch) == 1:
                return _failed(started_ns, error, runs=1)
            return self._run_halves(batch, rows, started_ns)
        run = RunInfo(started_ns, rows, len(batch), stages)
        return _BatchResult(started_ns, results, [run] * len(batch), stages, 1)

    def _run_halves(self, batch: list[_Entry[Item, Result]], rows: int, started_ns: int) -> "_BatchResult[Result]":
        middle = len(batch) // 2
        first_rows = sum(entry.rows for entry in batch[:middle])
        first, second = self._run_batch(batch[:middle], first_rows), self._run_batch(batch[middle:], rows - first_rows)
        stages = Stages(*map(sum, zip(first.stages, second.stages, strict=True)))
        results: list[Result | Exception] = [*first.results, *second.results]
        return _BatchResult(
            started_ns, results, [*first.run_infos, *second.run_infos], stages, 1 + first.runs + second.runs
        )

    def _deliver_results(
        self, batch: list[_Entry[Item, Result]], rows: int, batch_result: "_BatchResult[Result]"
    ) -> None:
        """Count a run of `rows` rows, and deliver its results."""
        counters = self.counters
        ended_ns = time.perf_counter_ns()
        started_ns, results, run_infos, stages, runs = batch_result
        if runs:
            counters.runs += runs
            counters.batches[(rows - 1).bit_length()] += 1
            counters.batch_rows += rows
            counters.last_run_unix_ms = time.time_ns() // 1_000_000
        counters.input_ns += stages[0]
        counters.infer_ns += stages[1]
        counters.output_ns += stages[2]
        counters.pending -= len(batch)
        self._rows -= rows
        for entry, result, run in zip(batch, results, run_infos, strict=True):
            if entry.expired:
                continue
            if entry.timer is not None:
                entry.timer.cancel()
            if isinstance(result, Exception):
                counters.fail(result, ended_ns - entry.arrived_ns)
            else:
                counters.requests += 1
                counters.rows += entry.rows
                counters.request_ns += ended_ns - entry.arrived_ns
                counters.queue_ns += started_ns - entry.arrived_ns
            _deliver(entry, result, run)

    def _drop(self, entry: _Entry[Item, Result]) -> None:
        """Drop an item before it runs: its client disconnected or its deadline passed."""
        self._rows -= entry.rows
        self.counters.pending -= 1
        if entry.timer is not None:
            entry.timer.cancel()
        if not entry.expired:
            self._reject(entry, Canceled("the client disconnected before the response"))

    def _expire(self, entry: _Entry[Item, Result]) -> None:
        """Deliver DeadlineExceeded to an item's receiver."""
        entry.expired = True
        if entry is self._large_run and self._control is not None:
            self._control.end()
        self._reject(entry, DeadlineExceeded("the deadline passed before the response"))

    def _reject(self, entry: _Entry[Item, Result], error: RequestError) -> None:
        self.counters.fail(error, time.perf_counter_ns() - entry.arrived_ns)
        _deliver(entry, error, None)


class _BatchResult(NamedTuple, Generic[Result]):
    """The results of a batch."""

    started_ns: int
    results: Sequence[Result | Exception]
    run_infos: Sequence[RunInfo | None]
    """The run of each result; None for an error."""
    stages: Stages
    runs: int
    """Number of runs: several after a re-run in halves, 0 after a decode error."""


def _failed(started_ns: int, error: Exception, *, runs: int) -> "_BatchResult[Any]":
    """Return the result of a batch of one item that failed."""
    return _BatchResult(started_ns, [error], [None], Stages(0, 0, 0), runs)


def _deliver(entry: _Entry[Item, Result], result: Result | Exception, run: RunInfo | None) -> None:
    """Deliver a result to the receiver.

    An error of the receiver is logged, so that the rest of the batch is delivered.
    """
    try:
        entry.receiver.deliver(result, run)
    except Exception:  # noqa: BLE001 # logged
        _log.exception("a response could not be delivered")


class Waiter(Generic[Result]):
    """A receiver that a coroutine can await."""

    def __init__(self) -> None:
        """Create a future on the running event loop."""
        self._future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

    def is_disconnected(self) -> bool:
        """Return whether the wait is over or cancelled."""
        return self._future.done()

    def deliver(self, result: Result | Exception, run: RunInfo | None = None) -> None:  # noqa: ARG002
        """Set the result, unless the wait was cancelled."""
        if self._future.done():
            return
        if isinstance(result, Exception):
            self._future.set_exception(result)
        else:
            self._future.set_result(result)

    async def result(self) -> Result:
        """Return the result, or raise the delivered error.

        Cancel this coroutine to stop the wait.
        """
        return await self._future

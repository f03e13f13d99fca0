"""The batcher alone: items that run together, wait, are rejected or get an error."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Final

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import Canceled, DeadlineExceeded, ResourceExhausted
from server.inference.batcher import Batcher, Limits, Waiter
from server.inference.statistics import RunInfo, Stages

NO_TIME: Final = Stages(1, 2, 3)
AGES_S: Final = 3600.0
"""A delay longer than any test: an item that waits for it doesn't run."""


class Doubler:
    """Runs batches by doubling each item, and records them; items can block or fail."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: list[threading.Thread] = []
        self.held: set[int] = set()
        """Items whose run blocks until `released` is set."""
        self.begun = threading.Event()
        self.released = threading.Event()
        self.bad: set[int] = set()
        """Items that fail every run that contains them."""

    def __call__(self, items: Sequence[int]) -> tuple[list[int], Stages]:
        """Run a batch."""
        self.batches.append(list(items))
        self.threads.append(threading.current_thread())
        if self.held & set(items):
            self.begun.set()
            assert self.released.wait(60)
        if self.bad & set(items):
            raise ValueError(f"bad: {sorted(self.bad & set(items))}")
        return [2 * item for item in items], NO_TIME


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """Yield a thread for large items."""
    with ThreadPoolExecutor(1) as threads:
        yield threads


@pytest.fixture
def run() -> Doubler:
    """Return a run function that doubles items."""
    return Doubler()


def submit(batcher: Batcher[int, int], item: int, rows: int = 1) -> Waiter[int]:
    """Submit an item and return its waiter."""
    waiter = Waiter[int]()
    batcher.submit(item, rows, waiter)
    return waiter


async def answers(*waiters: Waiter[int]) -> list[int | BaseException]:
    """Return each waiter's result or exception."""
    return await asyncio.gather(*(waiter.result() for waiter in waiters), return_exceptions=True)


def test_what_arrives_in_one_turn_runs_together(run: Doubler, executor: ThreadPoolExecutor) -> None:
    """Items submitted in one event loop iteration run as one batch on the loop's thread."""

    async def main() -> None:
        batcher = Batcher(run, Limits(10, 100), executor)
        assert await answers(*[submit(batcher, item) for item in range(5)]) == [0, 2, 4, 6, 8]

    asyncio.run(main())
    assert run.batches == [[0, 1, 2, 3, 4]]
    assert run.threads == [threading.main_thread()]


def test_very_many_items_run_while_they_arrive(run: Doubler, executor: ThreadPoolExecutor) -> None:
    """Of 1000 items in one iteration at most 64 wait at a time."""
    waiting: list[int] = []

    async def main() -> None:
        batcher = Batcher(run, Limits(256, 10_000), executor)
        waiters = []
        for item in range(1000):
            waiters.append(submit(batcher, item))
            waiting.append(batcher.rows)
        assert await answers(*waiters) == [2 * item for item in range(1000)]

    asyncio.run(main())
    assert max(waiting) <= 64
    assert [item for batch in run.batches for item in batch] == [*range(1000)]


def test_a_lone_item_waits_for_nobody(run: Doubler, executor: ThreadPoolExecutor) -> None:
    """A single item runs in the next event loop iteration."""

    async def main() -> None:
        batcher = Batcher(run, Limits(10, 100), executor)
        submit(batcher, 7)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert run.batches == [[7]]


def test_rows_are_counted_not_items(run: Doubler, executor: ThreadPoolExecutor) -> None:
    """A batch is limited by rows, not items; the next batch continues in order."""

    async def main() -> None:
        batcher = Batcher(run, Limits(10, 100), executor)
        await answers(*[submit(batcher, item, rows) for item, rows in enumerate([4, 4, 4, 10, 1])])

    asyncio.run(main())
    assert run.batches == [[0, 1], [2], [3], [4]]


def test_small_items_are_answered_while_a_large_one_runs(run: Doubler, executor: ThreadPoolExecutor) -> None:
    """An item above the batch limit runs in a thread, without delaying small items."""
    run.held = {100}

    async def main() -> None:
        batcher = Batcher(run, Limits(10, 1000), executor)
        large = [submit(batcher, 100, 11), submit(batcher, 200, 11)]
        await asyncio.to_thread(run.begun.wait, 60)
        assert await answers(submit(batcher, 1), submit(batcher, 2)) == [2, 4]
        assert run.batches == [[100], [1, 2]]
        assert batcher.counters.pending == 2
        run.released.set()
        assert await answers(*large) == [200, 400]

    asyncio.run(main())
    assert run.batches == [[100], [1, 2], [200]]
    assert [thread is threading.main_thread() for thread in run.threads] == [False, True, False]


def test_a_full_queue_refuses_at_once(run: Doubler, executor: ThreadPoolExecutor) -> None:
    """Queued and running rows count; an item above the limit is rejected."""

    async def main() -> None:
        batcher = Batcher(run, Limits(10, 12), executor)
        waiting = [submit(batcher, 1, 6), submit(batcher, 2, 6)]
        with pytest.raises(ResourceExhausted, match="the queue is full: 12 rows wait"):
            submit(batcher, 3, 1)
        assert await answers(*waiting) == [2, 4]
        assert await answers(submit(batcher, 4, 6)) == [8]
        assert batcher.counters.failures == {"resource_exhausted": 1}

    asyncio.run(main())


def test_an_empty_queue_takes_any_item(run: Doubler, executor: ThreadPoolExecutor) -> None:
    """An item above the queue limit is accepted if the queue is empty."""

    async def main() -> None:
        batcher = Batcher(run, Limits(10, 12), executor)
        assert await answers(submit(batcher, 1, 50)) == [2]

    asyncio.run(main())


@pytest.mark.parametrize("rows", [1, 11], ids=["small", "large"])
def test_who_left_is_dropped_before_the_run(run: Doubler, executor: ThreadPoolExecutor, rows: int) -> None:
    """An item whose client disconnected is never run, and its rows leave the queue."""
    run.held = {100}

    async def main() -> None:
        batcher = Batcher(run, Limits(10, 50), executor)
        first = submit(batcher, 100, 11)
        await asyncio.to_thread(run.begun.wait, 60)
        leaver, stayer = submit(batcher, 1, rows), submit(batcher, 2, rows)
        leaver.deliver(Canceled("gone"))
        run.released.set()
        assert await answers(first, stayer) == [200, 4]
        assert (batcher.counters.pending, batcher.counters.failures) == (0, {"canceled": 1})
        with pytest.raises(Canceled, match="gone"):
            await leaver.result()

    asyncio.run(main())
    assert not any(1 in batch for batch in run.batches)


def test_a_bad_item_fails_alone(run: Doubler, executor: ThreadPoolExecutor) -> None:
    """If a batch fails, each item runs again alone; only the bad item fails."""
    run.bad = {1}

    async def main() -> None:
        batcher = Batcher(run, Limits(10, 100), executor)
        zero, one, two = await answers(*[submit(batcher, item) for item in range(3)])
        assert (zero, two) == (0, 4)
        assert isinstance(one, ValueError)
        assert batcher.counters.failures == {"internal": 1}
        assert (batcher.counters.requests, batcher.counters.pending) == (2, 0)
        assert batcher.counters.runs == len(run.batches)
        assert batcher.counters.infer_ns > 0

    asyncio.run(main())


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_delay_gathers_more_than_one_turn(
    run: Doubler, executor: ThreadPoolExecutor, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """With a delay, later items join the batch; a full batch runs at once."""

    async def main() -> None:
        batcher = Batcher(run, Limits(3, 100, AGES_S), executor)
        first = submit(batcher, 1)
        await asyncio.sleep(0)
        second = submit(batcher, 2)
        await asyncio.sleep(0)
        assert run.batches == []
        assert await answers(first, second, submit(batcher, 3)) == [2, 4, 6]

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
    assert run.batches == [[1, 2, 3]]


def test_a_deadline_is_told_and_its_item_never_run(run: Doubler, executor: ThreadPoolExecutor) -> None:
    """An item past its deadline gets an error, is never run, and leaves the queue."""

    async def main() -> None:
        batcher = Batcher(run, Limits(10, 100, AGES_S), executor)
        waiter = Waiter[int]()
        batcher.submit(1, 1, waiter, timeout_s=0.001)
        with pytest.raises(DeadlineExceeded):
            await waiter.result()
        assert batcher.counters.failures == {"deadline_exceeded": 1}
        assert await answers(submit(batcher, 2, 9), submit(batcher, 3)) == [4, 6]
        assert batcher.counters.pending == 0

    asyncio.run(main())
    assert run.batches in ([[2], [3]], [[2, 3]])


def test_a_deadline_under_a_run(run: Doubler, executor: ThreadPoolExecutor) -> None:
    """A deadline during a run raises at once, and the late result is dropped."""
    run.held = {100}

    async def main() -> None:
        batcher = Batcher(run, Limits(10, 100), executor)
        waiter = Waiter[int]()
        batcher.submit(100, 11, waiter, timeout_s=0.001)
        with pytest.raises(DeadlineExceeded):
            await waiter.result()
        run.released.set()
        assert await answers(submit(batcher, 200, 11)) == [400]
        assert (batcher.counters.requests, batcher.counters.pending) == (1, 0)

    asyncio.run(main())


def test_results_are_delivered_in_no_requests_context(run: Doubler, executor: ThreadPoolExecutor) -> None:
    """A result is never delivered in the context of another item's submission, also if that starts a run early."""
    submitting: ContextVar[int | None] = ContextVar("submitting", default=None)
    contexts: list[int | None] = []

    class Watching(Waiter[int]):
        def deliver(self, result: int | Exception, run: RunInfo | None = None) -> None:
            contexts.append(submitting.get())
            super().deliver(result, run)

    async def main() -> None:
        batcher = Batcher(run, Limits(4, 100), executor)
        waiters = [Watching() for _ in range(11)]
        for number, waiter in enumerate(waiters):
            token = submitting.set(number)
            batcher.submit(number, 1, waiter)
            submitting.reset(token)
        assert run.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
        await asyncio.gather(*(waiter.result() for waiter in waiters))

    asyncio.run(main())
    assert contexts == [None] * 11


def test_a_receiver_that_fails_harms_nobody(
    run: Doubler, executor: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    """If a result can't be delivered, that is logged; other items get their results."""

    class Broken(Waiter[int]):
        def deliver(self, result: int | Exception, run: RunInfo | None = None) -> None:  # noqa: ARG002
            raise OSError(result)

    async def main() -> None:
        batcher = Batcher(run, Limits(10, 100), executor)
        batcher.submit(1, 1, Broken())
        assert await answers(submit(batcher, 2)) == [4]
        assert batcher.counters.pending == 0

    asyncio.run(main())
    assert "a response could not be delivered" in caplog.text


def test_a_delay_ends(run: Doubler, executor: ThreadPoolExecutor) -> None:
    """With a delay, a single item runs when the delay is over."""

    async def main() -> None:
        assert await answers(submit(Batcher(run, Limits(3, 100, 0.001), executor), 1)) == [2]

    asyncio.run(main())


def test_what_is_counted(run: Doubler, executor: ThreadPoolExecutor) -> None:
    """Items, rows and runs are counted, and the times of all stages are added."""

    async def main() -> None:
        batcher = Batcher(run, Limits(10, 100), executor)
        await answers(submit(batcher, 1, 2), submit(batcher, 2, 3))
        await answers(submit(batcher, 3, 11))
        seen = batcher.counters
        assert (seen.requests, seen.rows, seen.runs, seen.pending) == (3, 16, 2, 0)
        assert (seen.input_ns, seen.infer_ns, seen.output_ns) == (2, 4, 6)
        assert 0 < seen.queue_ns <= seen.request_ns

    asyncio.run(main())


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(1, 14), st.booleans()), max_size=6), max_size=6),
    st.integers(1, 10),
    st.sampled_from([0.0, 0.0005]),
)
def test_every_item_is_answered_once(turns: list[list[tuple[int, bool]]], max_batch_rows: int, delay_s: float) -> None:
    """Every accepted item gets its own result exactly once, for any order of arrival."""
    run = Doubler()

    async def main(executor: ThreadPoolExecutor) -> None:
        batcher = Batcher(run, Limits(max_batch_rows, 40, delay_s), executor)
        expected: dict[Waiter[int], int] = {}
        number = 0
        for turn in turns:
            for rows, leaves in turn:
                number += 1
                try:
                    waiter = submit(batcher, number, rows)
                except ResourceExhausted:
                    continue
                if leaves:
                    waiter.deliver(Canceled("gone"))
                else:
                    expected[waiter] = 2 * number
            await asyncio.sleep(0)
        assert await answers(*expected) == list(expected.values())
        # Only items of disconnected clients may remain: in a batch that waits for its delay or its turn.
        assert batcher.counters.pending <= sum(leaves for turn in turns for _, leaves in turn)

    with ThreadPoolExecutor(1) as threads:
        asyncio.run(main(threads))
    assert all(sum(1 for batch in run.batches if item in batch) <= 1 for batch in run.batches for item in batch)

"""Checked columns to encoded answers: one model version behind its queue, as every interface calls it."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from server.batching import Batcher, Counters, Limits, Receiver, Stages
from server.feed import Feed, Values
from server.model import Model
from server.signature import Outputs

Encode = Callable[[Outputs, int, int], bytes]
"""Encodes the answer of the rows from one number up to another."""


@dataclass(slots=True)
class _Work:
    """One request's rows, and how its answer is written."""

    columns: Sequence[Values]
    rows: int
    encode: Encode


class Runner:
    """A model version that answers: requests that arrive together are run together, with the same bits as alone."""

    def __init__(self, model: Model, limits: Limits, executor: Executor) -> None:
        """Lay out the batches of `model`; large requests run in `executor`."""
        self.model = model
        self._max_batch_rows = limits.max_batch_rows
        self._feed = self._lay_out(limits.max_batch_rows)
        self._batcher: Batcher[_Work, bytes] = Batcher(self._run, limits, executor)

    @property
    def counters(self) -> Counters:
        """What this version has answered since the start."""
        return self._batcher.counters

    def submit(self, columns: Sequence[Values], rows: int, encode: Encode, receiver: Receiver[bytes]) -> None:
        """Queue one request: a column of `rows` checked values for each feature, in the manifest's order.

        `receiver` takes what `encode` makes of its rows of the outputs. Raises ResourceExhausted where the queue is
        full.
        """
        self._batcher.submit(_Work(columns, rows, encode), rows, receiver)

    def _lay_out(self, rows: int) -> Feed:
        return Feed(self.model.signature, rows, self.model.manifest.min_batch_rows)

    def _run(self, works: Sequence[_Work]) -> tuple[list[bytes], Stages]:
        """Run one batch: on the event loop with the arrays made at load, in a thread with its own."""
        began_ns = time.perf_counter_ns()
        large = works[0].rows > self._max_batch_rows
        feed = self._lay_out(works[0].rows) if large else self._feed
        rows = 0
        for work in works:
            feed.write(rows, work.rows, work.columns)
            rows += work.rows
        laid_out_ns = time.perf_counter_ns()
        outputs = self.model.compute(feed.tensors(rows))
        computed_ns = time.perf_counter_ns()
        answers = []
        start = 0
        for work in works:
            answers.append(work.encode(outputs, start, start + work.rows))
            start += work.rows
        stages = Stages(laid_out_ns - began_ns, computed_ns - laid_out_ns, time.perf_counter_ns() - computed_ns)
        return answers, stages

"""Drift monitor: counts of served rows in a sliding window, to compare with the reference.

The fast path costs almost nothing: a row is written into a buffer of a few hundred rows. The buffer is sorted into bins
when it is full, when its time is over, or when a client requests the drift. Under load only a limited number of rows
per interval is counted. Values are held only in that buffer.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from server.inference.drift.histogram import Bins, Counts, answer_place
from server.inference.input_buffers import InputBuffers
from server.models.manifest import Manifest, Scalar
from server.models.signature import Columns, Outputs, Signature, Values
from server.models.training_metadata import Reference

Of = Literal["requests", "files"]
OF: Final[tuple[Of, ...]] = get_args(Of)
"""Source of rows. Files are counted separately: one large file would hide the requests."""

SLICES: Final = 60
"""The window slides by one sixtieth of its length."""
TURN_NS: Final = 10_000_000_000
TURN_ROWS: Final = 1000
"""Maximum rows of small requests counted per turn: far more than drift detection needs."""
BUFFER_ROWS: Final = 256
MAX_RUN_ROWS: Final = 256
"""Rows counted, evenly spread, of one large request or one block of a file."""


class Seen(NamedTuple):
    """One distribution of the reference, and the counts since."""

    bins: Bins
    counts: Counts


class Window:
    """Counts of the last SLICES time slices; any thread may add to them."""

    def __init__(self, bins: int, slice_ns: int) -> None:
        """Create counts for `bins` bins in each of SLICES slices. The memory never grows."""
        self._counts = np.zeros((SLICES, bins), np.uint32)
        self._slice_ns = slice_ns
        self._newest = 0
        """Number of the newest slice, from the clock's zero."""
        self._lock = threading.Lock()

    def add(self, at_ns: int, counts: Counts) -> None:
        """Add the counts of a point in time, unless it is before the window."""
        number = at_ns // self._slice_ns
        with self._lock:
            self._slide(number)
            if number > self._newest - SLICES:
                self._counts[number % SLICES] += counts.astype(np.uint32)

    def total(self, at_ns: int) -> Counts:
        """Return the counts of the window that ends at `at_ns`."""
        with self._lock:
            self._slide(at_ns // self._slice_ns)
            total: Counts = self._counts.sum(axis=0, dtype=np.int64)
            return total

    def _slide(self, number: int) -> None:
        """Clear the slices between the newest slice and `number`."""
        for new in range(max(self._newest, number - SLICES) + 1, number + 1):
            self._counts[new % SLICES] = 0
        self._newest = max(self._newest, number)


class Drift:
    """Distributions of one model version's inputs and outputs, in the bins of its reference."""

    def __init__(
        self,
        manifest: Manifest,
        reference: Reference,
        signature: Signature,
        window_s: int,
        clock_ns: Callable[[], int],
    ) -> None:
        """Compare with `reference` over a window of `window_s` seconds, at least 1.

        The clock must be monotonic.
        """
        self.window_s: Final = window_s
        self._clock_ns = clock_ns
        self._features = {
            column.feature.name: Bins.of_column(reference.features[column.feature.name], column)
            for column in signature.columns
            if column.feature.name in reference.features
        }
        self._answer = Bins.of_answer(reference.answer, manifest.classes)
        self._answer_output, self._answer_column = answer_place(manifest)
        shape = manifest.outputs[self._answer_output].shape
        self._answer_width = shape[1] if len(shape) > 1 else 1
        self._is_named = reference.answer.categories is not None
        slice_ns = window_s * 1_000_000_000 // SLICES
        self._turn_ns = min(slice_ns, TURN_NS)
        bins = sum(len(each.expected) for each in (*self._features.values(), self._answer))
        self._windows: Mapping[Of, Window] = {"requests": Window(bins, slice_ns), "files": Window(bins, slice_ns)}
        self._signature = signature
        self._feed = InputBuffers(signature, BUFFER_ROWS)
        self._answers = np.zeros(BUFFER_ROWS, object if self._is_named else np.float64)
        self._single: list[list[Scalar | None]] = []
        """Rows of single-row requests, each with its output after its values.

        They are written into the buffer all at once.
        """
        self._held = 0
        """Rows in the buffer, including those not yet written into it."""
        self._room = 0
        """Rows still to be counted in this turn."""
        self._began_ns = self._ends_ns = 0
        """Start and end of this turn."""

    def takes(self, at_ns: int) -> bool:
        """Return whether rows served now are to be counted.

        This check is the only cost for a model under load.
        """
        return self._room > 0 or at_ns >= self._ends_ns

    def see(self, at_ns: int, columns: Sequence[Values], rows: int, outputs: Outputs, start: int) -> None:
        """Count one request; its outputs begin at row `start`.

        `columns` holds a column of checked values per feature, in order. Call this on the event loop only.
        """
        if at_ns >= self._ends_ns:
            self._turn(at_ns)
        if rows > BUFFER_ROWS:
            self._see_large(columns, rows, outputs, start)
            return
        if self._held + rows > BUFFER_ROWS:
            self._sort()
        output = outputs[self._answer_output]
        if rows == 1:
            row = [values[0] for values in columns]
            row.append(output.item(start * self._answer_width + self._answer_column))
            self._single.append(row)
        else:
            at = self._held - len(self._single)
            self._feed.write(at, rows, columns)
            self._answers[at : at + rows] = self._answers_of(output[start : start + rows])
        self._held += rows
        self._room -= rows

    def see_run(self, of: Of, columns: Columns, rows: int, outputs: Outputs) -> None:
        """Count a run of `rows` rows, the first of its columns and outputs.

        Any thread may call it.
        """
        seen = min(rows, MAX_RUN_ROWS)
        spread = np.arange(seen) * rows // seen
        some = {name: values[spread].reshape(-1) for name, values in columns.items()}
        answers = self._answers_of(outputs[self._answer_output][spread])
        self._windows[of].add(self._clock_ns(), self._count(some, answers))

    def _see_large(self, columns: Sequence[Values], rows: int, outputs: Outputs, start: int) -> None:
        """Count a request that exceeds the buffer."""
        feed = InputBuffers(self._signature, rows)
        feed.write(0, rows, columns)
        self.see_run("requests", feed.tensors(rows), rows, [output[start : start + rows] for output in outputs])

    def seen(self, of: Of) -> tuple[dict[str, Seen], Seen]:
        """Return the counts of the current window, by feature and for the output.

        Call it on the event loop only.
        """
        self._sort()
        total, at = self._windows[of].total(self._clock_ns()), 0
        found = []
        for bins in (*self._features.values(), self._answer):
            found.append(Seen(bins, total[at : at + len(bins.expected)]))
            at += len(bins.expected)
        return dict(zip(self._features, found, strict=False)), found[-1]

    def _turn(self, at_ns: int) -> None:
        """Begin a turn: sort the buffer of the previous turn, and allow new rows."""
        self._sort()
        self._began_ns = at_ns
        self._ends_ns = at_ns - at_ns % self._turn_ns + self._turn_ns
        self._room = TURN_ROWS

    def _sort(self) -> None:
        """Sort the buffer into the bins, and clear it."""
        held, self._held = self._held, 0
        if not held:
            return
        if self._single:
            *values, answers = zip(*self._single, strict=True)
            at = held - len(answers)
            self._feed.write(at, len(answers), values)
            self._answers[at:held] = [*map(str, answers)] if self._is_named else answers
            self._single = []
        columns = {name: column.reshape(-1)[:held] for name, column in self._feed.tensors(BUFFER_ROWS).items()}
        self._windows["requests"].add(self._began_ns, self._count(columns, self._answers[:held]))
        for column in columns.values():
            if column.dtype == object:
                column[:] = None

    def _count(self, columns: Columns, answers: NDArray[Any]) -> Counts:
        counted = [bins.count(columns[name]) for name, bins in self._features.items()]
        return np.concatenate([*counted, self._answer.count(answers)])

    def _answers_of(self, output: NDArray[Any]) -> NDArray[Any]:
        """Return the output values of some rows, shape [rows]."""
        answers = output.reshape(len(output), self._answer_width)[:, self._answer_column]
        return answers.astype(str).astype(object) if self._is_named and answers.dtype != object else answers

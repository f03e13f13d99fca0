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

from server.inference.drift.histogram import Bins, Counts, reference_output
from server.inference.input_buffers import InputBuffers
from server.models.manifest import Manifest, Scalar
from server.models.signature import Columns, Outputs, Signature, Values
from server.models.training_metadata import Reference

RowSource = Literal["requests", "files"]
ROW_SOURCES: Final[tuple[RowSource, ...]] = get_args(RowSource)
"""Source of rows. Files are counted separately: one large file would hide the requests."""

SLICES: Final = 60
"""The window slides by one sixtieth of its length."""
TURN_NS: Final = 10_000_000_000
TURN_ROWS: Final = 1000
"""Maximum rows of small requests counted per turn: far more than drift detection needs."""
BUFFER_ROWS: Final = 256
MAX_RUN_ROWS: Final = 256
"""Rows counted, evenly spread, of one large request or one block of a file."""


class BinCounts(NamedTuple):
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
        for slice_number in range(max(self._newest, number - SLICES) + 1, number + 1):
            self._counts[slice_number % SLICES] = 0
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
        self._output_bins = Bins.of_output(reference.answer, manifest.classes)
        self._output_index, self._output_column = reference_output(manifest)
        shape = manifest.outputs[self._output_index].shape
        self._output_width = shape[1] if len(shape) > 1 else 1
        self._is_named = reference.answer.categories is not None
        slice_ns = window_s * 1_000_000_000 // SLICES
        self._turn_ns = min(slice_ns, TURN_NS)
        bins = sum(len(each.expected) for each in (*self._features.values(), self._output_bins))
        self._windows: Mapping[RowSource, Window] = {
            "requests": Window(bins, slice_ns),
            "files": Window(bins, slice_ns),
        }
        self._signature = signature
        self._feed = InputBuffers(signature, BUFFER_ROWS)
        self._outputs = np.zeros(BUFFER_ROWS, object if self._is_named else np.float64)
        self._single_rows: list[list[Scalar | None]] = []
        """Rows of single-row requests, each with its output after its values.

        They are written into the buffer all at once.
        """
        self._buffered_rows = 0
        """Rows in the buffer, including those not yet written into it."""
        self._remaining_rows = 0
        """Rows still to be counted in this turn."""
        self._turn_start_ns = self._turn_end_ns = 0
        """Start and end of this turn."""

    def accepts_rows(self, at_ns: int) -> bool:
        """Return whether rows served now are to be counted.

        This check is the only cost for a model under load.
        """
        return self._remaining_rows > 0 or at_ns >= self._turn_end_ns

    def count_request(self, at_ns: int, columns: Sequence[Values], rows: int, outputs: Outputs, start: int) -> None:
        """Count one request; its outputs begin at row `start`.

        `columns` holds a column of checked values per feature, in order. Call this on the event loop only.
        """
        if at_ns >= self._turn_end_ns:
            self._begin_turn(at_ns)
        if rows > BUFFER_ROWS:
            self._count_large(columns, rows, outputs, start)
            return
        if self._buffered_rows + rows > BUFFER_ROWS:
            self._sort()
        output = outputs[self._output_index]
        if rows == 1:
            row = [values[0] for values in columns]
            row.append(output.item(start * self._output_width + self._output_column))
            self._single_rows.append(row)
        else:
            at = self._buffered_rows - len(self._single_rows)
            self._feed.write(at, rows, columns)
            self._outputs[at : at + rows] = self._output_values(output[start : start + rows])
        self._buffered_rows += rows
        self._remaining_rows -= rows

    def count_run(self, source: RowSource, columns: Columns, rows: int, outputs: Outputs) -> None:
        """Count a run of `rows` rows, the first of its columns and outputs.

        Any thread may call it.
        """
        count = min(rows, MAX_RUN_ROWS)
        indices = np.arange(count) * rows // count
        sample = {name: values[indices].reshape(-1) for name, values in columns.items()}
        values = self._output_values(outputs[self._output_index][indices])
        self._windows[source].add(self._clock_ns(), self._count(sample, values))

    def _count_large(self, columns: Sequence[Values], rows: int, outputs: Outputs, start: int) -> None:
        """Count a request that exceeds the buffer."""
        feed = InputBuffers(self._signature, rows)
        feed.write(0, rows, columns)
        self.count_run("requests", feed.tensors(rows), rows, [output[start : start + rows] for output in outputs])

    def counts(self, source: RowSource) -> tuple[dict[str, BinCounts], BinCounts]:
        """Return the counts of the current window, by feature and for the output.

        Call it on the event loop only.
        """
        self._sort()
        total, at = self._windows[source].total(self._clock_ns()), 0
        distributions = []
        for bins in (*self._features.values(), self._output_bins):
            distributions.append(BinCounts(bins, total[at : at + len(bins.expected)]))
            at += len(bins.expected)
        return dict(zip(self._features, distributions, strict=False)), distributions[-1]

    def _begin_turn(self, at_ns: int) -> None:
        """Begin a turn: sort the buffer of the previous turn, and allow new rows."""
        self._sort()
        self._turn_start_ns = at_ns
        self._turn_end_ns = at_ns - at_ns % self._turn_ns + self._turn_ns
        self._remaining_rows = TURN_ROWS

    def _sort(self) -> None:
        """Sort the buffer into the bins, and clear it."""
        rows, self._buffered_rows = self._buffered_rows, 0
        if not rows:
            return
        if self._single_rows:
            *features, outputs = zip(*self._single_rows, strict=True)
            at = rows - len(outputs)
            self._feed.write(at, len(outputs), features)
            self._outputs[at:rows] = [*map(str, outputs)] if self._is_named else outputs
            self._single_rows = []
        columns = {name: column.reshape(-1)[:rows] for name, column in self._feed.tensors(BUFFER_ROWS).items()}
        self._windows["requests"].add(self._turn_start_ns, self._count(columns, self._outputs[:rows]))
        for column in columns.values():
            if column.dtype == object:
                column[:] = None

    def _count(self, columns: Columns, values: NDArray[Any]) -> Counts:
        counts = [bins.count(columns[name]) for name, bins in self._features.items()]
        return np.concatenate([*counts, self._output_bins.count(values)])

    def _output_values(self, output: NDArray[Any]) -> NDArray[Any]:
        """Return the output values of some rows, shape [rows]."""
        values = output.reshape(len(output), self._output_width)[:, self._output_column]
        return values.astype(str).astype(object) if self._is_named and values.dtype != object else values

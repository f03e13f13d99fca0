"""Score blocks of a table; used by the server and by the command line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from arro3.core import Array, Field, RecordBatch, Schema
from numpy.typing import NDArray

from server.batch.options import ALL, NONE, OnError, RowOptions
from server.codecs.tables.arrow_numpy import from_numpy, pick, strings
from server.codecs.tables.csv_formulas import is_formula
from server.codecs.tables.feature_columns import filler
from server.codecs.tables.table import Block, Fault, Table
from server.errors import InvalidArgument
from server.models.deferred_signals import deferred_signals
from server.models.manifest import Manifest
from server.models.quoting import field_name, quoted, quoted_name, quoted_names, spelling_hint
from server.models.session import Model
from server.models.signature import Columns

if TYPE_CHECKING:
    from server.inference.drift.monitor import Drift
    from server.models.run_limits import Terminable

_DRIFT_INTERVAL: Final = 4
"""Drift observes one block of this many, starting with the first, to save time."""
ERROR: Final = "error"
"""Name of the column that states why a row has no prediction, with `on_error=null`."""


@dataclass(slots=True)
class Counts:
    """Counts of the rows that were read so far."""

    read: int = 0
    scored: int = 0
    failed: int = 0
    runs: int = 0
    """Runs of the model."""

    def as_dict(self) -> dict[str, int]:
        """Return the counts of rows by their names in trailers and summaries."""
        return {"rows-read": self.read, "rows-scored": self.scored, "rows-failed": self.failed}


def prediction_names(manifest: Manifest, on_error: OnError) -> list[str]:
    """Return the names of the columns that scoring adds to a table."""
    names = [f"predicted_{manifest.target}"]
    if manifest.kind != "regression":
        names += [f"probability_{name}" for name in manifest.classes]
    return names + ([ERROR] if on_error == "null" else [])


class ScoredBlock:
    """Some rows and their predictions."""

    def __init__(
        self, block: Block, passed_names: Sequence[str], predictions: RecordBatch, rows: NDArray[np.intp] | None
    ) -> None:
        """Hold the `predictions` of the rows at the indices `rows`; None: of all rows."""
        self.predictions = predictions
        self._block = block
        self._passed_names = passed_names
        self._rows = rows

    def batch(self, *, as_text: bool = False) -> RecordBatch:
        """Return the passed columns and the predictions as one record batch."""
        arrays = self._block.passed_columns(self._passed_names, as_text=as_text)
        if self._rows is not None:
            arrays = [pick(array, self._rows) for array in arrays]
        fields: list[Any] = [
            Field(name, array.type, nullable=True) for name, array in zip(self._passed_names, arrays, strict=True)
        ]
        added = self.predictions.schema
        fields += [added.field(index) for index in range(len(added))]
        return RecordBatch.from_arrays([*arrays, *self.predictions.columns], schema=Schema(fields))

    def lines(self, *, passes_all: bool) -> list[bytes] | None:
        """Return the rows of NDJSON as written; None for other formats.

        `passes_all`: with all fields, otherwise with the passed ones only. The line of a row that is not a valid object
        is empty.
        """
        lines, faults = self._block.lines(None if passes_all else self._passed_names), self._block.faults
        if lines is None:
            return None
        lines_or_empty = [b"" if n in faults and faults[n].column is None else line for n, line in enumerate(lines)]
        return lines_or_empty if self._rows is None else [lines_or_empty[row] for row in self._rows.tolist()]


class Scorer:
    """Scorer of one table's blocks with one model version."""

    def __init__(self, model: Model, table: Table, row_options: RowOptions, drift: "Drift | None" = None) -> None:
        """Score `table` with `model`; `drift` observes the valid rows.

        Raises InvalidArgument, naming the column, if the table lacks a requested column.
        """
        self.counts = Counts()
        self.passed_names = _passed_columns(table, row_options)
        self.passes_all = row_options.columns == ALL
        self.headings = dict(zip(table.names, table.original_names or table.names, strict=True))
        """Unique name of a column to its name in the file."""
        self.may_be_formulas = any(map(is_formula, (*model.manifest.classes, *model.signature.by_name)))
        """Whether a spreadsheet could run a class or an error as a formula.

        An error begins with a feature's name.
        """
        self._model = model
        self._drift = drift
        self._table = table
        self._running: Terminable | None = None
        """Options of the current or the last run."""
        self._is_stopped = False
        self._on_error = row_options.on_error
        self._columns = model.signature.columns
        self._names = prediction_names(model.manifest, row_options.on_error)
        self._roles = {output.role: output.name for output in model.manifest.outputs}
        self._dtypes = {output.role: output.datatype for output in model.manifest.outputs}

    def empty(self) -> ScoredBlock:
        """Return zero rows that have the columns and types of all later rows."""
        block = self._table.empty()
        for column in self._columns:
            block.values(column)
        return ScoredBlock(block, self.passed_names, self._predictions(self._run_none(), None, []), None)

    def __iter__(self) -> Iterator[ScoredBlock]:
        """Yield the table's scored rows, block by block.

        Raises InvalidArgument, naming row and column, for an invalid row with `on_error=fail`.
        """
        return map(self._score, self._table.blocks())  # holds no block while the next is read

    def _score(self, block: Block) -> ScoredBlock:
        columns, faults = self._read(block)
        first = self.counts.read + 1
        if faults and self._on_error == "fail":
            row, fault = min(faults.items())
            self.counts.read += row + 1
            self.counts.failed += 1
            raise InvalidArgument(f"row {first + row}: {fault.reason}", field=fault.column)
        self.counts.read += block.rows
        self.counts.failed += len(faults)
        self.counts.scored += block.rows - len(faults)
        if not faults:
            return ScoredBlock(block, self.passed_names, self._predictions(self._run(columns), None, []), None)
        is_invalid = np.zeros(block.rows, np.bool_)
        is_invalid[[*faults]] = True
        if self._on_error == "skip":
            valid_rows = np.flatnonzero(~is_invalid)
            columns = {name: values[valid_rows] for name, values in columns.items()}
            outputs = self._run(columns) if len(valid_rows) else self._run_none()
            return ScoredBlock(block, self.passed_names, self._predictions(outputs, None, []), valid_rows)
        reasons = [faults[row].reason if row in faults else None for row in range(block.rows)]
        return ScoredBlock(
            block, self.passed_names, self._predictions(self._run(columns, ~is_invalid), is_invalid, reasons), None
        )

    def _read(self, block: Block) -> tuple[Columns, dict[int, Fault]]:
        """Return each feature's values, shape [rows, 1], and each invalid row's first fault."""
        faults = dict(block.faults)
        columns = {}
        for column in self._columns:
            name = column.feature.name
            values = block.values(column)
            for row, reason in values.faults.items():
                faults.setdefault(row, Fault(name, reason))
            columns[name] = values.values.reshape(-1, 1)
        return columns, faults

    def _run(self, columns: Columns, is_valid: NDArray[np.bool_] | None = None) -> dict[str, NDArray[Any]]:
        """Return the outputs of all rows. Drift observes only the rows that are true in `is_valid`; None: all."""
        self.counts.runs += 1
        outputs = self._run_once(columns)
        if self._drift is not None and self.counts.runs % _DRIFT_INTERVAL == 1:
            observed = [outputs[name] for name in self._model.output_names]
            if is_valid is not None:
                columns, observed = (
                    {name: values[is_valid] for name, values in columns.items()},
                    [o[is_valid] for o in observed],
                )
            self._drift.count_run("files", columns, len(observed[0]), observed)
        return outputs

    def _run_none(self) -> dict[str, NDArray[Any]]:
        """Return outputs of zero rows, in the types of the model's outputs."""
        row = {c.feature.name: np.array([[filler(c)]], c.dtype) for c in self._columns}
        return {name: output[:0] for name, output in self._run_once(row).items()}

    def _run_once(self, columns: Columns) -> dict[str, NDArray[Any]]:
        with deferred_signals(), self._model.limits.limited() as self._running:
            if self._is_stopped:
                self._running.terminate = True
            return self._model.run(columns, options=self._running)

    def stop(self) -> None:
        """Terminate the current run and all later runs: no client waits for them. Any thread may call this."""
        self._is_stopped = True
        if self._running is not None:
            self._running.terminate = True

    def _predictions(
        self, outputs: dict[str, NDArray[Any]], null: NDArray[np.bool_] | None, reasons: list[str | None]
    ) -> RecordBatch:
        """Return the columns that scoring adds: null in rows that are true in `null`."""
        if "value" in self._roles:
            arrays = [from_numpy(outputs[self._roles["value"]].reshape(-1), null)]
        else:
            arrays = [self._labels(outputs[self._roles["label"]].reshape(-1), null)]
            probabilities = outputs[self._roles["probabilities"]]
            arrays += [from_numpy(probabilities[:, index], null) for index in range(probabilities.shape[1])]
        if self._on_error == "null":
            rows = len(arrays[0])
            arrays.append(strings(reasons or [None] * rows))
        fields = [Field(name, a.type, nullable=True) for name, a in zip(self._names, arrays, strict=True)]
        return RecordBatch.from_arrays(arrays, schema=Schema(fields))

    def _labels(self, labels: NDArray[Any], null: NDArray[np.bool_] | None) -> Array:
        if labels.dtype != object:
            return from_numpy(labels, null)
        classes = self._model.manifest.classes
        known = np.zeros(len(labels), np.uint32)
        for index, name in enumerate(classes[1:], 1):
            known[labels == name] = index
        if null is None:
            return pick(strings([*classes]), known)
        return strings([None if none else classes[index] for index, none in zip(known, null, strict=True)])


def _passed_columns(table: Table, row_options: RowOptions) -> Sequence[str]:
    if row_options.columns == ALL:
        return table.names
    if row_options.columns == NONE:
        return []
    columns = _join_names(row_options.columns, frozenset((*table.names, *table.omitted_columns)))
    if len(set(columns)) < len(columns):
        raise InvalidArgument("columns: expected each column once", field="columns")
    for name in columns:
        if name in table.omitted_columns:
            message = f"expected a type that can be passed on; got a column of {table.omitted_columns[name][:100]}"
            raise InvalidArgument(f"{quoted_name(name)}: {message}", field=field_name(name))
        if name not in table.names:
            message = f"there is no {quoted(name)}; expected all, none, or some of {quoted_names(table.names)}"
            raise InvalidArgument(f"columns: {message}{spelling_hint(name, table.names)}", field="columns")
    return columns


def _join_names(parts: Sequence[str], names: frozenset[str]) -> list[str]:
    """Return the column names of a list that was split at each comma.

    Parts of a name that contains commas are joined again. If the parts can't all be joined to `names`, they are
    returned unchanged.
    """
    max_parts = 1 + max((name.count(",") for name in names), default=0)
    names_from: dict[int, list[str]] = {len(parts): []}
    """Index of a part to the names that the parts from this index on form."""
    for start in reversed(range(len(parts))):
        for stop in range(start + 1, min(start + max_parts, len(parts)) + 1):
            name = ",".join(parts[start:stop])
            if name in names and stop in names_from:
                names_from[start] = [name, *names_from[stop]]
                break
    return names_from.get(0, [*parts])

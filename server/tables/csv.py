"""CSV to blocks and back, as RFC 4180 has it: quotes, line ends in fields, LF and CRLF, a byte order mark.

The records are found by `server.tables.cutting`, so that a row that is wrong is one row's fault and has a number; their
fields are read by the library.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any, Final

from arro3.core import DataType, Field, RecordBatch, Schema
from arro3.io import read_csv, write_csv

from server.errors import InvalidArgument
from server.tables.arrays import strings
from server.tables.blocks import MAX_RECORD_BYTES, ArrowTable, Block, Fault, Source, TextBlock, check_names
from server.tables.cutting import DELIMITERS, CsvRecords, Ends

_WRITTEN_ROWS: Final = 512
"""Rows that are written at once: the library holds the interpreter meanwhile, and a prediction may wait for it."""


class CsvTable(ArrowTable):
    """A CSV file: every column is text until a feature is read from it."""

    is_text = True

    def __init__(self, source: Source, delimiter: str | None, expected: Iterable[str]) -> None:
        """Read the header.

        Without a `delimiter` it is the one of , ; tab and | that finds the most of the `expected` names. Raises
        InvalidArgument where there is no header.
        """
        self._records = CsvRecords(source)
        if delimiter is not None:
            self._records.delimiter = delimiter.encode()
        header = self._records.header()
        self.delimiter = delimiter or guess(header, frozenset(expected))
        self._records.delimiter = self.delimiter.encode()
        names = _fields(header, self.delimiter)
        check_names(names)
        super().__init__(Schema([Field(name, DataType.utf8(), nullable=True) for name in names]))

    def block(self, batch: RecordBatch, faults: dict[int, Fault] | None = None) -> Block:
        """Return the rows of a batch as a block."""
        return TextBlock(batch, self._readers, faults)

    def blocks(self) -> Iterator[Block]:
        """Yield the rows."""
        for text, ends in self._records.blocks():
            batch = self._parse(text, len(ends))
            if batch is not None:
                yield self.block(batch)
            else:
                yield self._mended(text, ends)

    def _parse(self, text: bytes, rows: int) -> RecordBatch | None:
        """Return the rows of `text`, None where they are not that many, each with all columns, in UTF-8."""
        if text.count(b"\r") != text.count(b"\r\n"):
            return None  # the library takes any CR for a line's end
        try:
            batches = list(
                read_csv(io.BytesIO(text), self.schema, has_header=False, batch_size=rows + 1, delimiter=self.delimiter)
            )
        except Exception:  # noqa: BLE001 # the library has but one kind, whose text names a line of its own count
            return None
        return batches[0] if len(batches) == 1 and batches[0].num_rows == rows else None

    def _mended(self, text: bytes, ends: Ends) -> Block:
        """Return the rows of which some are no such rows: those are made to fit, and said to be at fault."""
        faults: dict[int, Fault] = {}
        columns: list[list[str | None]] = [[] for _ in self.names]
        for record, rows in self._halved(text, ends):
            batch = self._parse(record, rows)
            found: list[Any] = []
            if batch is not None:
                found = [column.to_pylist() for column in batch.columns]
            else:
                fields, reason = _sound_fields(record, str(self.delimiter), len(self.names))
                found = [[field] for field in fields]
                if reason is not None:
                    faults[len(columns[0])] = Fault(None, reason)
            for column, values in zip(columns, found, strict=True):
                column.extend(values)
        arrays = [strings(column) for column in columns]
        return self.block(RecordBatch.from_arrays(arrays, schema=self.schema), faults)

    def _halved(self, text: bytes, ends: Ends) -> Iterator[tuple[bytes, int]]:
        """Yield records that can be read together, and how many they are; one alone where it can't be read."""
        parts = [(0, ends)]
        while parts:
            start, ends = parts.pop()
            record = text[start : ends[-1]]
            if len(ends) == 1 or self._parse(record, len(ends)) is not None:
                yield record, len(ends)
            else:
                middle = len(ends) // 2
                parts += [(int(ends[middle - 1]), ends[middle:]), (start, ends[:middle])]


def _sound_fields(record: bytes, delimiter: str, number: int) -> tuple[list[str | None], str | None]:
    """Return `number` fields of a record, and what is wrong with it where it has others."""
    reason = None
    try:
        text = record.decode()
    except UnicodeDecodeError:
        text, reason = record.decode(errors="replace"), "expected UTF-8"
    try:
        fields: list[str | None] = [field or None for field in _split(text.strip("\r\n"), delimiter)]
    except csv.Error:
        return [None] * number, "expected lines to end in LF or CRLF, and others in quotes; got CR alone"
    if len(fields) != number:
        reason = f"expected {number} fields; got {len(fields)}"
    return (fields + [None] * number)[:number], reason


def _split(record: str, delimiter: str) -> list[str]:
    """Return the fields of one record. Raises csv.Error for a line end in a field without quotes."""
    csv.field_size_limit(2 * MAX_RECORD_BYTES)  # of all readers of this process: there are no others
    return next(csv.reader([record], delimiter=delimiter), [])


def _fields(header: bytes, delimiter: str) -> list[str]:
    try:
        return _split(header.decode(), delimiter)
    except (UnicodeDecodeError, csv.Error):
        raise InvalidArgument("body: expected a header of column names in UTF-8 on the first line") from None


def guess(header: bytes, expected: frozenset[str] = frozenset()) -> str:
    """Return the delimiter that finds the most of the `expected` names in a header, and the most names at all."""

    def found(delimiter: str) -> tuple[int, int]:
        try:
            names = _fields(header, delimiter)
        except InvalidArgument:
            return -1, 0  # a line end stands in quotes that only another delimiter opens
        return len(expected.intersection(names)), len(names)

    return max(DELIMITERS, key=found)


class CsvWriter:
    """Batches to CSV: LF, quotes only where they are needed, null as nothing."""

    def __init__(self, delimiter: str) -> None:
        """Write `delimiter` between the columns."""
        self._delimiter = delimiter

    def header(self, empty: RecordBatch) -> bytes:
        """Return the line of column names."""
        return self._written(empty, header=True)

    def rows(self, batch: RecordBatch) -> bytes:
        """Return the rows."""
        starts = range(0, batch.num_rows, _WRITTEN_ROWS)
        parts = (batch.slice(start, min(_WRITTEN_ROWS, batch.num_rows - start)) for start in starts)
        return b"".join([self._written(part, header=False) for part in parts])

    def _written(self, batch: Any, *, header: bool) -> bytes:  # noqa: ANN401
        out = io.BytesIO()
        write_csv(batch, out, header=header, delimiter=self._delimiter)
        return out.getvalue()

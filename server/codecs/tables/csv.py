"""Read and write CSV by RFC 4180.

Quotes, line ends in fields, LF and CRLF line ends, and a byte order mark are supported.

`csv_records` finds the records, so that a fault has a row number and affects only its row. The library reads the
fields.
"""

import csv
import io
from codecs import BOM_UTF8
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from arro3.core import DataType, Field, RecordBatch, Schema
from arro3.io import read_csv, write_csv

from server.codecs.tables import feature_columns
from server.codecs.tables.arrow_numpy import strings
from server.codecs.tables.csv_formulas import escape
from server.codecs.tables.csv_records import DELIMITERS, CsvRecords, Ends, split_by_fields
from server.codecs.tables.csv_text import COMMA, CSV_TEXT, POINT, TextFormat
from server.codecs.tables.feature_columns import FeatureReader
from server.codecs.tables.limits import MAX_RECORD_BYTES, TEXT_ROWS, Limits, block_rows, check_names, written_rows
from server.codecs.tables.table import ArrowTable, Block, Fault, Source, TextBlock, check
from server.errors import InvalidArgument
from server.models.signature import Column, Signature

_TITLE_LINES: Final = 20
"""Lines after the first to search for a header. Many exports have titles and comments before it."""
_COMMENT_START: Final = b"#"
_MAX_WRITE_ROWS: Final = 512
"""Maximum rows to write at once. The library holds the interpreter lock meanwhile, and a prediction may wait for it."""


class CsvTable(ArrowTable):
    """A CSV file: every column is text until a feature is read from it."""

    is_text = True

    def __init__(
        self,
        source: Source,
        delimiter: str | None,
        expected: Iterable[str],
        limits: Limits,
        text: TextFormat = CSV_TEXT,
    ) -> None:
        """Read the header.

        Without `delimiter`, a first line `sep=;` states it. Else it is the one of , ; tab and | that finds most of the
        `expected` names. `text` holds the rules for nulls and numbers. Raises InvalidArgument without a header,
        PayloadTooLarge for too many columns.
        """
        self._records = CsvRecords(source)
        if delimiter is not None:
            self._records.delimiter = delimiter.encode()
        header = self._records.header()
        self._expected = frozenset(expected)
        self._text = text
        self.delimiter = delimiter or self._records.stated_delimiter or guess_delimiter(header, self._expected)
        self._records.delimiter = self.delimiter.encode()
        names = _fields(header, self.delimiter)
        check_names(names, limits.max_columns)
        self._records.max_rows = block_rows(names, TEXT_ROWS)
        super().__init__(Schema([Field(name, DataType.utf8(), nullable=True) for name in names]))

    @property
    def is_one_line(self) -> bool:
        """Whether the body has no line end: then it is only a header."""
        return self._records.is_one_line

    def prepare(self, signature: Signature, reserved_names: Collection[str], max_string_bytes: int) -> None:
        """Check the names. Raises InvalidArgument, also for lines before the header."""
        if not self._expected.intersection(self.names):
            self._check_first_line()
        super().prepare(signature, reserved_names, max_string_bytes)

    def reader(self, column: Column, kind: DataType, max_string_bytes: int) -> FeatureReader:
        """Return the reader of a feature from this file's text."""
        return feature_columns.reader(column, kind, max_string_bytes, self._text)

    def _check_first_line(self) -> None:
        """Raise InvalidArgument if a line soon after the first has names of features."""
        for number, record in enumerate(self._records.peek(_TITLE_LINES), 2):
            try:
                names = _fields(record, self.delimiter or guess_delimiter(record, self._expected))
                names = (
                    names
                    if self._expected.intersection(names)
                    else _fields(record, guess_delimiter(record, self._expected))
                )
            except InvalidArgument:
                continue
            if self._expected.intersection(names):
                message = f"it is row {number} of the file: remove the lines before it"
                raise InvalidArgument(f"body: expected a header of column names on the first line; {message}")

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
                yield self._parse_with_faults(text, ends)

    def _parse(self, text: bytes, rows: int) -> RecordBatch | None:
        """Return the `rows` rows of `text`; None if a row is wrong.

        A wrong row has other columns, is not UTF-8, or changes the number of rows.
        """
        if text.count(b"\r") != text.count(b"\r\n"):
            return None  # the library reads any CR as a line end
        if text.startswith(BOM_UTF8):
            text = b"\n" + text  # the library drops a byte order mark at the beginning; here it is part of a value
        try:
            batches = list(
                read_csv(io.BytesIO(text), self.schema, has_header=False, batch_size=rows + 1, delimiter=self.delimiter)
            )
        except Exception:  # noqa: BLE001 # the library raises plain Exception only, with a line number of its own count
            return None
        return batches[0] if len(batches) == 1 and batches[0].num_rows == rows else None

    def _parse_with_faults(self, text: bytes, ends: Ends) -> Block:
        """Return rows with wrong rows padded or cut, and marked as faults."""
        faults: dict[int, Fault] = {}
        columns: list[list[str | None]] = [[] for _ in self.names]
        for record, rows in self._parsable_parts(text, ends):
            is_wrong = (
                rows == 1 and b'"' not in record and record.count(str(self.delimiter).encode()) + 1 != len(self.names)
            )
            batch = None if is_wrong else self._parse(record, rows)
            record_columns: list[Any] = []
            if batch is not None:
                record_columns = [column.to_pylist() for column in batch.columns]
            else:
                fields, reason = pad_fields(record, str(self.delimiter), len(self.names))
                record_columns = [[field] for field in fields]
                if reason is not None:
                    faults[len(columns[0])] = Fault(None, reason)
            for column, values in zip(columns, record_columns, strict=True):
                column.extend(values)
        arrays = [strings(column) for column in columns]
        return self.block(RecordBatch.from_arrays(arrays, schema=self.schema), faults)

    def _parsable_parts(self, text: bytes, ends: Ends) -> Iterator[tuple[bytes, int]]:
        """Yield records that can be parsed together, and their number.

        A record that can't be parsed is yielded alone.
        """
        parts = split_by_fields(text, ends, str(self.delimiter), len(self.names))
        while parts:
            check(self._records.source)
            start, ends = parts.pop()
            record = text[start : ends[-1]]
            if len(ends) == 1 or self._parse(record, len(ends)) is not None:
                yield record, len(ends)
            else:
                middle = len(ends) // 2
                parts += [(int(ends[middle - 1]), ends[middle:]), (start, ends[:middle])]


def pad_fields(record: bytes, delimiter: str, number: int | None) -> tuple[list[str | None], str | None]:
    """Return `number` fields of a record, and the fault if it has others.

    None: return as many fields as the record has.
    """
    reason = None
    try:
        text = record.decode()
    except UnicodeDecodeError:
        text, reason = record.decode(errors="replace"), "expected UTF-8"
    try:
        fields: list[str | None] = [field or None for field in _split(text.strip("\r\n"), delimiter)]
    except csv.Error:
        return [None] * (number or 0), "expected lines to end in LF or CRLF, and others in quotes; got CR alone"
    number = len(fields) if number is None else number
    if len(fields) != number:
        reason = f"expected {number} fields; got {len(fields)}"
        if record.lstrip().startswith(_COMMENT_START):
            reason += "; it begins with #, and CSV has no comments"
    return (fields + [None] * number)[:number], reason


def _split(record: str, delimiter: str) -> list[str]:
    """Return the fields of one record. Raises csv.Error for an unquoted line end."""
    csv.field_size_limit(2 * MAX_RECORD_BYTES)  # a global limit, but this process has no other csv readers
    return next(csv.reader([record], delimiter=delimiter), [])


def _fields(header: bytes, delimiter: str) -> list[str]:
    try:
        return _split(header.decode(), delimiter)
    except (UnicodeDecodeError, csv.Error):
        raise InvalidArgument("body: expected a header of column names in UTF-8 on the first line") from None


def guess_delimiter(header: bytes, expected: frozenset[str] = frozenset()) -> str:
    """Return the delimiter that finds most `expected` names in a header, then most names."""

    def count_names(delimiter: str) -> tuple[int, int]:
        try:
            names = _fields(header, delimiter)
        except InvalidArgument:
            return -1, 0  # a line end in quotes, which only another delimiter opens
        return len(expected.intersection(names)), len(names)

    return max(DELIMITERS, key=count_names)


class CsvWriter:
    """Writer of batches to CSV: LF, quotes only where needed, null as empty field."""

    def __init__(self, delimiter: str, decimal: str = POINT) -> None:
        """Write `delimiter` between columns, and numbers with a `decimal` separator."""
        self._delimiter = delimiter
        self._decimal = decimal

    def header(self, empty: RecordBatch) -> bytes:
        """Return the line of column names."""
        return self._write(empty, header=True)

    def rows(self, batch: RecordBatch) -> bytes:
        """Return the rows."""
        step = written_rows(batch.column_names, _MAX_WRITE_ROWS)
        starts = range(0, batch.num_rows, step)
        parts = (batch.slice(start, min(step, batch.num_rows - start)) for start in starts)
        return b"".join([self._write(part, header=False) for part in parts])

    def _write(self, batch: Any, *, header: bool) -> bytes:  # noqa: ANN401
        if self._decimal != POINT:
            batch = _with_decimal_commas(batch)
        out = io.BytesIO()
        write_csv(batch, out, header=header, delimiter=self._delimiter)
        return out.getvalue()


def escape_formulas(batch: RecordBatch, start: int) -> RecordBatch:
    """Return a batch without formulas in its text columns from index `start` on.

    A formula is text that a spreadsheet would run.
    """
    arrays = [
        strings([value and escape(value) for value in array.to_pylist()])
        if index >= start and array.type == DataType.utf8()
        else array
        for index, array in enumerate(batch.columns)
    ]
    return RecordBatch.from_arrays(arrays, schema=batch.schema)


def _with_decimal_commas(batch: Any) -> RecordBatch:  # noqa: ANN401 # a record batch, or rows of one
    """Return a batch whose numbers with fractions are text with a decimal comma.

    Their digits are those of CSV with a decimal point.
    """
    arrays, fields, schema = [], [], batch.schema  # each access of batch.schema makes a copy
    for index, array in enumerate(batch.columns):
        field = schema.field(index)
        if DataType.is_floating(array.type) or DataType.is_decimal(array.type):
            out = io.BytesIO()
            write_csv(RecordBatch.from_arrays([array], schema=Schema([field])), out, header=False)
            lines = out.getvalue().decode().replace(POINT, COMMA).split("\n")[: len(array)]
            array = strings([line or None for line in lines])  # noqa: PLW2901
            field = Field(field.name, array.type, nullable=True)
        arrays.append(array)
        fields.append(field)
    return RecordBatch.from_arrays(arrays, schema=Schema(fields))

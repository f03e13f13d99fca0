"""Read and write NDJSON, one object a line.

A line is decoded and checked as the body of a prediction request, but may have other fields. If the response is NDJSON
too, each line is passed on as written, and the prediction's fields follow its own.
"""

import io
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from arro3.core import Array, DataType, RecordBatch
from arro3.io import write_ndjson

from server.codecs import json_errors
from server.codecs.json_types import MALFORMED
from server.codecs.records import RecordDecoder, record_type
from server.codecs.tables.feature_columns import MAX_EXACT, Values, filler, inexact
from server.codecs.tables.limits import TEXT_ROWS, Limits, block_rows, check_names, written_rows
from server.codecs.tables.ndjson_extra_fields import FIELDS, ExtraFields, objects
from server.codecs.tables.ndjson_lines import checked_lines, first_block, lines
from server.codecs.tables.ndjson_names import LineNames
from server.codecs.tables.table import Block, Fault, Source, Table, check
from server.errors import RequestError
from server.models.manifest import Scalar
from server.models.signature import Column, Signature

_TYPES: Final[Mapping[str, DataType]] = {
    "BYTES": DataType.utf8(),
    "BOOL": DataType.bool(),
    "UINT64": DataType.uint64(),
    "FP16": DataType.float64(),
    "FP32": DataType.float64(),
    "FP64": DataType.float64(),
}
"""Column type by datatype, where it is not INT64."""
_Row = Sequence[Scalar | None]


class NdjsonTable(Table):
    """Lines of JSON objects, each with its own fields."""

    def __init__(
        self, source: Source, records: RecordDecoder, reserved: Collection[str], limits: Limits, *, has_columns: bool
    ) -> None:
        """Read `records`; a line with a field in `reserved` is rejected.

        `has_columns`: read the first lines at once to find the fields besides the features. Raises PayloadTooLarge for
        too many fields.
        """
        self._source = source
        self._lines = lines(source)
        self._records = records
        self._signature = records.signature
        self._decode = msgspec.json.Decoder(record_type(self._signature, allow_extra_fields=True))
        self._reserved = reserved
        self._names = LineNames(self._signature)
        self._first = first_block(self._lines) if has_columns else []
        self._extra_fields = ExtraFields(self._first, frozenset(self._signature.by_name))
        self.names = _names(self._first, self._signature, limits.max_columns) if has_columns else []
        self._block_rows = block_rows(self.names, TEXT_ROWS)

    def has_columns_per_row(self) -> bool:
        """Return True: a missing field is the fault of its line only."""
        return True

    def empty(self) -> Block:
        """Return a block of no rows."""
        return self._block([])

    def blocks(self) -> Iterator[Block]:
        """Yield the rows."""
        step = self._block_rows
        for block in itertools.chain([self._first], self._lines):
            for start in range(0, len(block), step):
                check(self._source)
                yield self._block(block[start : start + step])

    def _block(self, lines: list[bytes]) -> Block:
        rows, faults = self._rows(lines)
        return _LinesBlock(lines, rows, faults, self._signature, self._extra_fields)

    def _rows(self, lines: list[bytes]) -> tuple[list[_Row], dict[int, Fault]]:
        """Return each line's features in signature order, and the faults by row."""
        text = b"\n".join(lines)
        try:
            text.decode()  # the decoder does not check the UTF-8 of fields that it skips
            if _are_objects(lines, text) and not self._names_reserved(text):
                rows: list[_Row] = [msgspec.structs.astuple(record) for record in self._decode.decode_lines(text)]
                if rows:
                    self._signature.check_strings(list(zip(*rows, strict=True)), self._records.max_string_bytes)
                if len(rows) == len(lines) and not self._names.may_be_wrong(lines, text, rows):
                    return rows, {}
        except (*MALFORMED, RequestError):
            pass  # some line is wrong, so each line is decoded separately
        results = [self._row(line) for line in checked_lines(self._source, lines)]
        return [row for row, _ in results], {n: fault for n, (_, fault) in enumerate(results) if fault is not None}

    def _malformed_fault(self, line: bytes, error: Exception) -> Fault:
        """Return the fault of a line that is not JSON, naming the feature if possible."""
        try:
            value = json_errors.parse(line)
        except (ValueError, RecursionError):
            value = {}
        record = value if isinstance(value, dict) else {}  # NaN alone is parsed too
        known_values = {name: record[name] for name in self._signature.by_name if name in record}
        if (named_error := self._records.invalid_value_error(known_values)) is not None:
            return Fault(None, named_error.message)
        reason = json_errors.find_invalid_part(line) or json_errors.reason(line, error)
        return Fault(None, f"expected a JSON object: {reason}")

    def _names_reserved(self, text: bytes) -> bool:
        """Return whether a line may have a reserved field.

        Raises DecodeError if a line is not an object.
        """
        if b"\\" in text:  # a search for the name does not find an escaped name
            return any(name in line for line in FIELDS.decode_lines(text) for name in self._reserved)
        return any(msgspec.json.encode(name) in text for name in self._reserved)

    def _row(self, line: bytes) -> tuple[_Row, Fault | None]:
        """Return a line's features, and its fault or None."""
        nothing: _Row = [None] * len(self._signature.columns)
        try:
            line.decode()
            raw_fields = FIELDS.decode(line)
        except msgspec.ValidationError:
            return nothing, Fault(None, "expected a JSON object")
        except MALFORMED as error:
            return nothing, self._malformed_fault(line, error)
        for name in self._reserved:
            if name in raw_fields:
                return nothing, Fault(name, f"{name}: expected no field of this name: it is reserved for predictions")
        if (fault := self._names.fault(line, raw_fields)) is not None:
            return nothing, Fault(*fault)
        known_values = {
            c.feature.name: _value(raw_fields[c.feature.name], c)
            for c in self._signature.columns
            if c.feature.name in raw_fields
        }
        try:
            columns, _ = self._records.decode(msgspec.json.encode(known_values))
        except RequestError as error:
            usable_values = [_usable_value(known_values.get(c.feature.name), c) for c in self._signature.columns]
            return usable_values, Fault(error.field, error.message)
        return [values[0] for values in columns], None


def _are_objects(lines: Sequence[bytes], text: bytes) -> bool:
    """Return whether each line begins and ends as an object, so none continues another.

    `text` is the lines joined.
    """
    ends = text.count(b"}\n{") + text.count(b"}\r\n{")
    if ends == len(lines) - 1 and text.startswith(b"{") and text.rstrip().endswith(b"}"):
        return True
    stripped = [line.strip() for line in lines]
    return all(line.startswith(b"{") and line.endswith(b"}") for line in stripped)


def _value(raw: msgspec.Raw, column: Column) -> object:
    """Return a feature's value, with whole numbers as integers for an integer column.

    A value that can't be decoded is returned as it is.
    """
    try:
        value = msgspec.json.decode(raw)
    except MALFORMED:
        return raw
    is_whole = column.dtype.kind in "iu" and isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else value


class _LinesBlock(Block):
    """Lines, and the values of their features."""

    def __init__(
        self,
        lines: list[bytes],
        rows: list[_Row],
        faults: dict[int, Fault],
        signature: Signature,
        extra_fields: ExtraFields,
    ) -> None:
        super().__init__(len(lines), faults)
        self._lines = lines
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(signature.columns)
        self._columns = dict(zip(signature.by_name, columns, strict=True))
        self._signature = signature
        self._extra_fields = extra_fields

    def lines(self, names: Sequence[str] | None) -> Sequence[bytes]:
        """Return the rows as written, with all fields or only those in `names`."""
        return self._lines if names is None else self._extra_fields.select(self._valid_lines(), names)

    def _values(self, column: Column) -> Values:
        given = self._columns[column.feature.name]
        values = list(given)
        for row in self.faults:
            values[row] = filler(column)
        kind = _TYPES.get(column.feature.datatype, DataType.int64())
        array = column.array(values).reshape(-1) if values else np.empty(0, column.dtype)
        return Values(array, {}, lambda: self._to_arrow(column, given, kind))

    def _to_arrow(self, column: Column, given: Sequence[Scalar | None], kind: DataType) -> Array:
        """Return a feature's values as a typed column.

        Raises InvalidArgument if a double alters an integer.
        """
        is_large = column.feature.is_float and any(value is not None and abs(value) >= MAX_EXACT for value in given)  # type: ignore[arg-type] # a number
        if is_large and not self._extra_fields.are_exact(self._valid_lines(), column.feature.name):
            raise inexact(column.feature.name)
        return Array(list(given), kind)

    def passed_columns(self, names: Sequence[str], *, as_text: bool) -> list[Array]:  # noqa: ARG002 # JSON values have types
        """Return the fields `names` as columns."""
        other = [name for name in names if name not in self._columns]
        batch = None
        if other:
            batch = self._extra_fields.read(self._valid_lines(), other)
        return [
            self._columns_array(name) if batch is None or name in self._columns else batch.column(name)
            for name in names
        ]

    def _valid_lines(self) -> list[bytes]:
        """Return the lines, with an empty object in place of each invalid line."""
        return [b"{}" if self._is_broken(row) else line for row, line in enumerate(self._lines)]

    def _columns_array(self, name: str) -> Array:
        return self.values(self._signature.by_name[name]).to_arrow()

    def _is_broken(self, row: int) -> bool:
        return row in self.faults and self.faults[row].column is None


def _names(lines: list[bytes], signature: Signature, max_fields: int) -> list[str]:
    """Return the fields of the first lines in order; the features if there are none.

    Raises PayloadTooLarge for more than `max_fields` fields.
    """
    names: dict[str, None] = {}
    for fields in objects(lines):
        names.update(dict.fromkeys(fields))
        check_names([*names] if len(names) > max_fields else (), max_fields)
    return [*names] or [*signature.by_name]


def _usable_value(value: object, column: Column) -> Scalar | None:
    """Return a wrong value to pass on if it has the column's kind, else None."""
    datatype = column.feature.datatype
    if datatype == "BYTES":
        return value if isinstance(value, str) else None
    if datatype == "BOOL" or isinstance(value, bool):
        return value if datatype == "BOOL" and isinstance(value, bool) else None
    if column.feature.is_float:
        return value if isinstance(value, int | float) else None
    return value if isinstance(value, int) and abs(value) < 2**63 else None


class NdjsonWriter:
    """Writer of batches to lines of JSON objects; nulls are written."""

    def rows(self, batch: RecordBatch) -> bytes:
        """Return a line for each row."""
        out = io.BytesIO()
        step = written_rows(batch.column_names, batch.num_rows)
        for start in range(0, batch.num_rows, step):
            write_ndjson(batch.slice(start, min(step, batch.num_rows - start)), out, explicit_nulls=True)
        return out.getvalue()

    def record(self, fields: object) -> bytes:
        """Return one line with the JSON of `fields`."""
        return msgspec.json.encode(fields) + b"\n"

    def append_predictions(self, lines: Sequence[bytes], predictions: RecordBatch) -> bytes:
        """Return each line with the prediction's fields after its own fields.

        An empty line becomes the prediction's fields alone.
        """
        prediction_lines = self.rows(predictions).split(b"\n")
        return b"".join(
            [
                _merge_objects(line.strip(), prediction)
                for line, prediction in zip(lines, prediction_lines, strict=False)
            ]
        )


def _merge_objects(line: bytes, prediction: bytes) -> bytes:
    if not line:
        return prediction + b"\n"  # the line was not an object: `error` states all that is known
    fields = line[:-1].rstrip()
    return fields + (b"" if fields == b"{" else b",") + prediction[1:] + b"\n"

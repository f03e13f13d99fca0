"""NDJSON, one object a line, to blocks and back.

Each line is decoded and checked as the body of a prediction request is, but that it may have other fields. Where NDJSON
is asked for, a line is passed on as it was written, the answer behind its own fields.
"""

import io
import itertools
from codecs import BOM_UTF8
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from arro3.core import Array, DataType, RecordBatch
from arro3.io import write_ndjson

from server.errors import PayloadTooLarge, RequestError
from server.manifest import Scalar
from server.records import MALFORMED, RecordDecoder, record_type
from server.signature import Column, Signature
from server.tables.blocks import MAX_RECORD_BYTES, TEXT_ROWS, Block, Fault, Source, Table
from server.tables.features import Values, filler
from server.tables.json_others import FIELDS, Others, objects

_READ_BYTES: Final = 128 * 1024
_TYPES: Final[Mapping[str, DataType]] = {
    "BYTES": DataType.utf8(),
    "BOOL": DataType.bool(),
    "UINT64": DataType.uint64(),
    "FP16": DataType.float64(),
    "FP32": DataType.float64(),
    "FP64": DataType.float64(),
}
"""Datatype to the type of its column, where that is another than INT64."""
_Row = Sequence[Scalar | None]


class NdjsonTable(Table):
    """Lines of JSON objects, each with fields of its own."""

    def __init__(self, source: Source, records: RecordDecoder, reserved: Collection[str], *, has_columns: bool) -> None:
        """Read `records`, of which `reserved` fields are refused.

        `has_columns`: the first lines are read at once, and tell what there is besides the features.
        """
        self._lines = lines(source)
        self._records = records
        self._signature = records.signature
        self._decode = msgspec.json.Decoder(record_type(self._signature, others=True))
        self._reserved = reserved
        self._first = _some_first(self._lines) if has_columns else []
        self._others = Others(self._first, frozenset(self._signature.by_name))
        self.names = _names(self._first, self._signature) if has_columns else []

    def lacks_nothing(self) -> bool:
        """Return True: a field that is missing is its line's own fault."""
        return True

    def empty(self) -> Block:
        """Return a block of no rows."""
        return self._block([])

    def blocks(self) -> Iterator[Block]:
        """Yield the rows."""
        first = (self._first[start : start + TEXT_ROWS] for start in range(0, len(self._first), TEXT_ROWS))
        for some in itertools.chain(first, self._lines):
            yield self._block(some)

    def _block(self, lines: list[bytes]) -> Block:
        rows, faults = self._rows(lines)
        return _LinesBlock(lines, rows, faults, self._signature, self._others)

    def _rows(self, lines: list[bytes]) -> tuple[list[_Row], dict[int, Fault]]:
        """Return each line's features in their order, and what is wrong with those that can't be scored."""
        text = b"\n".join(lines)
        try:
            text.decode()  # what is passed over isn't looked at
            if _are_objects(lines, text) and not self._names_reserved(text):
                rows: list[_Row] = [msgspec.structs.astuple(record) for record in self._decode.decode_lines(text)]
                if rows:
                    self._signature.check_strings(list(zip(*rows, strict=True)), self._records.max_string_bytes)
                if len(rows) == len(lines):
                    return rows, {}
        except (*MALFORMED, RequestError):
            pass  # some line is wrong: each is looked at
        looked = [self._row(line) for line in lines]
        return [row for row, _ in looked], {n: fault for n, (_, fault) in enumerate(looked) if fault is not None}

    def _names_reserved(self, text: bytes) -> bool:
        """Return whether a line may have a field that is reserved. Raises DecodeError where one is no object."""
        if b"\\" in text:  # what is escaped isn't seen by looking
            return any(name in line for line in FIELDS.decode_lines(text) for name in self._reserved)
        return any(msgspec.json.encode(name) in text for name in self._reserved)

    def _row(self, line: bytes) -> tuple[_Row, Fault | None]:
        """Return a line's features, and what is wrong with it."""
        nothing: _Row = [None] * len(self._signature.columns)
        try:
            line.decode()
            found = FIELDS.decode(line)
        except msgspec.ValidationError:
            return nothing, Fault(None, "expected a JSON object")
        except UnicodeDecodeError:
            return nothing, Fault(None, "expected a JSON object in UTF-8")
        except MALFORMED as error:
            return nothing, Fault(None, f"expected a JSON object: {error}")
        for name in self._reserved:
            if name in found:
                return nothing, Fault(name, f"{name}: expected no field of this name: the answers are called so")
        given = {
            c.feature.name: _value(found[c.feature.name], c) for c in self._signature.columns if c.feature.name in found
        }
        try:
            columns, _ = self._records.decode(msgspec.json.encode(given))
        except RequestError as error:
            typed = [_typed(given.get(c.feature.name), c) for c in self._signature.columns]
            return typed, Fault(error.field, error.message)
        return [values[0] for values in columns], None


def _are_objects(lines: Sequence[bytes], text: bytes) -> bool:
    """Return whether each of the lines, which are `text`, begins and ends as an object: none is part of another."""
    ends = text.count(b"}\n{") + text.count(b"}\r\n{")
    if ends == len(lines) - 1 and text.startswith(b"{") and text.rstrip().endswith(b"}"):
        return True
    stripped = [line.strip() for line in lines]
    return all(line.startswith(b"{") and line.endswith(b"}") for line in stripped)


def _value(raw: msgspec.Raw, column: Column) -> object:
    """Return a feature's value, a whole number as an integer where it is to be one; what can't be read as it is."""
    try:
        value = msgspec.json.decode(raw)
    except MALFORMED:
        return raw
    is_whole = column.dtype.kind in "iu" and isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else value


class _LinesBlock(Block):
    """Some lines, and their features' values."""

    def __init__(
        self,
        lines: list[bytes],
        rows: list[_Row],
        faults: dict[int, Fault],
        signature: Signature,
        others: Others,
    ) -> None:
        super().__init__(len(lines), faults)
        self._lines = lines
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(signature.columns)
        self._columns = dict(zip(signature.by_name, columns, strict=True))
        self._signature = signature
        self._others = others

    @property
    def lines(self) -> Sequence[bytes]:
        """The rows as they were written."""
        return self._lines

    def _values(self, column: Column) -> Values:
        given = self._columns[column.feature.name]
        values = list(given)
        for row in self.faults:
            values[row] = filler(column)
        kind = _TYPES.get(column.feature.datatype, DataType.int64())
        found = column.array(values).reshape(-1) if values else np.empty(0, column.dtype)
        return Values(found, {}, lambda: Array(list(given), kind))

    def passed(self, names: Sequence[str], *, as_text: bool) -> list[Array]:  # noqa: ARG002 # JSON has types
        """Return the fields called so."""
        other = [name for name in names if name not in self._columns]
        batch = None
        if other:
            lines = [b"{}" if self._is_broken(row) else line for row, line in enumerate(self._lines)]
            batch = self._others.read(lines, other)
        return [
            self._columns_array(name) if batch is None or name in self._columns else batch.column(name)
            for name in names
        ]

    def _columns_array(self, name: str) -> Array:
        return self.values(self._signature.by_name[name]).typed()

    def _is_broken(self, row: int) -> bool:
        return row in self.faults and self.faults[row].column is None


def lines(source: Source) -> Iterator[list[bytes]]:
    """Yield lines that are not blank, at most TEXT_ROWS at a time."""
    held = b""
    while len(held) < len(BOM_UTF8) and (data := source.read(_READ_BYTES)):
        held += data
    held = held.removeprefix(BOM_UTF8)
    while data := source.read(_READ_BYTES):
        whole, end, held = (held + data).rpartition(b"\n")
        if len(held) > MAX_RECORD_BYTES:
            raise PayloadTooLarge(f"body: expected lines of at most {MAX_RECORD_BYTES} bytes")
        if end:
            yield from _some(whole)
    yield from _some(held)


def _some(text: bytes) -> Iterator[list[bytes]]:
    lines = [line for line in text.split(b"\n") if line and not line.isspace()]
    for start in range(0, len(lines), TEXT_ROWS):
        yield lines[start : start + TEXT_ROWS]


def _some_first(lines: Iterator[list[bytes]]) -> list[bytes]:
    """Return the first lines: as many as a block has, unless they are long."""
    first: list[bytes] = []
    size = 0
    for some in lines:
        first += some
        size += sum(map(len, some))
        if len(first) >= TEXT_ROWS or size >= MAX_RECORD_BYTES:
            break
    return first


def _names(lines: list[bytes], signature: Signature) -> list[str]:
    """Return the fields of the first lines, in their order; the features first where no line has any."""
    names = dict.fromkeys(name for found in objects(lines) for name in found)
    return [*names] or [*signature.by_name]


def _typed(value: object, column: Column) -> Scalar | None:
    """Return a wrong value where it is at least of the column's kind: it is passed on."""
    datatype = column.feature.datatype
    if datatype == "BYTES":
        return value if isinstance(value, str) else None
    if datatype == "BOOL" or isinstance(value, bool):
        return value if datatype == "BOOL" and isinstance(value, bool) else None
    if column.feature.is_float:
        return value if isinstance(value, int | float) else None
    return value if isinstance(value, int) and abs(value) < 2**63 else None


class NdjsonWriter:
    """Batches to lines of JSON objects; null is written."""

    def rows(self, batch: RecordBatch) -> bytes:
        """Return a line for each row."""
        out = io.BytesIO()
        write_ndjson(batch, out, explicit_nulls=True)
        return out.getvalue()

    def record(self, fields: object) -> bytes:
        """Return a line of its own."""
        return msgspec.json.encode(fields) + b"\n"

    def beside(self, lines: Sequence[bytes], answers: RecordBatch) -> bytes:
        """Return each line with the answer's fields behind its own; of an empty one the answer alone."""
        found = self.rows(answers).split(b"\n")
        return b"".join([_joined(line.strip(), answer) for line, answer in zip(lines, found, strict=False)])


def _joined(line: bytes, answer: bytes) -> bytes:
    if not line:
        return answer + b"\n"  # it was no object: all that can be said of it stands in `error`
    fields = line[:-1].rstrip()
    return fields + (b"" if fields == b"{" else b",") + answer[1:] + b"\n"

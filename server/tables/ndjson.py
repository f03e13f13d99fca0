"""NDJSON, one object a line, to blocks and back.

Each line is decoded and checked as the body of a prediction request is, but that it may have other fields. Where NDJSON
is asked for, a line is passed on as it was written, the answer behind its own fields.
"""

import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from arro3.core import Array, DataType, Field, RecordBatch, Schema
from arro3.io import infer_json_schema, read_json, write_ndjson

from server.errors import InvalidArgument, PayloadTooLarge, RequestError
from server.manifest import Scalar
from server.records import MALFORMED, RecordDecoder, record_type
from server.signature import Column, Signature
from server.tables.arrays import no_rows
from server.tables.blocks import MAX_RECORD_BYTES, TEXT_ROWS, Block, Fault, Source, Table
from server.tables.features import Values, filler

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
_ReadOthers = Callable[[Sequence[bytes], Sequence[str]], RecordBatch]


class NdjsonTable(Table):
    """Lines of JSON objects, each with fields of its own."""

    def __init__(
        self,
        source: Source,
        signature: Signature,
        reserved: Collection[str],
        max_string_bytes: int,
        max_json_depth: int,
    ) -> None:
        """Read the first lines, which tell what there is besides the features; `reserved` fields are refused."""
        self._lines = lines(source)
        self._first = next(self._lines, [])
        self._decode = msgspec.json.Decoder(record_type(signature, others=True))
        self._records = RecordDecoder(signature, 1, max_string_bytes, max_json_depth)
        self._signature = signature
        self._reserved = reserved
        self._others: Schema | None = None
        self.names = _names(self._first, signature)

    def lacks_nothing(self) -> bool:
        """Return True: a field that is missing is its line's own fault."""
        return True

    def empty(self) -> Block:
        """Return a block of no rows."""
        return self._block([])

    def blocks(self) -> Iterator[Block]:
        """Yield the rows."""
        lines: list[bytes] | None = self._first
        while lines:
            yield self._block(lines)
            lines = next(self._lines, None)

    def _block(self, lines: list[bytes]) -> Block:
        rows, faults = self._rows(lines)
        return _LinesBlock(lines, rows, faults, self._signature, self._read_others)

    def _rows(self, lines: list[bytes]) -> tuple[list[_Row], dict[int, Fault]]:
        """Return each line's features in their order, and what is wrong with those that can't be scored."""
        text = b"\n".join(lines)
        try:
            if not any(msgspec.json.encode(name) in text for name in self._reserved):
                rows: list[_Row] = [msgspec.structs.astuple(record) for record in self._decode.decode_lines(text)]
                if rows:
                    self._signature.check_strings(list(zip(*rows, strict=True)), self._records.max_string_bytes)
                return rows, {}
        except (*MALFORMED, RequestError):
            pass  # some line is wrong: each is looked at
        looked = [self._row(line) for line in lines]
        return [row for row, _ in looked], {n: fault for n, (_, fault) in enumerate(looked) if fault is not None}

    def _row(self, line: bytes) -> tuple[_Row, Fault | None]:
        """Return a line's features, and what is wrong with it."""
        nothing: _Row = [None] * len(self._signature.columns)
        try:
            document = msgspec.json.decode(line)
        except MALFORMED as error:
            return nothing, Fault(None, f"expected a JSON object: {error}")
        if not isinstance(document, dict):
            return nothing, Fault(None, "expected a JSON object")
        for name in self._reserved:
            if name in document:
                return nothing, Fault(name, f"{name}: expected no field of this name: the answers are called so")
        given = {name: document[name] for name in self._signature.by_name if name in document}
        try:
            columns, _ = self._records.decode(msgspec.json.encode(given))
        except RequestError as error:
            return [_typed(given.get(c.feature.name), c) for c in self._signature.columns], Fault(
                error.field, error.message
            )
        return [values[0] for values in columns], None

    def _read_others(self, lines: Sequence[bytes], names: Sequence[str]) -> RecordBatch:
        """Return fields that are no features, in the types that the first lines have them in."""
        if self._others is None:
            self._others = _infer(self._first, frozenset(self._signature.by_name))
        schema = Schema([self._others.field(name) for name in names])
        if not lines:
            return no_rows(schema)
        try:
            batches = list(read_json(io.BytesIO(b"\n".join(lines)), schema, batch_size=len(lines) + 1))
        except Exception:  # noqa: BLE001 # the library has but one kind
            words = "expected every line's fields in the types that the first lines have them in"
            raise InvalidArgument(f"columns: {words}; ?columns= leaves fields out", field="columns") from None
        return batches[0]


class _LinesBlock(Block):
    """Some lines, and their features' values."""

    def __init__(
        self,
        lines: list[bytes],
        rows: list[_Row],
        faults: dict[int, Fault],
        signature: Signature,
        read_others: _ReadOthers,
    ) -> None:
        super().__init__(len(lines), faults)
        self._lines = lines
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(signature.columns)
        self._columns = dict(zip(signature.by_name, columns, strict=True))
        self._signature = signature
        self._read_others = read_others

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
            batch = self._read_others(lines, other)
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


def _names(lines: list[bytes], signature: Signature) -> list[str]:
    """Return the fields of the first lines, in their order; the features first where no line has any."""
    names: dict[str, None] = {}
    for line in lines:
        try:
            document = msgspec.json.decode(line)
        except MALFORMED:
            continue
        if isinstance(document, dict):
            names.update(dict.fromkeys(document))
    return [*names] or [*signature.by_name]


def _infer(lines: list[bytes], known: frozenset[str]) -> Schema:
    """Return the fields of the first lines but the `known`, each in the type that holds all of its values."""
    objects = []
    for line in lines:
        try:
            document = msgspec.json.decode(line)
        except MALFORMED:
            continue
        if isinstance(document, dict):
            objects.append(msgspec.json.encode({k: v for k, v in document.items() if k not in known}))
    try:
        schema = infer_json_schema(io.BytesIO(b"\n".join(objects)))
    except Exception:  # noqa: BLE001 # the library has but one kind
        words = "expected each field in one type in the first lines"
        raise InvalidArgument(f"columns: {words}; ?columns= leaves fields out", field="columns") from None
    fields = [schema.field(place) for place in range(len(schema))]
    return Schema([Field(f.name, DataType.utf8()) if DataType.is_null(f.type) else f for f in fields])


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

"""Convert NDJSON fields that are no features to typed columns.

Response formats with typed columns need them. The values in the first lines set a column's type, and the type alters no
value. Integers are 64-bit, signed or unsigned. Numbers with fractions are doubles. Numbers that neither type can hold
become text, as written. A later value that does not fit the column is an error that names the field.
"""

import io
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from arro3.core import Array, DataType, Field, RecordBatch, Schema
from arro3.io import infer_json_schema, read_json

from server.codecs.json_types import MALFORMED
from server.codecs.tables.arrow_numpy import no_rows, strings
from server.errors import InvalidArgument
from server.models.quoting import shortened_json

FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
"""Decodes an object to field names and raw values."""
_NUL: Final = b"\\u0000"
_NO_NUL: Final = b"\\u0001"
_NULL: Final = b"null"
_INT64: Final = range(-(2**63), 2**63)
_UINT64: Final = range(2**64)
_LONG_DIGITS: Final = 20
"""Length of the longest 64-bit integer: digits and sign."""
_MAX_SHOWN_BYTES: Final = 200
_MIXED: Final = "expected each line's value in one type"
_MISFIT: Final = (*MALFORMED, ValueError, OverflowError, TypeError)


class ExtraFields:
    """The fields of lines that are no features; the first lines set each field's type."""

    def __init__(self, first: Iterable[bytes], known: Collection[str]) -> None:
        """Infer from the `first` lines the types of all fields except `known`."""
        self._first = first
        self._known = known
        self._columns: Mapping[str, _Column] | None = None
        self._decoders: dict[tuple[str, ...], msgspec.json.Decoder[Any]] = {}

    def read(self, lines: Sequence[bytes], names: Sequence[str]) -> RecordBatch:
        """Return the fields `names` as columns.

        Raises InvalidArgument, naming the field, if a value has another type than its column.
        """
        if self._columns is None:
            self._columns = _infer(self._first, self._known)
        columns = [self._columns[name] for name in names]
        schema = Schema([Field(column.name, column.type) for column in columns])
        if not lines:
            return no_rows(schema)
        cells = zip(*self._cells(lines, names), strict=True)
        arrays = [column.array([*map(bytes, raws)]) for column, raws in zip(columns, cells, strict=True)]
        return RecordBatch.from_arrays(arrays, schema=schema)

    def select(self, lines: Sequence[bytes], names: Sequence[str]) -> list[bytes]:
        """Return each line reduced to the fields `names`, values as written; null for absent fields."""
        keys = [msgspec.json.encode(name) + b":" for name in names]
        return [
            b"{" + b",".join([key + bytes(raw) for key, raw in zip(keys, raws, strict=True)]) + b"}"
            for raws in self._cells(lines, names)
        ]

    def are_exact(self, lines: Sequence[bytes], name: str) -> bool:
        """Return whether doubles hold all integers of a field exactly."""
        raws = [bytes(raw) for (raw,) in self._cells(lines, [name])]
        return _Floats(name, DataType.float64()).fits([raw for raw in raws if _is_integer(raw)])

    def _cells(self, lines: Sequence[bytes], names: Sequence[str]) -> Iterator[tuple[msgspec.Raw, ...]]:
        return map(msgspec.structs.astuple, self._decoder(names).decode_lines(b"\n".join(lines)))

    def _decoder(self, names: Sequence[str]) -> "msgspec.json.Decoder[Any]":
        """Return the decoder of these fields of a line to raw values."""
        key = tuple(names)
        if key not in self._decoders:
            fields = {f"f{index}": name for index, name in enumerate(names)}
            kinds = [(field, msgspec.Raw, msgspec.Raw(_NULL)) for field in fields]
            kind = msgspec.defstruct("Others", kinds, rename=fields, frozen=True, gc=False)
            self._decoders[key] = msgspec.json.Decoder(kind)
        return self._decoders[key]


class _Column(ABC):
    """One field's column: its type, and the conversion from raw values."""

    def __init__(self, name: str, kind: DataType) -> None:
        self.name = name
        self.type = kind

    def array(self, raws: Sequence[bytes]) -> Array:
        """Return the values. Raises InvalidArgument, naming the field, for a misfit."""
        try:
            return self._array(raws)
        except _MISFIT:
            raise self._misfit(next((raw for raw in raws if not self.fits([raw])), b"")) from None

    @abstractmethod
    def _array(self, raws: Sequence[bytes]) -> Array:
        """Return the values. Raises one of `_MISFIT` for a value that the type can't hold."""

    def fits(self, raws: Sequence[bytes]) -> bool:
        """Return whether the type holds these values."""
        try:
            self._array(raws)
        except _MISFIT:
            return False
        return True

    def _misfit(self, raw: bytes) -> InvalidArgument:
        value_text = shortened_json(raw[:_MAX_SHOWN_BYTES].decode(errors="replace"))
        message = f"expected every line's value in the type that the first lines have it in; got {value_text}"
        return InvalidArgument(f"{self.name}: {message}; ?columns= leaves the field out", field=self.name)


class _Strings(_Column):
    """Strings."""

    _decode = msgspec.json.Decoder(list[str | None]).decode

    def _array(self, raws: Sequence[bytes]) -> Array:
        return strings(_Strings._decode(_list(raws)))


class _Booleans(_Column):
    """Booleans."""

    _decode = msgspec.json.Decoder(list[bool | None]).decode

    def _array(self, raws: Sequence[bytes]) -> Array:
        return Array(_Booleans._decode(_list(raws)), self.type)


class _Integers(_Column):
    """64-bit integers, signed or unsigned."""

    _decode = msgspec.json.Decoder(list[int | None]).decode

    def _array(self, raws: Sequence[bytes]) -> Array:
        return Array(_Integers._decode(_list(raws)), self.type)


class _Floats(_Column):
    """Numbers with fractions, and integers that a double holds exactly."""

    _decode = msgspec.json.Decoder(list[int | float | None]).decode

    def _array(self, raws: Sequence[bytes]) -> Array:
        numbers = _Floats._decode(_list(raws))
        floats = [None if value is None else float(value) for value in numbers]
        if floats != numbers:
            raise ValueError
        return Array(floats, self.type)


class _NumbersAsText(_Column):
    """Numbers as text, as written: no numeric type holds all of them."""

    def _array(self, raws: Sequence[bytes]) -> Array:
        if not all(raw == _NULL or _is_number(raw) for raw in raws):
            raise ValueError
        return strings([None if raw == _NULL else raw.decode() for raw in raws])


class _Nested(_Column):
    """Objects and arrays, read by the library."""

    def _array(self, raws: Sequence[bytes]) -> Array:
        text = _objects_of(raws)
        schema = Schema([Field("v", self.type)])
        try:
            # The library ends the process if its message about a wrong value contains a NUL. So the text is first read
            # without NULs.
            if _NUL in text:
                _read(text.replace(_NUL, _NO_NUL), schema, len(raws))
            array = _read(text, schema, len(raws))
        except Exception:  # noqa: BLE001 # the library raises plain Exception only
            raise ValueError from None
        if not _same(msgspec.json.decode(_list(raws)), array.to_pylist()):
            raise ValueError
        return array


class _Mixed(_Column):
    """Values of several types: no column can hold them. The client must exclude the field."""

    def _array(self, _raws: Sequence[bytes]) -> Array:
        raise InvalidArgument(f"{self.name}: {_MIXED}; ?columns= leaves the field out", field=self.name)


def objects(lines: Iterable[bytes]) -> Iterable[Mapping[str, msgspec.Raw]]:
    """Yield the lines that are objects, decoded to raw values."""
    for line in lines:
        try:
            line.decode()  # the decoder does not check the UTF-8 of values that it skips
            yield FIELDS.decode(line)
        except MALFORMED:
            continue


def _infer(lines: Iterable[bytes], known: Collection[str]) -> Mapping[str, _Column]:
    """Return a column for each field except `known`, in the type that holds its values."""
    raws_by_name: dict[str, list[bytes]] = {}
    for fields in objects(lines):
        for name, value in fields.items():
            if name not in known:
                raws_by_name.setdefault(name, []).append(bytes(value))
    return {name: _column(name, [raw for raw in raws if raw != _NULL]) for name, raws in raws_by_name.items()}


def _column(name: str, raws: Sequence[bytes]) -> _Column:
    """Return the column that holds these values."""
    first = {raw[:1] for raw in raws}
    if first <= {b'"'}:
        return _Strings(name, DataType.utf8())
    if first <= {b"t", b"f"}:
        return _Booleans(name, DataType.bool())
    if first <= {b"{"} or first <= {b"["}:
        return _nested(name, raws)
    if not all(map(_is_number, raws)):
        return _Mixed(name, DataType.utf8())
    column: _Column = _Floats(name, DataType.float64())
    if all(_is_integer(raw) for raw in raws):
        values = [int(raw) if len(raw) <= _LONG_DIGITS else _UINT64.stop for raw in raws]
        is_signed = all(value in _INT64 for value in values)
        column = _Integers(name, DataType.int64() if is_signed else DataType.uint64())
    return column if column.fits(raws) else _NumbersAsText(name, DataType.utf8())


def _nested(name: str, raws: Sequence[bytes]) -> _Column:
    if any(_NUL in raw for raw in raws):
        return _Mixed(name, DataType.utf8())  # the library panics at a field name that contains a NUL
    try:
        schema = infer_json_schema(io.BytesIO(_objects_of(raws)))
    except Exception:  # noqa: BLE001 # the library raises plain Exception only
        return _Mixed(name, DataType.utf8())
    return _Nested(name, schema.field(0).type)


def _is_number(raw: bytes) -> bool:
    return raw[:1].isdigit() or raw.startswith(b"-")


def _is_integer(raw: bytes) -> bool:
    return raw.removeprefix(b"-").isdigit()


def _list(raws: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(raws) + b"]"


def _objects_of(raws: Iterable[bytes]) -> bytes:
    """Return lines of objects, each with one value as its only field."""
    return b"\n".join([b'{"v":' + raw.replace(b"\n", b" ") + b"}" for raw in raws])


def _read(text: bytes, schema: Schema, rows: int) -> Array:
    return next(iter(read_json(io.BytesIO(text), schema, batch_size=rows + 1))).column(0)


def _same(original: Any, read: Any) -> bool:  # noqa: ANN401 # any JSON value
    """Return whether a nested value was read without loss.

    A field that an object lacks is null in its column.
    """
    if isinstance(original, dict) and isinstance(read, dict):
        return original.keys() <= read.keys() and all(_same(original.get(name), value) for name, value in read.items())
    if isinstance(original, list) and isinstance(read, list):
        return len(original) == len(read) and all(map(_same, original, read))
    return bool(original == read)

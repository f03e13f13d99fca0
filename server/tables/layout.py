"""An Arrow schema to the buffers that each record batch must have, looked at before the library reads any.

The library takes what a message states for true, and where that is wrong ends the process: its panics can't cross the
C interface that its parts are joined by. https://arrow.apache.org/docs/format/Columnar.html#buffer-listing-for-each-layout
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from server.errors import InvalidArgument
from server.tables.flatbuffer import FlatTable

MAX_FIELDS: Final = 50_000
"""Columns, and those inside them, that a schema may have."""
_ALIGNED: Final = 8
"""Bytes, of which the place of each buffer must be a multiple."""
_MAX_DEPTH: Final = 32
_MAX_ROWS: Final = 2**31 - 1
_WRONG: Final = "body: a record batch can't be read: its buffers are not those of its schema"
_NULL, _INT, _FLOAT, _BINARY, _UTF8, _BOOL, _DECIMAL, _DATE, _TIME, _TIMESTAMP = range(1, 11)
_LIST, _STRUCT, _FIXED_BINARY, _FIXED_LIST, _MAP, _DURATION, _LARGE_BINARY, _LARGE_UTF8, _LARGE_LIST = (
    *(12, 13),
    *range(15, 22),
)
_BINARY_VIEW, _UTF8_VIEW = 23, 24
_OFFSET_BYTES: Final = {
    **dict.fromkeys((_BINARY, _UTF8, _LIST, _MAP), 4),
    **dict.fromkeys((_LARGE_BINARY, _LARGE_UTF8, _LARGE_LIST), 8),
}
_VIEWS: Final = {_BINARY_VIEW, _UTF8_VIEW}
_STRINGS: Final = {_BINARY, _UTF8, _LARGE_BINARY, _LARGE_UTF8}
_PARENTS: Final = {_LIST: 1, _MAP: 1, _FIXED_LIST: 1, _LARGE_LIST: 1}
"""Types with children, and how many; a structure has any number."""
_KNOWN: Final = {*range(1, 11), *range(12, 14), *range(15, 22), *_VIEWS}
_NAME, _TYPE_KIND, _TYPE, _DICTIONARY, _CHILDREN = 0, 2, 3, 4, 5
"""Fields of a Field."""
_FIELDS: Final = 1
"""A Schema's field that holds the columns."""
_NODES, _BUFFERS, _COMPRESSION, _VARIADIC = 1, 2, 3, 4
"""Fields of a RecordBatch."""


@dataclass(slots=True)
class _Field:
    kind: int
    bits: int = 0
    """Of a value, where all have as many."""
    times: int = 1
    """Values of its child that one of a list of a fixed size has."""
    children: list["_Field"] = field(default_factory=list)


class Layout:
    """What the record batches and dictionaries of one stream are made of."""

    def __init__(self, schema: FlatTable) -> None:
        """Read a schema. Raises InvalidArgument for one that the library can't be given, struct.error for none."""
        self._left = MAX_FIELDS
        self._dictionaries: dict[int, _Field] = {}
        self._columns = [self._field(each, 0) for each in schema.tables(_FIELDS)]

    def _field(self, given: FlatTable, depth: int) -> _Field:
        self._left -= 1
        name = given.text(_NAME)
        if self._left < 0 or depth > _MAX_DEPTH:
            raise InvalidArgument(f"body: expected at most {MAX_FIELDS} columns, {_MAX_DEPTH} deep in each other")
        if b"\0" in name:
            raise InvalidArgument("body: expected column names without NUL characters")
        found = self._plain(given, depth, name.decode(errors="replace")[:64])
        encoding = given.table(_DICTIONARY)
        if encoding is None:
            return found
        self._dictionaries[encoding.number(0, "<q")] = found
        index = encoding.table(1)
        return _Field(_INT, 32 if index is None else index.number(0, "<i"))

    def _plain(self, given: FlatTable, depth: int, name: str) -> _Field:
        """Return what a column is made of that has no dictionary."""
        kind, details = given.number(_TYPE_KIND, "<B"), given.table(_TYPE)
        children = [self._field(each, depth + 1) for each in given.tables(_CHILDREN)]
        sound = kind in _KNOWN and details is not None and (kind == _STRUCT or len(children) == _PARENTS.get(kind, 0))
        if not sound or details is None:
            raise InvalidArgument(f"{name}: expected a column of another type: this one can't be read", field=name)
        if kind == _TIMESTAMP and b"\0" in details.text(1):
            raise InvalidArgument(f"{name}: expected a time zone without NUL characters", field=name)
        bits, times = _bits(kind, details), details.number(0, "<i") if kind == _FIXED_LIST else 1
        if bits < 0 or times < 0 or (kind == _FIXED_BINARY and bits == 0):
            raise InvalidArgument(f"{name}: expected values of a size that can be", field=name)
        return _Field(kind, bits, times, children)

    def check(self, batch: FlatTable, body: bytes, dictionary: int | None) -> int:
        """Check a record batch, or the batch of a `dictionary`. Returns the number of bytes it has when unpacked.

        Raises InvalidArgument where its buffers are not what the schema says, struct.error where it is no such thing.
        """
        columns = self._columns
        if dictionary is not None:
            if dictionary not in self._dictionaries:
                raise InvalidArgument(_WRONG)
            columns = [self._dictionaries[dictionary]]
        sizes = _sizes(batch, body)
        parts = _Parts(batch, sizes)
        rows = batch.number(0, "<q")
        for column in columns:
            parts.check(column, rows)
        parts.end()
        return sum(sizes)


class _Parts:
    """The nodes and buffers of one batch, in the order in which its columns have them."""

    def __init__(self, batch: FlatTable, sizes: list[int]) -> None:
        self._nodes = batch.numbers(_NODES, "<qq")
        self._sizes = iter(sizes)
        self._variadic = batch.numbers(_VARIADIC, "<q")

    def check(self, column: _Field, rows: int | None) -> None:
        """Check a column of so many rows, None: of any number."""
        length, nulls = next(self._nodes, (-1, 0))
        if not 0 <= nulls <= length <= _MAX_ROWS or (rows is not None and length != rows):
            raise InvalidArgument(_WRONG)
        if column.kind == _NULL:
            return
        self._take((length + 7) // 8 if nulls else 0)
        self._values(column, length)
        for child in column.children:
            self.check(child, length * column.times if column.kind in {_STRUCT, _FIXED_LIST} else None)

    def end(self) -> None:
        """Check that there is no more of anything."""
        if any(next(left, None) is not None for left in (self._nodes, self._sizes, self._variadic)):
            raise InvalidArgument(_WRONG)

    def _values(self, column: _Field, length: int) -> None:
        """Check the buffers behind the validity."""
        if column.kind in _OFFSET_BYTES:
            width = _OFFSET_BYTES[column.kind]
            self._take((length + 1) * width if length else 0, width)
            if column.kind in _STRINGS:
                self._take(0)
        elif column.kind in _VIEWS:
            self._take(length * 16, 16)
            (count,) = next(self._variadic, (-1,))
            for _ in _counted(count):
                self._take(0)
        elif column.kind not in {_STRUCT, _FIXED_LIST}:
            self._take((length * column.bits + 7) // 8, 1 if column.kind == _FIXED_BINARY else max(column.bits // 8, 1))

    def _take(self, least: int, width: int = 1) -> None:
        """Go to the next buffer, which must have so many bytes: those of whole values of `width` bytes."""
        size = next(self._sizes, -1)
        if size < least or size % width:
            raise InvalidArgument(_WRONG)


def _counted(count: int) -> Iterator[int]:
    if count < 0:
        raise InvalidArgument(_WRONG)
    return iter(range(count))


def _sizes(batch: FlatTable, body: bytes) -> list[int]:
    """Return how many bytes each buffer has: a compressed one begins with their number, -1 where it isn't."""
    is_packed = batch.place(_COMPRESSION) != 0
    found = []
    for offset, length in batch.numbers(_BUFFERS, "<qq"):
        if not 0 <= length <= len(body) - offset or offset < 0 or offset % _ALIGNED:
            raise InvalidArgument(_WRONG)
        size = length
        if is_packed and length:
            (unpacked,) = struct.unpack_from("<q", body[offset : offset + 8])
            size = length - 8 if unpacked == -1 else unpacked
            if size < 0:
                raise InvalidArgument(_WRONG)
        found.append(size)
    return found


def _bits(kind: int, details: FlatTable) -> int:
    """Return how many bits each value has, 0 where that differs."""
    bits = {_BOOL: 1, _TIMESTAMP: 64, _DURATION: 64}.get(kind, 0)
    if kind == _INT:
        bits = details.number(0, "<i")
    elif kind == _FLOAT:
        bits = 16 << min(details.number(0, "<H"), 2)
    elif kind == _DECIMAL:
        bits = details.number(2, "<i", 128)
    elif kind == _DATE:
        bits = 32 << min(details.number(0, "<H", 1), 1)
    elif kind == _TIME:
        bits = details.number(1, "<i", 32)
    elif kind == _FIXED_BINARY:
        bits = 8 * details.number(0, "<i")
    return bits

"""Check the record batches of a plain Arrow schema before the library reads them.

In a plain schema every column has values of one width, or strings: no dictionaries, views, lists or structures. The
library trusts the sizes in a message, and wrong sizes can end the process: a panic can't cross the C interface between
the library's parts. `isolated_reader` reads streams of any other schema in a separate process.
https://arrow.apache.org/docs/format/Columnar.html#buffer-listing-for-each-layout
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from server.codecs.tables.flatbuffer import FlatTable
from server.errors import InvalidArgument, PayloadTooLarge

_ALIGNMENT_BYTES: Final = 8
"""Alignment of each buffer's offset in bytes."""
_MAX_ROWS: Final = 2**31 - 1
_MISMATCH: Final = "body: a record batch can't be read: its buffers are not those of its schema"
_INT, _FLOAT, _BINARY, _UTF8, _BOOL, _DECIMAL, _DATE, _TIME, _TIMESTAMP = range(2, 11)
_DURATION, _LARGE_BINARY, _LARGE_UTF8 = 18, 19, 20
_OFFSET_BYTES: Final = {_BINARY: 4, _UTF8: 4, _LARGE_BINARY: 8, _LARGE_UTF8: 8}
_DIGITS: Final = {32: 9, 64: 18, 128: 38, 256: 76}
"""Decimal width in bits to the maximum number of digits."""
_NAME, _TYPE_KIND, _TYPE, _DICTIONARY, _CHILDREN = 0, 2, 3, 4, 5
"""Field numbers of a Field."""
_FIELDS: Final = 1
"""Field number of a Schema's columns."""
_NODES, _BUFFERS, _COMPRESSION = 1, 2, 3
"""Field numbers of a RecordBatch."""


class _Column(NamedTuple):
    offset_bytes: int
    """Width of a string's offset in bytes; 0 for other types."""
    bits: int
    """Width of a value in bits; 0 for strings."""


class Layout:
    """Buffer layout of the record batches of one stream."""

    def __init__(self, schema: FlatTable, max_columns: int) -> None:
        """Read a schema. Raises RequestError if it is rejected, struct.error if damaged."""
        fields = list(schema.tables(_FIELDS, max_columns + 1))
        if len(fields) > max_columns:
            raise PayloadTooLarge(f"columns: expected at most {max_columns}", field="columns")
        if any(b"\0" in field.text(_NAME) for field in fields):
            raise InvalidArgument("body: expected column names without NUL characters")
        columns = [_column(field) for field in fields]
        self.is_plain = bool(columns) and all(column is not None for column in columns)
        """Whether the batches can be checked, and so may be read in this process."""
        self._columns = [column for column in columns if column is not None]

    def check(self, batch: FlatTable, body: bytes) -> int:
        """Check a record batch of a plain schema. Return its buffers' decompressed size in bytes.

        Raises InvalidArgument if the buffers don't match the schema, struct.error if the batch is damaged.
        """
        sizes = _sizes(batch, body)
        nodes = list(batch.numbers(_NODES, "<qq"))
        rows = batch.number(0, "<q")
        if len(nodes) != len(self._columns) or not 0 <= rows <= _MAX_ROWS:
            raise InvalidArgument(_MISMATCH)
        remaining_sizes = iter(sizes)
        for column, (length, nulls) in zip(self._columns, nodes, strict=True):
            if length != rows or not 0 <= nulls <= rows:
                raise InvalidArgument(_MISMATCH)
            _check_next(remaining_sizes, (rows + 7) // 8 if nulls else 0, 1)
            if column.offset_bytes:
                _check_next(remaining_sizes, (rows + 1) * column.offset_bytes if rows else 0, column.offset_bytes)
                _check_next(remaining_sizes, 0, 1)
            else:
                _check_next(remaining_sizes, (rows * column.bits + 7) // 8, max(column.bits // 8, 1))
        if next(remaining_sizes, None) is not None:
            raise InvalidArgument(_MISMATCH)
        return sum(sizes)


def _check_next(sizes: Iterator[int], min_bytes: int, width: int) -> None:
    """Check the next buffer: at least `min_bytes` bytes, a multiple of `width` bytes."""
    size = next(sizes, -1)
    if size < min_bytes or size % width:
        raise InvalidArgument(_MISMATCH)


def _column(field: FlatTable) -> _Column | None:
    """Return a column's layout; None if the column is not plain."""
    kind, details = field.number(_TYPE_KIND, "<B"), field.table(_TYPE)
    if details is None or field.table(_DICTIONARY) is not None or field.count(_CHILDREN):
        return None
    if kind == _TIMESTAMP and b"\0" in details.text(1):
        name = field.text(_NAME).decode(errors="replace")[:64]
        raise InvalidArgument(f"{name}: expected a time zone without NUL characters", field=name)
    if kind in _OFFSET_BYTES:
        return _Column(_OFFSET_BYTES[kind], 0)
    bits = _bits(kind, details)
    return _Column(0, bits) if bits else None


def _bits(kind: int, details: FlatTable) -> int:
    """Return the bits of a value; 0 for a type, unit or width not plain."""
    bits = 0
    if kind == _INT:
        bits = details.number(0, "<i")
        bits = bits if bits in {8, 16, 32, 64} else 0
    elif kind == _FLOAT:
        bits = {0: 16, 1: 32, 2: 64}.get(details.number(0, "<H"), 0)
    elif kind == _DECIMAL:
        bits, digits, scale = details.number(2, "<i", 128), details.number(0, "<i"), details.number(1, "<i")
        bits = bits if 0 < digits <= _DIGITS.get(bits, 0) and 0 <= scale <= digits else 0
    elif kind == _DATE:
        bits = {0: 32, 1: 64}.get(details.number(0, "<H", 1), 0)
    elif kind == _TIME:
        bits, unit = details.number(1, "<i", 32), details.number(0, "<H", 1)
        bits = bits if (bits, unit) in {(32, 0), (32, 1), (64, 2), (64, 3)} else 0
    elif kind in {_TIMESTAMP, _DURATION}:
        bits = 64 if details.number(0, "<H") <= 3 else 0
    elif kind == _BOOL:
        bits = 1
    return bits


def _sizes(batch: FlatTable, body: bytes) -> list[int]:
    """Return each buffer's decompressed size in bytes.

    A compressed buffer begins with its decompressed size; -1 means that the buffer is not compressed.
    """
    is_compressed = batch.position(_COMPRESSION) != 0
    sizes = []
    for offset, length in batch.numbers(_BUFFERS, "<qq"):
        if not 0 <= length <= len(body) - offset or offset < 0 or offset % _ALIGNMENT_BYTES:
            raise InvalidArgument(_MISMATCH)
        size = length
        if is_compressed and length:
            (stated_size,) = struct.unpack_from("<q", body[offset : offset + 8])
            size = length - 8 if stated_size == -1 else stated_size
            if size < 0:
                raise InvalidArgument(_MISMATCH)
        sizes.append(size)
    return sizes

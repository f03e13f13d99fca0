"""Read the parts of Arrow's flatbuffers that must be checked: https://flatbuffers.dev/internals."""

import struct
from collections.abc import Iterator
from typing import Self


class FlatTable:
    """A flatbuffer's table. Raises struct.error if an offset points outside the data."""

    __slots__ = ("_data", "_offset", "_vtable", "_vtable_bytes")

    def __init__(self, data: bytes, offset: int) -> None:
        """Read the table at `offset`."""
        self._data = data
        self._offset = offset
        self._vtable = offset - self._unpack("<i", offset)
        self._vtable_bytes = self._unpack("<H", self._vtable)

    @classmethod
    def root(cls, data: bytes) -> Self:
        """Return the root table."""
        return cls(data, struct.unpack_from("<I", data)[0])

    def position(self, field: int) -> int:
        """Return the offset of a field's value; 0 for an absent field."""
        slot = 4 + 2 * field
        offset = self._unpack("<H", self._vtable + slot) if slot < self._vtable_bytes else 0
        return self._offset + offset if offset else 0

    def target(self, field: int) -> int:
        """Return the offset that a field points to."""
        position = self.position(field)
        return position + self._unpack("<I", position)

    def number(self, field: int, struct_format: str, default: int = 0) -> int:
        """Return a number; `struct_format` is its format for the `struct` module."""
        position = self.position(field)
        return self._unpack(struct_format, position) if position else default

    def table(self, field: int) -> Self | None:
        """Return the table that a field points to; None for an absent field."""
        return type(self)(self._data, self.target(field)) if self.position(field) else None

    def text(self, field: int) -> bytes:
        """Return a string."""
        if not self.position(field):
            return b""
        start = self.target(field)
        return self._slice(start + 4, self._unpack("<I", start))

    def count(self, field: int) -> int:
        """Return the number of elements in a vector, of four bytes or more each."""
        return self._vector(field, 4)[1]

    def tables(self, field: int, max_count: int) -> Iterator[Self]:
        """Yield the tables of a vector, at most `max_count`."""
        start, count = self._vector(field, 4)
        count = min(count, max_count)
        for offset in range(start, start + 4 * count, 4):
            yield type(self)(self._data, offset + self._unpack("<I", offset))

    def numbers(self, field: int, struct_format: str) -> Iterator[tuple[int, ...]]:
        """Yield the numbers or structures of a vector, as tuples."""
        size = struct.calcsize(struct_format)
        start, count = self._vector(field, size)
        return struct.iter_unpack(struct_format, self._slice(start, size * count))

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Return the offset of a vector's elements, of `size` bytes each, and their number."""
        if not self.position(field):
            return 0, 0
        start = self.target(field)
        count = self._unpack("<I", start)
        if start + 4 + size * count > len(self._data):
            raise struct.error("a vector ends behind its bytes")
        return start + 4, count

    def _slice(self, start: int, size: int) -> bytes:
        if start + size > len(self._data):
            raise struct.error("it ends behind its bytes")
        return self._data[start : start + size]

    def _unpack(self, struct_format: str, offset: int) -> int:
        if offset < 0:
            raise struct.error("an offset points before the bytes")
        number: int = struct.unpack_from(struct_format, self._data, offset)[0]
        return number

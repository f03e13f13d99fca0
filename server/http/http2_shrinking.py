"""Shrink an HPACK field block that is too large to be decoded (RFC 7541).

The smaller block has the same effect on the decoder's dynamic table, so the connection's other streams can continue.
"""

from collections.abc import Iterator
from typing import Final

from server.http.http2_fields import (
    OVERHEAD,
    STATIC,
    STATIC_BYTES,
    TABLE_BYTES,
    Field,
    Text,
    encoded_integer,
    encoded_text,
    min_entry_size,
)

_PATHS: Final = frozenset({4, 5})
"""Entries of the static table with the name :path."""
_FIRST_FIELDS: Final = 6
_FIRST_BYTES: Final = 8_192
"""Number and length limit of the first fields.

They include the pseudo-header fields (RFC 9113, 8.3).
"""
_OTHER_BYTES: Final = 512
_MAX_TOTAL_BYTES: Final = 12_288
"""Limits in bytes for other fields in a shrunk block: per field, and in total."""
_ROOT: Final = b"\x84"
"""The field `:path: /`."""
_FILLER: Final = b"\x7f\x85\x1f" + b"x" * 4_100
"""A value too large for the dynamic table.

The insertion of its field empties the table (RFC 7541, 4.4).
"""


def shrink(block: bytes, fields: list[Field]) -> bytes:
    """Return a block of at most MAX_LIST_BYTES with the same effect on the dynamic table.

    It contains the shorter fields. A `:path` that is too long becomes `/`.
    """
    return b"".join(_BlockShrinker(block, fields).pieces())


class _BlockShrinker:
    """The replacement of one block.

    It inserts only the entries that the dynamic table holds at the block's end. Fields whose entries are evicted by
    later entries become literals without insertion, or are omitted.
    """

    def __init__(self, block: bytes, fields: list[Field]) -> None:
        self._block = block
        self._fields = fields
        self._inserts = [field for field in fields if field.inserts]
        self._evicted = self._count_evicted()
        self._insert_count = 0
        """Number of inserting fields of the block so far."""
        self._remaining_bytes = _MAX_TOTAL_BYTES
        self._referenced: set[int] = set()
        """Table entries in the replacement.

        Each occurs once, so their total size is at most the table size.
        """

    def _count_evicted(self) -> int:
        """Return how many insertions of the block are certainly evicted by its later insertions."""
        size = 0
        for number in range(len(self._inserts) - 1, -1, -1):
            size += min_entry_size(self._inserts[number])
            if size > TABLE_BYTES:
                return number
        return 0

    def pieces(self) -> Iterator[bytes]:
        """Yield the replacement, field by field."""
        for number, field in enumerate(self._fields):
            if field.indexed:
                yield from self._entries(field)
            elif field.value is None:
                yield self._block[field.start : field.end]
            elif field.inserts and self._insert_count >= self._evicted:
                yield self._encode_inserted(field, field.value)
                self._insert_count += 1
            else:
                yield self._literal(field, field.value, _FIRST_BYTES if number < _FIRST_FIELDS else _OTHER_BYTES)
                self._insert_count += field.inserts

    def _entries(self, field: Field) -> Iterator[bytes]:
        """Yield table references, within the size limit."""
        run = dict.fromkeys(self._block[field.start : field.end])
        numbers = [field.name_index] if field.name_index else [byte & 0x7F for byte in run]
        for number in numbers:
            index, text = self._resolve(number)
            if text is None and index and index not in self._referenced:
                self._referenced.add(index)
                self._remaining_bytes -= STATIC_BYTES
                yield encoded_integer(index, 0x80, 7)

    def _encode_inserted(self, field: Field, value: Text) -> bytes:
        """Return a field with insertion.

        A field too large for the table becomes another field that is also too large.
        """
        too_large = min_entry_size(field) > TABLE_BYTES
        filler = _FILLER if too_large else None
        if too_large and field.name is not None and field.name.max_bytes > _OTHER_BYTES:
            return b"\x40\x01x" + _FILLER
        return self._encode_name(field, 0x40, 6) + (filler or encoded_text(self._block, value))

    def _literal(self, field: Field, value: Text, max_bytes: int) -> bytes:
        """Return a field without insertion; empty if it is too long."""
        size = value.max_bytes + (STATIC_BYTES if field.name is None else field.name.max_bytes)
        if size <= max_bytes and size + OVERHEAD <= self._remaining_bytes:
            self._remaining_bytes -= size + OVERHEAD
            return self._encode_name(field, 0, 4) + encoded_text(self._block, value)
        return _ROOT if field.name_index in _PATHS else b""

    def _encode_name(self, field: Field, pattern: int, bits: int) -> bytes:
        """Return the start of a literal: its name."""
        index, text = (0, field.name) if field.name is not None else self._resolve(field.name_index)
        return encoded_integer(index, pattern, bits) + (b"" if text is None else encoded_text(self._block, text))

    def _resolve(self, index: int) -> tuple[int, Text | None]:
        """Return the index of an entry in the replacement.

        If the entry is not inserted there, return 0 and its name.
        """
        count, retained = self._insert_count, max(0, self._insert_count - self._evicted)
        while index > STATIC:
            age = index - STATIC - 1
            if age >= count:  # inserted before this block
                return STATIC + 1 + retained + age - count, None
            number = count - 1 - age
            if number >= self._evicted:
                return STATIC + self._insert_count - number, None
            inserted = self._inserts[number]
            if inserted.name is not None:
                return 0, inserted.name
            index, count = inserted.name_index, number
        return index, None

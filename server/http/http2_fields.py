"""Bound the size of an HPACK field block before it is decoded (RFC 7541).

The decoder of zttp closes the connection if the fields of a block exceed its limit.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import zttp

MAX_LIST_BYTES: Final = 65_536
"""Largest field list that zttp decodes.

The size is counted as for SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113, 6.5.2).
"""
OVERHEAD: Final = 32
"""Bytes that each field counts in addition to its name and value (RFC 7541, 4.1)."""
TABLE_BYTES: Final = 4_096
"""Size of the dynamic table in bytes: the default, which this server does not change."""
STATIC: Final = 61
"""Number of entries of the static table (RFC 7541, appendix A)."""
_STATIC_NAME: Final = 27
STATIC_BYTES: Final = 72
"""Largest name in the static table, and largest counted size of an entry, in bytes."""
_DYNAMIC: Final = bytes(range(0x80 + STATIC + 1, 0xFF))
"""One-byte fields that refer to entries of the dynamic table."""
_SHORTEST_CODE: Final = 5
_LONGEST_CODE: Final = 30
"""Bits of the shortest and longest code of the Huffman table (RFC 7541, appendix B)."""
_INDEXED: Final = re.compile(rb"[\x80-\xfe]+")
"""Fields of one byte each, which refer to entries of the tables."""
_SCRATCH: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)
_GET: Final = b"\x82\x84\x86"
"""The bytes at the start of a connection, and the fields of `GET /`."""


class MalformedBlockError(Exception):
    """A field block ends within a field, or has an integer that is too large."""


class Text(NamedTuple):
    """Position of a string literal in its block."""

    start: int
    end: int
    huffman: bool

    @property
    def max_bytes(self) -> int:
        """The maximum number of bytes after decoding."""
        size = self.end - self.start
        return size * 8 // _SHORTEST_CODE if self.huffman else size

    @property
    def min_bytes(self) -> int:
        """The minimum number of bytes after decoding."""
        size = self.end - self.start
        return size * 8 // _LONGEST_CODE if self.huffman else size


class Field(NamedTuple):
    """One field representation in a block: bytes `start` to `end`."""

    start: int
    end: int
    indexed: int = 0
    """Number of consecutive table references; 0: a literal, or an update of the table size."""
    name_index: int = 0
    name: Text | None = None
    value: Text | None = None
    """None: an update of the table size."""
    inserts: bool = False


class Measure:
    """Upper bounds for the entries of a connection's dynamic table, from the blocks so far."""

    def __init__(self) -> None:
        """Start with an empty table.

        Blocks of at most `max_plain_bytes` bytes are not measured, so their largest possible entries count as inserted.
        """
        self._name = self._value = 220
        self.max_plain_bytes = 137
        """Length of a block that cannot exceed MAX_LIST_BYTES, regardless of its content."""

    def fields(self, block: bytes) -> tuple[list[Field], int]:
        """Return the fields of a block, and an upper bound of their size. Raises MalformedBlockError."""
        fields = list(_walk(block))
        entry = self.entry
        size = 0
        for field in fields:
            if field.indexed:
                run = block[field.start : field.end]
                static = len(run.translate(None, _DYNAMIC)) if field.name_index == 0 else 0
                size += static * STATIC_BYTES + (field.indexed - static) * entry
            elif field.value is not None:
                name = self._max_name_bytes(field)
                size += name + field.value.max_bytes + OVERHEAD
                if field.inserts and min_entry_size(field) <= TABLE_BYTES:
                    self._name = max(self._name, name)
                    self._value = max(self._value, field.value.max_bytes)
                    entry = self.entry
                    self.max_plain_bytes = min(self.max_plain_bytes, MAX_LIST_BYTES // entry)
        return fields, size

    def _max_name_bytes(self, field: Field) -> int:
        if field.name is not None:
            return field.name.max_bytes
        return self._name if field.name_index > STATIC else _STATIC_NAME

    @property
    def entry(self) -> int:
        """The maximum counted size of an entry."""
        return min(self._name + self._value + OVERHEAD, TABLE_BYTES)


def tighten_bound(block: bytes, fields: list[Field], bound: int) -> int:
    """Return a tighter upper bound of a block's size: decode its Huffman codes.

    zttp decodes at most MAX_LIST_BYTES; the result for a larger block is `bound`.
    """
    texts = [text for field in fields for text in (field.name, field.value) if text is not None and text.huffman]
    if not texts or bound - sum(text.max_bytes - text.min_bytes for text in texts) > MAX_LIST_BYTES:
        return bound
    values = b"".join([b"\x00\x01x" + encoded_text(block, text) for text in texts])
    scratch: zttp.H2Connection = zttp.Connection(zttp.SERVER, zttp.HTTP2)
    scratch.receive_data(_SCRATCH + b"".join(frames(1, _GET + values, ends_stream=True)))
    try:
        while (event := scratch.next_event()) is not zttp.NEED_DATA:
            if isinstance(event, zttp.Request):
                decoded = sum(len(value) for name, value in event.headers if name == b"x")
                return bound - sum(text.max_bytes for text in texts) + decoded
    except zttp.RemoteProtocolError:
        pass
    return bound


def frames(stream: int, block: bytes, *, ends_stream: bool) -> Iterator[bytes]:
    """Yield the HEADERS and CONTINUATION frames of a field block; `ends_stream`: it ends the stream."""
    kind, flags = 1, 1 if ends_stream else 0
    while True:
        piece, block = block[:16_384], block[16_384:]
        flags |= 0 if block else 4
        yield len(piece).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + piece
        if not block:
            return
        kind, flags = 9, 0


def min_entry_size(field: Field) -> int:
    """Return the minimum size of a literal's entry."""
    texts = [text.min_bytes for text in (field.name, field.value) if text is not None]
    return sum(texts) + OVERHEAD


def _walk(block: bytes) -> Iterator[Field]:
    """Yield the fields of a block without decoding their strings. Raises MalformedBlockError."""
    at, end = 0, len(block)
    while at < end:
        start, first = at, block[at]
        if run := _INDEXED.match(block, at):
            at = run.end()
            yield Field(start, at, at - start)
        elif first == 0xFF:
            index, at = _read_encoded_integer(block, at, 7)
            yield Field(start, at, 1, index)
        elif first & 0xE0 == 0x20:
            _, at = _read_encoded_integer(block, at, 5)
            yield Field(start, at)
        else:
            inserts = bool(first & 0x40)
            index, at = _read_encoded_integer(block, at, 6 if inserts else 4)
            name = None if index else _read_encoded_text(block, at)
            value = _read_encoded_text(block, at if name is None else name.end)
            at = value.end
            yield Field(start, at, 0, index, name, value, inserts)


def _read_encoded_text(block: bytes, at: int) -> Text:
    huffman = at < len(block) and block[at] >= 0x80
    length, at = _read_encoded_integer(block, at, 7)
    if at + length > len(block):
        raise MalformedBlockError
    return Text(at, at + length, huffman)


def _read_encoded_integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """Return an integer (RFC 7541, 5.1) and the offset after it."""
    try:
        prefix_max = (1 << bits) - 1
        value = block[at] & prefix_max
        at += 1
        if value < prefix_max:
            return value, at
        for shift in range(0, 28, 7):
            byte = block[at]
            at += 1
            value += (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
    except IndexError:
        pass
    raise MalformedBlockError


def encoded_integer(value: int, pattern: int, bits: int) -> bytes:
    """Encode an integer whose first byte has `pattern` above its low `bits`."""
    prefix_max = (1 << bits) - 1
    if value < prefix_max:
        return bytes((pattern | value,))
    encoded = [pattern | prefix_max]
    value -= prefix_max
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))


def encoded_text(block: bytes, text: Text) -> bytes:
    """Return a string literal as encoded in its block."""
    return encoded_integer(text.end - text.start, 0x80 if text.huffman else 0, 7) + block[text.start : text.end]

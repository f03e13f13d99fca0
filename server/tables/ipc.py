"""The messages of an Arrow IPC stream, looked at before the library allocates what they ask for.

A message is a marker, its metadata's length, the metadata (a flatbuffer) and a body whose length the metadata states.
Twenty forged bytes can state a body of a terabyte, or a compressed buffer of one, and the library would end the process
in trying to get it. https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format
"""

import itertools
import struct
from collections.abc import Mapping
from typing import Final

from server.errors import InvalidArgument, PayloadTooLarge
from server.tables.blocks import Source

MAX_METADATA_BYTES: Final = 16 * 1024 * 1024
"""Bytes that one message's description may have: tens of thousands of columns."""
MARKER: Final = b"\xff\xff\xff\xff"
FILE_MAGIC: Final = b"ARROW1\0\0"
"""What an IPC file begins with; the stream that it holds comes next."""
_TORN: Final = "body: the Arrow stream ends in the middle of a message"
_NO_STREAM: Final = "body: expected an Arrow IPC stream"
_VERSION, _HEADER_TYPE, _HEADER, _BODY_LENGTH = 0, 1, 2, 3
"""Fields of a Message, by their place in the flatbuffer's table."""
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
"""Values of a Message's header type."""
_DATA = 1
"""A DictionaryBatch's field that holds its record batch."""
_NOTES_AT: Final = 48
"""Where the custom metadata stands in a message that `annotated` makes."""
_BUFFERS, _COMPRESSION = 2, 3
"""Fields of a RecordBatch."""


class Messages:
    """A stream of messages, none of which asks for more than `max_bytes`; to be read as a file is."""

    def __init__(self, source: Source, first: bytes, max_bytes: int) -> None:
        """Read what follows `first`, which was taken from `source` already."""
        self.failure: Exception | None = None
        self._source = source
        self._held = first
        self._max_bytes = max_bytes
        self._ready: list[bytes | memoryview] = []
        self._ended = False

    def read(self, size: int = -1, /) -> bytes:
        """Return some bytes, whole messages one after the other. Raises InvalidArgument, PayloadTooLarge."""
        if size == 0:
            return b""
        try:
            if not self._ready and not self._ended:
                self._ready = self._message()
        except Exception as error:
            self.failure = error
            raise
        if not self._ready:
            return b""
        part = self._ready.pop(0)
        if 0 < size < len(part):
            self._ready.insert(0, memoryview(part)[size:])
            part = part[:size]
        return bytes(part)  # what is asked for as a whole, a record batch's body, isn't copied

    def seek(self, *_where: int) -> int:
        """Refuse: a stream is read once. The library asks whether there is such a method."""
        raise OSError("a stream can't be read twice")

    def _message(self) -> list[bytes | memoryview]:
        marker = self._take(8, at_end=True)
        if not marker:
            self._ended = True
            return []
        (size,) = struct.unpack_from("<i", marker, 4)
        if marker[:4] != MARKER or not size >= 0:
            raise InvalidArgument(_NO_STREAM)
        if size == 0:
            self._ended = True
            return [marker]
        if size > MAX_METADATA_BYTES:
            raise PayloadTooLarge(f"{_NO_STREAM} with metadata of at most {MAX_METADATA_BYTES} bytes a message")
        metadata = self._take(size)
        try:
            body = self._body(metadata)
        except struct.error:
            raise InvalidArgument(_NO_STREAM) from None
        return [marker + metadata, body] if body else [marker + metadata]

    def _body(self, metadata: bytes) -> bytes:
        message = _Table.root(metadata)
        length = message.number(_BODY_LENGTH, "<q")
        if not 0 <= length <= self._max_bytes:
            words = f"expected record batches of at most {self._max_bytes} bytes; write smaller ones"
            raise PayloadTooLarge(f"body: {words}")
        body = self._take(length)
        kind = message.number(_HEADER_TYPE, "<B")
        if kind in {_DICTIONARY_BATCH, _RECORD_BATCH}:
            batch = message.table(_HEADER)
            if batch is not None and kind == _DICTIONARY_BATCH:
                batch = batch.table(_DATA)
            if batch is not None and batch.place(_COMPRESSION):
                self._check_unpacked(batch, body)
        return body

    def _check_unpacked(self, batch: "_Table", body: bytes) -> None:
        """Each compressed buffer begins with the number of bytes it unpacks to, -1 where it is not compressed."""
        total = 0
        for offset, length in batch.pairs(_BUFFERS):
            if length:
                (unpacked,) = struct.unpack_from("<q", body, offset)
                total += max(unpacked, 0)
        if total > self._max_bytes:
            raise PayloadTooLarge(f"body: expected record batches of at most {self._max_bytes} bytes, unpacked")

    def _take(self, size: int, *, at_end: bool = False) -> bytes:
        """Return exactly `size` bytes; none at all where the stream may be `at_end`."""
        parts = [self._held[:size]]
        self._held = self._held[size:]
        missing = size - len(parts[0])
        while missing:
            data = self._source.read(missing)
            if not data:
                break
            parts.append(data)
            missing -= len(data)
        if missing and not (at_end and missing == size):
            raise InvalidArgument(_TORN)
        return b"".join(parts) if len(parts) > 1 else parts[0]


def annotated(message: bytes, notes: Mapping[str, str]) -> bytes:
    """Return a message with custom metadata: the same flatbuffer behind a Message of its own, which points into it."""
    (size,) = struct.unpack_from("<i", message, 4)
    metadata, body = message[8 : 8 + size], message[8 + size :]
    old = _Table.root(metadata)
    version, kind, length = old.number(_VERSION, "<h"), old.number(_HEADER_TYPE, "<B"), old.number(_BODY_LENGTH, "<q")
    entries = [_key_value(key.encode(), value.encode()) for key, value in notes.items()]
    starts = list(itertools.accumulate(map(len, entries), initial=_NOTES_AT + 4 + 4 * len(entries)))
    vector = struct.pack("<I", len(entries))
    for place, start in enumerate(starts[:-1]):
        vector += struct.pack("<I", start + 8 - (_NOTES_AT + 4 + 4 * place))  # a table stands behind its vtable
    tail = _padded(vector + b"".join(entries))
    header_at = _NOTES_AT + len(tail) + old.target(_HEADER)
    vtable = struct.pack("<HHHHHHH", 14, 24, 4, 6, 8, 16, 12)
    table = struct.pack("<ihBxIIq", 20, version, kind, header_at - 32, _NOTES_AT - 36, length)
    flatbuffer = _padded(struct.pack("<I", 24) + vtable + bytes(6) + table + tail + metadata)
    return MARKER + struct.pack("<i", len(flatbuffer)) + flatbuffer + body


def _key_value(key: bytes, value: bytes) -> bytes:
    """Return a KeyValue's vtable, its table, and its strings."""
    first, second = _string(key), _string(value)
    return struct.pack("<HHHHiII", 8, 12, 4, 8, 8, 8, 4 + len(first)) + first + second


def _string(text: bytes) -> bytes:
    length = len(text) + 1  # a NUL ends it
    return struct.pack("<I", len(text)) + text + bytes(1 + -length % 4)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


class _Table:
    """A flatbuffer's table: https://flatbuffers.dev/internals. Raises struct.error where it points out of its bytes."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._vtable = at - self._unpack("<i", at)
        self._vtable_bytes = self._unpack("<H", self._vtable)

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        return cls(data, struct.unpack_from("<I", data)[0])

    def place(self, field: int) -> int:
        """Return where a field's value is, 0 where it isn't given."""
        slot = 4 + 2 * field
        offset = self._unpack("<H", self._vtable + slot) if slot < self._vtable_bytes else 0
        return self._at + offset if offset else 0

    def target(self, field: int) -> int:
        """Return where the table is that a field points to."""
        place = self.place(field)
        return place + self._unpack("<I", place)

    def number(self, field: int, form: str) -> int:
        place = self.place(field)
        return self._unpack(form, place) if place else 0

    def table(self, field: int) -> "_Table | None":
        place = self.place(field)
        return _Table(self._data, place + self._unpack("<I", place)) if place else None

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """Return a vector of structures of two 64-bit numbers."""
        place = self.place(field)
        if not place:
            return []
        start = place + self._unpack("<I", place)
        count = self._unpack("<I", start)
        if start + 4 + 16 * count > len(self._data):
            raise struct.error("a vector ends behind its bytes")
        return [struct.unpack_from("<qq", self._data, start + 4 + 16 * n) for n in range(count)]

    def _unpack(self, form: str, at: int) -> int:
        if at < 0:
            raise struct.error("an offset points before the bytes")
        number: int = struct.unpack_from(form, self._data, at)[0]
        return number

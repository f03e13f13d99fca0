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
from server.tables.flatbuffer import FlatTable
from server.tables.layout import Layout

MAX_METADATA_BYTES: Final = 16 * 1024 * 1024
"""Bytes that one message's description may have: tens of thousands of columns."""
MARKER: Final = b"\xff\xff\xff\xff"
FILE_MAGIC: Final = b"ARROW1\0\0"
"""What an IPC file begins with; the stream that it holds comes next."""
_FILE_END: Final = b"ARROW1"
_READ_BYTES: Final = 64 * 1024
_TORN_FILE: Final = "body: expected an Arrow IPC file; its end is missing"
_TORN: Final = "body: the Arrow stream ends in the middle of a message"
_NO_STREAM: Final = "body: expected an Arrow IPC stream"
_VERSION, _HEADER_TYPE, _HEADER, _BODY_LENGTH = 0, 1, 2, 3
"""Fields of a Message, by their place in the flatbuffer's table."""
_SCHEMA, _DICTIONARY_BATCH, _RECORD_BATCH = 1, 2, 3
"""Values of a Message's header type."""
_ID, _DATA, _IS_DELTA = 0, 1, 2
"""Fields of a DictionaryBatch: which it is, its record batch, and whether that is added to what it was."""
_NOTES_AT: Final = 48
"""Where the custom metadata stands in a message that `annotated` makes."""


class Messages:
    """A stream of messages, none of which asks for more than `max_bytes`; to be read as a file is."""

    def __init__(self, source: Source, first: bytes, max_bytes: int, *, is_file: bool = False) -> None:
        """Read what follows `first`, which was taken from `source` already; `is_file`: it stands in an IPC file."""
        self.failure: Exception | None = None
        self._source = source
        self._held = first
        self._max_bytes = max_bytes
        self._ready: list[bytes | memoryview] = []
        self._is_file = is_file
        self._ended = False
        self._layout: Layout | None = None
        self._dictionary_bytes: dict[int, int] = {}

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
            if self._is_file:
                raise InvalidArgument(_TORN_FILE)
            self._ended = True  # the format lets a stream end so
            return []
        (size,) = struct.unpack_from("<i", marker, 4)
        if marker[:4] != MARKER or not size >= 0:
            raise InvalidArgument(_NO_STREAM)
        if size == 0:
            self._ended = True
            self._check_rest()
            return [marker]
        if size > MAX_METADATA_BYTES:
            raise PayloadTooLarge(f"{_NO_STREAM} with metadata of at most {MAX_METADATA_BYTES} bytes a message")
        metadata = self._take(size)
        try:
            body = self._body(metadata)
        except struct.error:
            raise InvalidArgument(_NO_STREAM) from None
        return [marker + metadata, body] if body else [marker + metadata]

    def _check_rest(self) -> None:
        """Hold what follows the stream's end to be nothing, of a file its index: no rows are passed over in silence."""
        last = self._held
        while data := self._source.read(_READ_BYTES):
            if not self._is_file:
                raise InvalidArgument("body: expected nothing behind the Arrow stream's end")
            last = (last + data)[-len(_FILE_END) :]
        if self._is_file and last != _FILE_END:
            raise InvalidArgument(_TORN_FILE)

    def _body(self, metadata: bytes) -> bytes:
        message = FlatTable.root(metadata)
        length = message.number(_BODY_LENGTH, "<q")
        if not 0 <= length <= self._max_bytes:
            words = f"expected record batches of at most {self._max_bytes} bytes; write smaller ones"
            raise PayloadTooLarge(f"body: {words}")
        body = self._take(length)
        self._check(message, body)
        return body

    def _check(self, message: FlatTable, body: bytes) -> None:
        """Hold a message to the schema, which comes first."""
        kind, header = message.number(_HEADER_TYPE, "<B"), message.table(_HEADER)
        if header is None or (kind == _SCHEMA) != (self._layout is None):
            raise InvalidArgument(_NO_STREAM)
        if self._layout is None:
            self._layout = Layout(header)
            return
        dictionary = header.number(_ID, "<q") if kind == _DICTIONARY_BATCH else None
        batch = header if dictionary is None else header.table(_DATA)
        if kind not in {_DICTIONARY_BATCH, _RECORD_BATCH} or batch is None:
            raise InvalidArgument(_NO_STREAM)
        total = self._layout.check(batch, body, dictionary)
        if dictionary is not None:
            self._dictionary_bytes[dictionary] = total + (
                self._dictionary_bytes.get(dictionary, 0) if header.number(_IS_DELTA, "<B") else 0
            )
            total = 0
        if total + sum(self._dictionary_bytes.values()) > self._max_bytes:
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
    old = FlatTable.root(metadata)
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

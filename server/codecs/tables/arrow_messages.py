"""Check the messages of an Arrow IPC stream before the library allocates memory for them.

A message is a marker, the metadata's length, the metadata (a flatbuffer) and a body. The metadata states the body's
length. Twenty forged bytes can state a body of a terabyte, or a compressed buffer of one. The library would end the
process when it tried to allocate that.
https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format
"""

import itertools
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

from server.codecs.tables.arrow_layout import Layout
from server.codecs.tables.flatbuffer import FlatTable
from server.codecs.tables.limits import Limits
from server.codecs.tables.table import Source
from server.errors import InvalidArgument, PayloadTooLarge

MAX_METADATA_BYTES: Final = 16 * 1024 * 1024
"""Maximum bytes of one message's metadata: enough for tens of thousands of columns."""
MARKER: Final = b"\xff\xff\xff\xff"
FILE_MAGIC: Final = b"ARROW1\0\0"
"""First bytes of an IPC file; the stream inside follows."""
_FILE_END: Final = b"ARROW1"
_READ_BYTES: Final = 64 * 1024
_TRUNCATED_FILE: Final = "body: expected an Arrow IPC file; its end is missing"
_TRUNCATED: Final = "body: the Arrow stream ends in the middle of a message"
NO_STREAM: Final = "body: expected an Arrow IPC stream"
_VERSION, _HEADER_TYPE, _HEADER, _BODY_LENGTH = 0, 1, 2, 3
"""Field numbers of a Message in the flatbuffer's table."""
_SCHEMA, _RECORD_BATCH = 1, 3
"""Values of a Message's header type."""
_END: Final = MARKER + bytes(4)
_METADATA_OFFSET: Final = 48
"""Offset of the custom metadata in a message of `with_metadata`."""


class Message(NamedTuple):
    """One message of a stream, without its body."""

    data: bytes
    """The marker, the metadata's length and the metadata."""
    kind: int
    header: FlatTable | None
    body_bytes: int


class Messages:
    """The messages of one stream, each of at most `max_bytes`. The schema is read first."""

    def __init__(self, source: Source, first: bytes, limits: Limits, *, is_file: bool = False) -> None:
        """Read the stream that begins with `first`, bytes already read from `source`.

        `is_file`: the stream is inside an IPC file. Raises RequestError if the first message is not a schema, or has
        too many columns.
        """
        self.source = source
        self.max_bytes = limits.max_block_bytes
        self._buffer = first
        self._is_file = is_file
        schema = self.next()
        if schema is None or schema.kind != _SCHEMA or schema.header is None or schema.body_bytes:
            raise InvalidArgument(NO_STREAM)
        self.schema = schema.data
        with invalid_if_damaged():
            self.layout = Layout(schema.header, limits.max_columns)

    def next(self) -> Message | None:
        """Return the next message, None at the end. Raises InvalidArgument, PayloadTooLarge."""
        marker = self.take(8, at_end=True)
        if not marker:
            if self._is_file:
                raise InvalidArgument(_TRUNCATED_FILE)
            return None  # the format permits a stream without an end marker
        (size,) = struct.unpack_from("<i", marker, 4)
        if marker[:4] != MARKER or not size >= 0:
            raise InvalidArgument(NO_STREAM)
        if size == 0:
            self._check_rest()
            return None
        if size > MAX_METADATA_BYTES:
            raise PayloadTooLarge(f"{NO_STREAM} with metadata of at most {MAX_METADATA_BYTES} bytes a message")
        metadata = self.take(size)
        with invalid_if_damaged():
            message = FlatTable.root(metadata)
            length = message.number(_BODY_LENGTH, "<q")
            if not 0 <= length <= self.max_bytes:
                message_text = f"expected record batches of at most {self.max_bytes} bytes; write smaller ones"
                raise PayloadTooLarge(f"body: {message_text}")
            return Message(marker + metadata, message.number(_HEADER_TYPE, "<B"), message.table(_HEADER), length)

    def take(self, size: int, *, at_end: bool = False) -> bytes:
        """Return exactly `size` bytes; no bytes if the stream may be `at_end`."""
        parts = [self._buffer[:size]]
        self._buffer = self._buffer[size:]
        missing = size - len(parts[0])
        while missing:
            data = self.source.read(missing)
            if not data:
                break
            parts.append(data)
            missing -= len(data)
        if missing and not (at_end and missing == size):
            raise InvalidArgument(_TRUNCATED)
        return b"".join(parts) if len(parts) > 1 else parts[0]

    def _check_rest(self) -> None:
        """Raise InvalidArgument for bytes after the stream's end, except an IPC file's index.

        Otherwise rows there would be ignored without an error.
        """
        last = self._buffer
        while data := self.source.read(_READ_BYTES):
            if not self._is_file:
                raise InvalidArgument("body: expected nothing after the end of the Arrow stream")
            last = (last + data)[-len(_FILE_END) :]
        if self._is_file and last != _FILE_END:
            raise InvalidArgument(_TRUNCATED_FILE)


@contextmanager
def invalid_if_damaged() -> Iterator[None]:
    """Convert struct.error, for an offset outside a flatbuffer, into the client's error."""
    try:
        yield
    except struct.error:
        raise InvalidArgument(NO_STREAM) from None


class _Readable(ABC):
    """Messages as a readable file."""

    def __init__(self, messages: Messages) -> None:
        """Read `messages`, whose schema was read already."""
        self.failure: Exception | None = None
        self._messages = messages
        self._parts: Iterator[bytes] = self._all()
        self._part: bytes | memoryview = b""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes; none at the end. Raises InvalidArgument, PayloadTooLarge."""
        if size == 0:
            return b""
        try:
            part = self._part or next(self._parts, b"")
        except Exception as error:
            self.failure = error
            raise
        self._part = b""
        if 0 < size < len(part):
            part, self._part = part[:size], memoryview(part)[size:]
        return bytes(part)  # no copy if the library requests a whole record batch's body

    def seek(self, *_where: int) -> int:
        """Reject: a stream is read once. The library checks for such a method."""
        raise OSError("a stream can't be read twice")

    def close(self) -> None:
        """Drop the buffered bytes."""
        self._parts, self._part = iter(()), b""

    def _all(self) -> Iterator[bytes]:
        yield self._messages.schema
        while (message := self._messages.next()) is not None:
            yield from self._body(message)
        yield _END

    @abstractmethod
    def _body(self, message: Message) -> Iterator[bytes]: ...


class CheckedMessages(_Readable):
    """The messages of a plain schema, each of them checked."""

    def _body(self, message: Message) -> Iterator[bytes]:
        if message.kind != _RECORD_BATCH or message.header is None:
            raise InvalidArgument(NO_STREAM)
        body = self._messages.take(message.body_bytes)
        with invalid_if_damaged():
            total = self._messages.layout.check(message.header, body)
        if total > self._messages.max_bytes:
            raise PayloadTooLarge(
                f"body: expected record batches of at most {self._messages.max_bytes} bytes, unpacked"
            )
        yield message.data
        if body:
            yield body


class RelayedMessages(_Readable):
    """The messages of any other schema, unchecked, for the isolated reader.

    The body is sent in small pieces.
    """

    def _body(self, message: Message) -> Iterator[bytes]:
        yield message.data
        remaining = message.body_bytes
        while remaining:
            piece = self._messages.take(min(remaining, _READ_BYTES))
            remaining -= len(piece)
            yield piece


def with_metadata(message: bytes, metadata_entries: Mapping[str, str]) -> bytes:
    """Return a message with custom metadata.

    The original flatbuffer follows a new Message, which points into it.
    """
    (size,) = struct.unpack_from("<i", message, 4)
    metadata, body = message[8 : 8 + size], message[8 + size :]
    old = FlatTable.root(metadata)
    version, kind, length = old.number(_VERSION, "<h"), old.number(_HEADER_TYPE, "<B"), old.number(_BODY_LENGTH, "<q")
    entries = [_key_value(key.encode(), value.encode()) for key, value in metadata_entries.items()]
    starts = list(itertools.accumulate(map(len, entries), initial=_METADATA_OFFSET + 4 + 4 * len(entries)))
    vector = struct.pack("<I", len(entries))
    for index, start in enumerate(starts[:-1]):
        vector += struct.pack("<I", start + 8 - (_METADATA_OFFSET + 4 + 4 * index))  # the vtable precedes its table
    tail = _padded(vector + b"".join(entries))
    header_offset = _METADATA_OFFSET + len(tail) + old.target(_HEADER)
    vtable = struct.pack("<HHHHHHH", 14, 24, 4, 6, 8, 16, 12)
    table = struct.pack("<ihBxIIq", 20, version, kind, header_offset - 32, _METADATA_OFFSET - 36, length)
    flatbuffer = _padded(struct.pack("<I", 24) + vtable + bytes(6) + table + tail + metadata)
    return MARKER + struct.pack("<i", len(flatbuffer)) + flatbuffer + body


def _key_value(key: bytes, value: bytes) -> bytes:
    """Return a KeyValue's vtable, table and strings."""
    first, second = _string(key), _string(value)
    return struct.pack("<HHHHiII", 8, 12, 4, 8, 8, 8, 4 + len(first)) + first + second


def _string(text: bytes) -> bytes:
    length = len(text) + 1  # includes the final NUL
    return struct.pack("<I", len(text)) + text + bytes(1 + -length % 4)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)

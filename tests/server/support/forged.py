"""Invalid Arrow and Parquet metadata that no library writes: overlapping buffers, duplicate ids, deep nesting."""

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from server.codecs.tables.flatbuffer import FlatTable

_HEADER, _FIELDS, _DICTIONARY = 2, 1, 4
"""Field numbers in Message, Schema and Field."""
_BUFFERS: Final = 2
"""Field number in RecordBatch."""
_NULL, _LIST, _STRUCT = 1, 12, 13
"""Type numbers in Field."""
_FIELD_VTABLE: Final = struct.pack("<8H", 16, 16, 0, 0, 12, 4, 0, 8)
_EMPTY_VTABLE: Final = struct.pack("<2H", 4, 4)


def _changed(body: bytes, place: int, data: bytes) -> bytes:
    return body[:place] + data + body[place + len(data) :]


def _header(body: bytes, message: int) -> tuple[int, FlatTable]:
    """Return the start of a message's metadata and the message's header."""
    header = FlatTable.root(body[message + 8 :]).table(_HEADER)
    assert header is not None
    return message + 8, header


def overlapping_buffers(body: bytes, batch: int) -> Iterator[bytes]:
    """Yield streams whose record batch has overlapping buffers, completely or partly."""
    base, header = _header(body, batch)
    buffers = list(header.numbers(_BUFFERS, "<qq"))
    first = base + header.target(_BUFFERS) + 4
    for number, (offset, _) in enumerate(buffers[1:], 1):
        before, length = buffers[number - 1]
        yield _changed(body, first + 16 * number, struct.pack("<q", before))
        if length > 8:
            yield _changed(body, first + 16 * number, struct.pack("<q", offset - 8))
    yield _changed(body, first, b"".join(struct.pack("<qq", 0, length) for _, length in buffers))


def duplicate_ids(body: bytes, messages: Sequence[int], end: int) -> Iterator[bytes]:
    """Yield streams in which two dictionaries of different types have the same id.

    `messages` are the positions of the schema, of the dictionaries of the last two columns, and of a record batch;
    `end` is the position of the stream's end.
    """
    schema, _, second, batch = messages
    base, header = _header(body, second)
    given_twice = _changed(body, base + header.position(0), bytes(8))
    base, header = _header(body, schema)
    encoding = list(header.tables(_FIELDS, 1_000))[-1].table(_DICTIONARY)
    assert encoding is not None
    used_twice = _changed(body, base + encoding.position(0), bytes(8))
    yield given_twice
    yield used_twice
    yield used_twice[:second] + given_twice[second:batch] + used_twice[batch:]
    yield body[:batch] + body[second:batch] + body[batch:]
    yield body[:end] + given_twice[second:batch] + body[batch:]


def nested_schemas(depth: int) -> Iterator[bytes]:
    """Yield streams with one column of lists or structs nested `depth` levels deep."""
    yield _nested_schema(depth, _LIST)
    yield _nested_schema(depth, _STRUCT)


def _nested_schema(depth: int, kind: int) -> bytes:
    """Return a schema message with each field's table directly before its only child's."""
    vtables = struct.pack("<6H", 12, 12, 4, 6, 8, 0) + struct.pack("<4H", 8, 8, 0, 4) + _FIELD_VTABLE + _EMPTY_VTABLE
    message_at, field_vtable = 4 + len(vtables), 4 + 20
    schema_at = message_at + 12
    message = struct.pack("<ihBBI", message_at - 4, 4, 1, 0, schema_at - message_at - 8)
    schema = struct.pack("<iI", schema_at - 16, 4) + struct.pack("<II", 1, 4)
    found, at = [struct.pack("<I", message_at), vtables, message, schema], schema_at + 16
    for level in range(depth + 1):
        is_last = level == depth
        found.append(struct.pack("<iIIB3x", at - field_vtable, 12, 12, _NULL if is_last else kind))
        found.append(struct.pack("<i", at + 16 - field_vtable - len(_FIELD_VTABLE)))
        found.append(struct.pack("<II", 0 if is_last else 1, 4))
        at += 28
    metadata = b"".join(found)
    metadata += bytes(-len(metadata) % 8)
    return b"\xff\xff\xff\xff" + struct.pack("<i", len(metadata)) + metadata + b"\xff\xff\xff\xff" + bytes(4)


def nested_footers(depth: int) -> Iterator[bytes]:
    """Yield Parquet files whose footer has structs or lists nested `depth` levels deep."""
    for opening in (b"\x1c", b"\x19\x19", b"\x4c"):
        footer = opening * depth
        yield b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"

"""Encoding and scanning of binary protobuf fields without message objects.

Used for bytes that are encoded once, and for contents too large to copy into a message. Specification: protobuf
"Encoding", "Message Structure".
"""

import struct
from typing import Final

from server.models.manifest import Scalar

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
_GROUPS: Final = (3, 4)
"""Wire types of group start and group end: obsolete, skipped by every decoder."""
_DOUBLE: Final = struct.Struct("<d")
_MORE: Final = 0x80


def varint(number: int) -> bytes:
    """Encode an integer as a varint; a negative integer as its 64-bit two's complement."""
    number &= (1 << 64) - 1
    groups = bytearray()
    while number >= _MORE:
        groups.append(number & 0x7F | _MORE)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def double_field(number: int, value: float) -> bytes:
    """Encode a field of type double; its value is the last eight bytes."""
    return varint(number << 3 | _I64) + _DOUBLE.pack(value)


def length_prefixed(number: int, data: bytes) -> bytes:
    """Encode a length-delimited field: bytes or an embedded message."""
    return length_head(number, len(data)) + data


def length_head(number: int, length: int) -> bytes:
    """Encode the tag and the length of a field with `length` bytes."""
    return varint(number << 3 | _LEN) + varint(length)


def string_field(number: int, text: str) -> bytes:
    """Encode a field of type string."""
    return length_prefixed(number, text.encode())


def scalar_field(number: int, value: Scalar) -> bytes:
    """Encode a string, double, integer or boolean field, by the type of `value`."""
    if isinstance(value, str):
        return string_field(number, value)
    if isinstance(value, float):
        return double_field(number, value)
    return varint(number << 3 | _VARINT) + varint(int(value))


def split(message: bytes, number: int) -> tuple[bytes, list[tuple[int, int]]] | None:
    """Return a message without its fields `number`, and the start and length of each.

    The contents of these fields are not copied. Returns None if the bytes are not a message, or if these fields are not
    length-delimited.
    """
    pieces: list[bytes] = []
    ranges: list[tuple[int, int]] = []
    field_tag = number << 3 | _LEN
    at = copied_end = 0
    try:
        while at < len(message):
            start = at
            tag = message[at]
            if tag < _MORE and tag & 7 == _LEN and message[at + 1] < _MORE:
                length = message[at + 1]
                at += 2
            else:
                tag, at = _read_varint(message, at)
                length, at = _length(message, at, tag & 7)
            if tag == field_tag:
                if copied_end < start:
                    pieces.append(message[copied_end:start])
                ranges.append((at, length))
                copied_end = at + length
            elif tag >> 3 == number:
                return None
            at += length
    except (IndexError, ValueError):
        return None
    if at != len(message):
        return None
    if copied_end < at:
        pieces.append(message[copied_end:])
    return pieces[0] if len(pieces) == 1 else b"".join(pieces), ranges


def has_more_fields(message: bytes, max_fields: int) -> bool:
    """Return True if a message has more than `max_fields` fields; nested fields are not counted."""
    at = 0
    try:
        for _ in range(max_fields):
            if at >= len(message):
                return False
            tag, at = _read_varint(message, at)
            if tag & 7 not in _GROUPS:
                length, at = _length(message, at, tag & 7)
                at += length
    except (IndexError, ValueError):  # not a message: the decoder raises the error
        return False
    return at < len(message)


def _length(message: bytes, at: int, kind: int) -> tuple[int, int]:
    """Return the length and the start of the value at `at`."""
    if kind == _LEN:
        return _read_varint(message, at)
    if kind == _VARINT:
        _, end = _read_varint(message, at)
        return end - at, at
    if kind in {_I64, _I32}:
        return (8 if kind == _I64 else 4), at
    raise ValueError(kind)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        group = message[at]
        at += 1
        value |= (group & 0x7F) << shift
        if group < _MORE:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(value)

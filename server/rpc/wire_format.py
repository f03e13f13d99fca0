"""Fields of protobuf's binary form, for what is laid out once, or is too large to be copied into a message.

By the encoding specification ("Encoding", "Message Structure").
"""

import struct
from typing import Final

from server.manifest import Scalar

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
_DOUBLE: Final = struct.Struct("<d")
_MORE: Final = 0x80


def varint(number: int) -> bytes:
    """Return a whole number in groups of seven bits; a negative one as its 64 bits."""
    number &= (1 << 64) - 1
    groups = bytearray()
    while number >= _MORE:
        groups.append(number & 0x7F | _MORE)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def double_field(number: int, value: float) -> bytes:
    """Return a double, its eight bytes last."""
    return varint(number << 3 | _I64) + _DOUBLE.pack(value)


def length_prefixed(number: int, data: bytes) -> bytes:
    """Return bytes, or a message within a message."""
    return length_head(number, len(data)) + data


def length_head(number: int, length: int) -> bytes:
    """Return what stands before `length` bytes of a field."""
    return varint(number << 3 | _LEN) + varint(length)


def string_field(number: int, text: str) -> bytes:
    """Return a string."""
    return length_prefixed(number, text.encode())


def scalar_field(number: int, value: Scalar) -> bytes:
    """Return a string, a whole number or a truth value, by what it is."""
    if isinstance(value, str):
        return string_field(number, value)
    if isinstance(value, float):
        return double_field(number, value)
    return varint(number << 3 | _VARINT) + varint(int(value))


def split(message: bytes, number: int) -> tuple[bytes, list[tuple[int, int]]] | None:
    """Return a message without its fields of `number`, and where the bytes of each of those stand: start and length.

    Nothing of them is copied. None where the bytes are no message, or those fields have no length.
    """
    kept: list[bytes] = []
    found: list[tuple[int, int]] = []
    wanted = number << 3 | _LEN
    at = since = 0
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
            if tag == wanted:
                if since < start:
                    kept.append(message[since:start])
                found.append((at, length))
                since = at + length
            elif tag >> 3 == number:
                return None
            at += length
    except (IndexError, ValueError):
        return None
    if at != len(message):
        return None
    if since < at:
        kept.append(message[since:])
    return kept[0] if len(kept) == 1 else b"".join(kept), found


def _length(message: bytes, at: int, kind: int) -> tuple[int, int]:
    """Return the length of the value that stands at `at`, and where it begins."""
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

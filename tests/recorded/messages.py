"""Protobuf messages and envelopes, encoded without the server's generated modules."""

import struct
from collections.abc import Iterable
from typing import Final

Value = int | float | str | bytes
_HEAD: Final = struct.Struct(">BI")


def message(*fields: tuple[int, Value]) -> bytes:
    """Return a message with these fields in this order.

    A float is encoded as `float`, text and bytes with their length.
    """
    return b"".join(_field(number, value) for number, value in fields)


def _field(number: int, value: Value) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """Return an integer as a varint; a negative integer as 64 bits."""
    rest, encoded = value & (1 << 64) - 1, bytearray()
    while rest > 127:
        encoded.append(rest & 127 | 128)
        rest >>= 7
    return bytes((*encoded, rest))


def packed(values: Iterable[int]) -> bytes:
    """Return integers as the content of a packed field."""
    return b"".join(varint(value) for value in values)


def enveloped(content: bytes, flags: int = 0) -> bytes:
    """Return a message in the envelope of gRPC and Connect streams."""
    return _HEAD.pack(flags, len(content)) + content

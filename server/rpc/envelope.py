"""Messages in a stream of bytes: a byte of flags, the length as a 32-bit big-endian number, and the message.

The same on every wire that has envelopes (Connect, "Streaming-Request"; gRPC over HTTP2, "Length-Prefixed-Message").
"""

import struct
from collections.abc import AsyncIterator
from typing import Final

from server.compression import InvalidCompression, decompressed
from server.errors import Internal, InvalidArgument, PayloadTooLarge

HEAD: Final = struct.Struct(">BI")
COMPRESSED: Final = 1
"""The flag of a message that is compressed as the stream's headers say."""


def packed(message: bytes, flags: int = 0) -> bytes:
    """Return a message in its envelope."""
    return HEAD.pack(flags, len(message)) + message


class Inbound:
    """What a request's envelopes may be: their compression and their size."""

    __slots__ = ("encoding", "max_bytes")

    def __init__(self, encoding: str, max_bytes: int) -> None:
        """Take messages of at most `max_bytes`, compressed or not; `encoding` is identity or gzip."""
        self.encoding = encoding
        self.max_bytes = max_bytes

    def check(self, flags: int, length: int) -> None:
        """Raise InvalidArgument for flags that mean nothing on a request, PayloadTooLarge for too large a message."""
        if flags & ~COMPRESSED:
            raise InvalidArgument(f"envelope: expected the flags 0 or 1; got {flags}")
        if length > self.max_bytes:
            raise too_large(self.max_bytes)

    def open(self, flags: int, message: bytes) -> bytes:
        """Return a message as it was before it was compressed. Raises RequestError."""
        if not flags & COMPRESSED:
            return message
        if self.encoding == "identity":
            raise Internal(
                "envelope: the message is said to be compressed, and no encoding is stated"
            )  # as gRPC has it
        return unpacked(message, self.encoding, self.max_bytes)


def unpacked(message: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return what a compressed message holds; an empty one is never compressed. Raises RequestError."""
    if not message or encoding == "identity":
        return message
    try:
        found = decompressed(message, encoding, max_bytes)
    except InvalidCompression as error:
        raise InvalidArgument(f"message: {error}") from None
    if found is None:
        raise too_large(max_bytes)
    return found


def too_large(max_bytes: int) -> PayloadTooLarge:
    """Return the failure of a message over the limit."""
    return PayloadTooLarge(f"message: expected at most {max_bytes} bytes")


async def messages(chunks: AsyncIterator[bytes], inbound: Inbound) -> AsyncIterator[bytes]:
    """Yield the messages in a stream of bytes as they become whole; never more than one message is held.

    Raises RequestError where the stream ends within an envelope, and for a message that `inbound` doesn't take.
    """
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        while len(held) >= HEAD.size:
            flags, length = HEAD.unpack_from(held)
            inbound.check(flags, length)
            end = HEAD.size + length
            if len(held) < end:
                break
            message = bytes(memoryview(held)[HEAD.size : end])
            del held[:end]
            yield inbound.open(flags, message)
    if held:
        raise InvalidArgument("envelope: the request ends within a message")

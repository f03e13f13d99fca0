"""Message envelopes: one byte of flags, a 32-bit big-endian length, the message.

All protocols with envelopes share this format (Connect, "Streaming-Request"; gRPC over HTTP2,
"Length-Prefixed-Message").
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Final

from server.codecs.compression import decompress
from server.errors import Internal, InvalidArgument, PayloadTooLarge, RequestTimeout
from server.http.held_bytes import HeldBody

HEAD: Final = struct.Struct(">BI")
COMPRESSED: Final = 1
"""Flag of a compressed message; the stream's headers state the compression."""


def pack(message: bytes, flags: int = 0) -> bytes:
    """Return a message in its envelope."""
    return HEAD.pack(flags, len(message)) + message


class Inbound:
    """Decoder for request envelopes, with their compression and size limit."""

    __slots__ = ("encoding", "max_bytes")

    def __init__(self, encoding: str, max_bytes: int) -> None:
        """Accept messages up to `max_bytes`, compressed or not; `encoding` is identity or gzip."""
        self.encoding = encoding
        self.max_bytes = max_bytes

    def check(self, flags: int, length: int) -> None:
        """Raise InvalidArgument for unknown flags, PayloadTooLarge for a message over the limit."""
        if flags & ~COMPRESSED:
            raise InvalidArgument(f"envelope: expected the flags 0 or 1; got {flags}")
        if length > self.max_bytes:
            raise too_large(self.max_bytes)

    def open(self, flags: int, message: bytes) -> bytes:
        """Return a message, decompressed. Raises RequestError."""
        if not flags & COMPRESSED:
            return message
        if self.encoding == "identity":
            raise Internal(
                "envelope: the message is flagged as compressed, but no encoding is stated"
            )  # the gRPC specification requires this code
        return decompress_message(message, self.encoding, self.max_bytes)


def decompress_message(message: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return the decompressed message; an empty message is never compressed. Raises RequestError."""
    if not message or encoding == "identity":
        return message
    return decompress(message, encoding, max_bytes, "message")


def too_large(max_bytes: int) -> PayloadTooLarge:
    """Return the error of a message over the limit."""
    return PayloadTooLarge(f"message: expected at most {max_bytes} bytes")


async def messages(
    chunks: AsyncIterator[bytes], inbound: Inbound, held_bytes: HeldBody, timeout_s: float
) -> AsyncIterator[bytes]:
    """Yield each message of a byte stream when it is complete.

    At most one message is held. The bytes of the incomplete message are counted in `held_bytes`.

    Raises RequestError if:

    - the held bytes exceed the limit of `held_bytes`
    - the stream ends within an envelope
    - `inbound` rejects a message
    - the first message, or the rest of a message, does not arrive within `timeout_s`
    """
    held = bytearray()
    clock = asyncio.get_running_loop().time
    due_s: float | None = clock() + timeout_s
    while (chunk := await _next(chunks, due_s)) is not None:
        held_bytes.take(len(chunk))
        held += chunk
        while len(held) >= HEAD.size:
            flags, length = HEAD.unpack_from(held)
            inbound.check(flags, length)
            end = HEAD.size + length
            if len(held) < end:
                break
            message = bytes(memoryview(held)[HEAD.size : end])
            del held[:end]
            held_bytes.give_back(end)
            due_s = None
            decoded = inbound.open(flags, message)
            held_bytes.take(len(decoded))
            try:
                yield decoded
            finally:
                held_bytes.give_back(len(decoded))
        if held and due_s is None:
            due_s = clock() + timeout_s
    if held:
        raise InvalidArgument("envelope: the request ends within a message")


async def _next(chunks: AsyncIterator[bytes], due_s: float | None) -> bytes | None:
    """Return the next chunk, None at the end. Raises RequestTimeout at `due_s`.

    `due_s` is a time of the event loop's clock.
    """
    try:
        async with asyncio.timeout_at(due_s):
            return await anext(chunks, None)
    except TimeoutError:
        raise RequestTimeout("message: the rest of it did not arrive in time") from None

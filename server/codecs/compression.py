"""Decompress gzip and deflate bodies within limits; decompression stops at a limit."""

import zlib
from typing import Final

from server.errors import InvalidArgument, PayloadTooLarge

GZIP: Final = 16 + zlib.MAX_WBITS
ENCODINGS: Final = ("identity", "gzip", "deflate")
"""Content encodings of a body, by HTTP's names."""
MAX_RATIO: Final = 256
"""Maximum decompressed bytes per compressed byte, above FREE_BYTES. 10,000 equal records have 285, and 1 MB."""
FREE_BYTES: Final = 1024 * 1024
"""Decompressed bytes that any body may have, whatever its ratio."""


def decompressed(data: bytes, encoding: str, max_bytes: int, what: str = "body") -> bytes:
    """Return the decompressed `data`.

    `encoding` is gzip or deflate. `what` names the data in error messages. Raises PayloadTooLarge above `max_bytes` or
    the ratio, InvalidArgument if the data is not one whole stream.
    """
    most = min(max_bytes, FREE_BYTES + MAX_RATIO * len(data))
    found, is_whole = _some(data, encoding, most + 1, what)
    if len(found) > most:
        if most < max_bytes:
            words = f"{what}: expected at most {FREE_BYTES} bytes, plus {MAX_RATIO} for each compressed byte"
            raise PayloadTooLarge(words)
        raise PayloadTooLarge(f"{what}: expected at most {max_bytes} bytes")
    if not is_whole:
        raise InvalidArgument(f"{what}: expected one whole {encoding} stream")
    return found


def decompressed_if_small(data: bytes, encoding: str, small_bytes: int) -> bytes | None:
    """Return a body's decompressed data if at most `small_bytes`, else None.

    Raises InvalidArgument.
    """
    if len(data) > small_bytes:
        return None
    found, is_whole = _some(data, encoding, small_bytes + 1, "body")
    return found if is_whole and len(found) <= small_bytes else None


def compressed(data: bytes) -> bytes:
    """Return `data` in gzip at the fastest level: CPU time costs more than bytes."""
    pack = zlib.compressobj(1, zlib.DEFLATED, GZIP)
    return pack.compress(data) + pack.flush()


def _some(data: bytes, encoding: str, most: int, what: str) -> tuple[bytes, bool]:
    """Return at most `most` decompressed bytes, and whether they are one whole stream.

    Zeros after a gzip stream are skipped, as gzip itself does: some files are padded with zeros.
    """
    unpack = zlib.decompressobj(GZIP if encoding == "gzip" else _window(data))
    try:
        found = unpack.decompress(data, most)
    except zlib.error:
        raise InvalidArgument(f"{what}: expected {encoding}, as its encoding states") from None
    behind = unpack.unused_data.strip(b"\0") if encoding == "gzip" else unpack.unused_data
    return found, unpack.eof and not behind


def _window(data: bytes) -> int:
    """Return zlib's window bits for deflate: with zlib's frame, or raw.

    HTTP specifies the frame, but some clients send raw deflate.
    """
    framed = len(data) > 1 and data[0] & 15 == zlib.DEFLATED and (data[0] << 8 | data[1]) % 31 == 0
    return zlib.MAX_WBITS if framed else -zlib.MAX_WBITS

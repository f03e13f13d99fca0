"""gzip and deflate, within limits: nothing past them is ever unpacked."""

import zlib
from typing import Final

GZIP: Final = 16 + zlib.MAX_WBITS
ENCODINGS: Final = ("identity", "gzip", "deflate")
"""What a body may be encoded as, by HTTP's names."""


class InvalidCompression(ValueError):
    """The bytes are not one whole stream of the encoding that they are said to be in."""


def decompressed(data: bytes, encoding: str, max_bytes: int) -> bytes | None:
    """Return what `data` holds, None where that is more than `max_bytes`. `encoding` is gzip or deflate.

    Raises InvalidCompression.
    """
    unpack = zlib.decompressobj(GZIP if encoding == "gzip" else _window(data))
    try:
        found = unpack.decompress(data, max_bytes + 1)
    except zlib.error:
        raise InvalidCompression(f"expected {encoding}, as its encoding states") from None
    if len(found) > max_bytes:
        return None
    if not unpack.eof or unpack.unused_data:
        raise InvalidCompression(f"expected one whole {encoding} stream")
    return found


def compressed(data: bytes) -> bytes:
    """Return `data` in gzip, at the level that costs least: a byte saved is dearer than a byte looked at."""
    pack = zlib.compressobj(1, zlib.DEFLATED, GZIP)
    return pack.compress(data) + pack.flush()


def _window(data: bytes) -> int:
    """Return zlib's number for deflate: in its own frame, as HTTP has it, or bare, as some clients send it."""
    framed = len(data) > 1 and data[0] & 15 == zlib.DEFLATED and (data[0] << 8 | data[1]) % 31 == 0
    return zlib.MAX_WBITS if framed else -zlib.MAX_WBITS

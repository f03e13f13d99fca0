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


def decompress(data: bytes, encoding: str, max_bytes: int, subject: str = "body") -> bytes:
    """Return the decompressed `data`.

    `encoding` is gzip or deflate. `subject` names the data in error messages. Raises PayloadTooLarge above `max_bytes`
    or the ratio, InvalidArgument if the data is not one whole stream.
    """
    max_output_bytes = min(max_bytes, FREE_BYTES + MAX_RATIO * len(data))
    output, is_whole = _decompress_at_most(data, encoding, max_output_bytes + 1, subject)
    if len(output) > max_output_bytes:
        if max_output_bytes < max_bytes:
            message = f"{subject}: expected at most {FREE_BYTES} bytes, plus {MAX_RATIO} for each compressed byte"
            raise PayloadTooLarge(message)
        raise PayloadTooLarge(f"{subject}: expected at most {max_bytes} bytes")
    if not is_whole:
        raise InvalidArgument(f"{subject}: expected one whole {encoding} stream")
    return output


def decompress_if_small(data: bytes, encoding: str, small_bytes: int) -> bytes | None:
    """Return a body's decompressed data if at most `small_bytes`, else None.

    Raises InvalidArgument.
    """
    if len(data) > small_bytes:
        return None
    output, is_whole = _decompress_at_most(data, encoding, small_bytes + 1, "body")
    return output if is_whole and len(output) <= small_bytes else None


def compress(data: bytes) -> bytes:
    """Return `data` in gzip at the fastest level: CPU time costs more than bytes."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, GZIP)
    return compressor.compress(data) + compressor.flush()


def _decompress_at_most(data: bytes, encoding: str, max_output_bytes: int, subject: str) -> tuple[bytes, bool]:
    """Return at most `max_output_bytes` decompressed bytes, and whether they are one whole stream.

    Zeros after a gzip stream are skipped, as gzip itself does: some files are padded with zeros.
    """
    decompressor = zlib.decompressobj(GZIP if encoding == "gzip" else _window(data))
    try:
        output = decompressor.decompress(data, max_output_bytes)
    except zlib.error:
        raise InvalidArgument(f"{subject}: expected {encoding}, as its encoding states") from None
    trailing = decompressor.unused_data.strip(b"\0") if encoding == "gzip" else decompressor.unused_data
    return output, decompressor.eof and not trailing


def _window(data: bytes) -> int:
    """Return zlib's window bits for deflate: with zlib's frame, or raw.

    HTTP specifies the frame, but some clients send raw deflate.
    """
    framed = len(data) > 1 and data[0] & 15 == zlib.DEFLATED and (data[0] << 8 | data[1]) % 31 == 0
    return zlib.MAX_WBITS if framed else -zlib.MAX_WBITS

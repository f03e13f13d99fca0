"""Compress and decompress gzip and zstd streams, within limits.

At most the requested number of bytes is decompressed at a time.
"""

import sys
import zlib
from typing import Any, Final

from server.codecs.compression import GZIP
from server.codecs.tables.table import Sink, Source, check
from server.errors import InvalidArgument, PayloadTooLarge

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_READ_BYTES: Final = 64 * 1024
_MAX_OUTPUT_BYTES: Final = 1024 * 1024
"""Maximum bytes to decompress at once."""
_MAX_WINDOW_LOG: Final = 23
"""Maximum window of a zstd stream: 8 MiB of memory, HTTP's limit (RFC 9659)."""
FREE_FRAMES: Final = 10_000
"""zstd frames of any size that a stream may have."""
MIN_FRAME_BYTES: Final = 64
"""Minimum average of compressed bytes per frame in a stream of more frames. Each frame needs its own decompressor,
which takes 8 us.
"""


class DecompressingSource:
    """The decompressed content of one or more consecutive compressed streams.

    Some programs write several streams, one after another.
    """

    def __init__(self, source: Source, encoding: str) -> None:
        """Decompress `source`, which is in gzip or zstd."""
        self._source = source
        self._encoding = encoding
        self._decompressor: Any = None
        self._buffer = b""
        self._is_first = True
        """Whether no compressed stream has been read yet."""
        self._frames = 0
        self._compressed_bytes = 0
        """Bytes read from the source."""
        self._read_error: Exception | None = None

    @property
    def failure(self) -> Exception | None:
        """Error that ended the stream, or None."""
        return self._read_error or self._source.failure

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` decompressed bytes. Raises InvalidArgument, PayloadTooLarge."""
        size = _READ_BYTES if size < 0 else min(size, _MAX_OUTPUT_BYTES)
        try:
            return self._decompress_all(size)
        except Exception as error:
            self._read_error = error
            raise

    def _decompress_all(self, size: int) -> bytes:
        """Return decompressed bytes of the streams in the buffer, joined.

        One stream at a time would cost far more if each holds a few bytes.
        """
        parts: list[bytes] = []
        while size > 0:
            check(self._source)  # one read may decompress to a thousand times its bytes
            if parts and not self._buffer.lstrip(b"\0"):
                break  # another read could wait for the source
            if self._decompressor is None and not self._begin():
                break
            if data := self._decompress(size):
                parts.append(data)
                size -= len(data)
        return b"".join(parts) if len(parts) != 1 else parts[0]

    def _begin(self) -> bool:
        """Begin the next stream; return False at the end.

        After a gzip stream, zeros up to the end are ignored, as gzip(1) does.
        """
        self._buffer = self._buffer or self._read_more()
        if self._encoding == "gzip" and not self._is_first:
            while self._buffer and not (remaining := self._buffer.lstrip(b"\0")):
                self._buffer = self._read_more()
            self._buffer = remaining if self._buffer else b""
        if not self._buffer:
            return False
        self._is_first = False
        if self._encoding == "gzip":
            self._decompressor = zlib.decompressobj(GZIP)
        else:
            self._decompressor = self._next_frame()
        return True

    def _next_frame(self) -> zstd.ZstdDecompressor:
        """Return a decompressor: each takes one frame.

        Raises PayloadTooLarge for too many small frames.
        """
        self._frames += 1
        if self._frames > FREE_FRAMES and self._frames * MIN_FRAME_BYTES > self._compressed_bytes:
            message = f"at most {FREE_FRAMES} zstd frames, or frames of at least {MIN_FRAME_BYTES} bytes on average"
            raise PayloadTooLarge(f"body: expected {message}; compress it as one stream")
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG})

    def _read_more(self) -> bytes:
        data = self._source.read(_READ_BYTES)
        self._compressed_bytes += len(data)
        return data

    def _decompress(self, size: int) -> bytes:
        """Return the bytes that can be decompressed now, maybe none before the end."""
        decompressor = self._decompressor
        needs_input = self._encoding == "gzip" or decompressor.needs_input
        if not self._buffer and needs_input:
            self._buffer = self._read_more()
            if not self._buffer:
                raise InvalidArgument(f"body: its {self._encoding} stream ends too early")
        data, self._buffer = self._buffer, b""
        try:
            output: bytes = decompressor.decompress(data, size)
        except (zlib.error, zstd.ZstdError):
            window = f", of a window of at most {2**_MAX_WINDOW_LOG >> 20} MiB" * (self._encoding == "zstd")
            raise InvalidArgument(f"body: expected {self._encoding}, as its encoding states{window}") from None
        if decompressor.eof:
            self._buffer, self._decompressor = decompressor.unused_data, None
        elif self._encoding == "gzip":
            self._buffer = decompressor.unconsumed_tail
        return output


def compress(data: bytes) -> bytes:
    """Return bytes in zstd, at the fastest level."""
    return zstd.compress(data, level=1)


class CompressingSink:
    """Compressor of a written stream, at the fastest level."""

    def __init__(self, sink: Sink, encoding: str) -> None:
        """Write to `sink`, in gzip or zstd."""
        self.failure: Exception | None = None
        self._sink = sink
        self._encoding = encoding
        self._is_new = False
        """Whether bytes were written since the last flush: each flush adds a few bytes."""
        self._compressor: Any = (
            zlib.compressobj(1, zlib.DEFLATED, GZIP) if encoding == "gzip" else zstd.ZstdCompressor(level=1)
        )

    def write(self, data: bytes, /) -> int:
        """Compress some bytes."""
        self._is_new = True
        check(self._sink)  # data that compresses well seldom reaches the sink, which would raise its failure
        compressed = self._compressor.compress(data)
        if compressed:
            self._sink.write(compressed)
        return len(data)

    def flush(self) -> None:
        """Send all written bytes, so that the receiver can decompress them now."""
        if not self._is_new:
            return
        self._is_new = False
        if self._encoding == "gzip":
            self._sink.write(self._compressor.flush(zlib.Z_SYNC_FLUSH))
        else:
            self._sink.write(self._compressor.flush(self._compressor.FLUSH_BLOCK))
        self._sink.flush()

    def end(self) -> None:
        """Write the end of the compressed stream."""
        self._sink.write(self._compressor.flush())

"""gzip and zstd as streams, within limits: what is unpacked is never more than what was asked for."""

import sys
import zlib
from typing import Any, Final

from server.compression import GZIP
from server.errors import InvalidArgument
from server.tables.blocks import Sink, Source

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_READ_BYTES: Final = 64 * 1024
_MAX_WINDOW_LOG: Final = 23
"""A zstd stream may ask for 8 MiB of memory, as HTTP has it (RFC 9659)."""


class Unpacked:
    """The stream inside a packed one, or inside several behind each other, as some programs write them."""

    def __init__(self, source: Source, encoding: str) -> None:
        """Unpack `source`, which is in gzip or zstd."""
        self._source = source
        self._encoding = encoding
        self._unpack: Any = None
        self._held = b""
        self._failed: Exception | None = None

    @property
    def failure(self) -> Exception | None:
        """What ended the stream."""
        return self._failed or self._source.failure

    def read(self, size: int = -1, /) -> bytes:
        """Return some of what is inside, at most `size` bytes. Raises InvalidArgument for what is not so packed."""
        size = _READ_BYTES if size < 0 else size
        try:
            while True:
                if self._unpack is None and not self._begin():
                    return b""
                data = self._some(size)
                if data:
                    return data
        except Exception as error:
            self._failed = error
            raise

    def _begin(self) -> bool:
        """Begin with the next stream; False where there is none."""
        self._held = self._held or self._source.read(_READ_BYTES)
        if not self._held:
            return False
        if self._encoding == "gzip":
            self._unpack = zlib.decompressobj(GZIP)
        else:
            self._unpack = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG})
        return True

    def _some(self, size: int) -> bytes:
        """Return what can be unpacked now: maybe nothing, while there is still something to come."""
        unpack = self._unpack
        wants = self._encoding == "gzip" or unpack.needs_input
        if not self._held and wants:
            self._held = self._source.read(_READ_BYTES)
            if not self._held:
                raise InvalidArgument(f"body: its {self._encoding} stream ends too early")
        data, self._held = self._held, b""
        try:
            found: bytes = unpack.decompress(data, size)
        except (zlib.error, zstd.ZstdError):
            window = f", of a window of at most {2**_MAX_WINDOW_LOG >> 20} MiB" * (self._encoding == "zstd")
            raise InvalidArgument(f"body: expected {self._encoding}, as its encoding states{window}") from None
        if unpack.eof:
            self._held, self._unpack = unpack.unused_data, None
        elif self._encoding == "gzip":
            self._held = unpack.unconsumed_tail
        return found


def packed(data: bytes) -> bytes:
    """Return bytes in zstd, at the level that costs least."""
    return zstd.compress(data, level=1)


class Packed:
    """Packs what is written, at the level that costs least."""

    def __init__(self, sink: Sink, encoding: str) -> None:
        """Write to `sink`, in gzip or zstd."""
        self.failure: Exception | None = None
        self._sink = sink
        self._encoding = encoding
        self._is_new = False
        """Whether something was written since the last flush: each flush takes a few bytes."""
        self._pack: Any = (
            zlib.compressobj(1, zlib.DEFLATED, GZIP) if encoding == "gzip" else zstd.ZstdCompressor(level=1)
        )

    def write(self, data: bytes, /) -> int:
        """Pack some bytes."""
        self._is_new = True
        packed = self._pack.compress(data)
        if packed:
            self._sink.write(packed)
        return len(data)

    def flush(self) -> None:
        """Have what was written be readable at the other end now."""
        if not self._is_new:
            return
        self._is_new = False
        if self._encoding == "gzip":
            self._sink.write(self._pack.flush(zlib.Z_SYNC_FLUSH))
        else:
            self._sink.write(self._pack.flush(self._pack.FLUSH_BLOCK))
        self._sink.flush()

    def end(self) -> None:
        """Write what ends the packed stream."""
        self._sink.write(self._pack.flush())

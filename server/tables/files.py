"""Files that can't be read from their beginning, as their index stands at their end: to a temporary file first.

They are read by a process of its own, `server.tables.apart`, which makes a stream of them.
"""

import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from server.errors import InvalidArgument, PayloadTooLarge, Unavailable
from server.tables.arrow import IpcTable
from server.tables.blocks import ARROW_ROWS, Block, Source

_COPY_BYTES: Final = 1024 * 1024
_LOOK_S: Final = 0.5
"""Seconds after which it is looked whether the caller still waits."""
_SAID_BYTES: Final = 4096


class FileTable(IpcTable):
    """A Parquet or Arrow IPC file, read by a process of its own."""

    def __init__(self, source: Source, file: IO[bytes], kind: str, max_block_bytes: int) -> None:
        """Read `file`, of the `kind` that `server.tables.apart` knows, as long as `source`, where it came from, holds.

        What it is unpacked in takes about `max_block_bytes`, twice. Raises RequestError.
        """
        with file:
            self._apart = _Apart(file, kind, 2 * max_block_bytes, source)
        try:
            super().__init__(self._apart, max_block_bytes)
        except BaseException:
            self.close()
            raise

    def blocks(self) -> Iterator[Block]:
        """Yield the rows."""
        yield from super().blocks()
        self._apart.read()  # it must have come to its end too

    def close(self) -> None:
        """End the process."""
        self._apart.close()


class _Apart:
    """The stream that `server.tables.apart` makes of a file."""

    def __init__(self, file: IO[bytes], kind: str, max_bytes: int, source: Source) -> None:
        """Have `file` read within `max_bytes` of memory, as long as `source`, where it came from, has not failed."""
        self.failure: Exception | None = None
        self._source = source
        self._max_bytes = max_bytes
        self._process = subprocess.Popen(  # noqa: S603 # this program itself
            [sys.executable, "-m", "server.tables.apart", kind, str(max_bytes), str(ARROW_ROWS)],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "RUST_BACKTRACE": "0"},
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._out, selectors.EVENT_READ)

    @property
    def _out(self) -> IO[bytes]:
        assert self._process.stdout is not None  # noqa: S101 # it was asked for
        return self._process.stdout

    def read(self, size: int = -1, /) -> bytes:
        """Return some bytes. Raises InvalidArgument where the file can't be read, and what `source` failed by."""
        is_ready = False
        while not is_ready:
            is_ready = bool(self._ready.select(_LOOK_S))
            if self._source.failure is not None:  # nothing else looks at it, once the file is there
                raise self._source.failure
        data = self._out.read(_COPY_BYTES if size < 0 else size)
        if not data and self._process.wait() != 0:
            raise InvalidArgument(f"body: expected a file that can be read: {self._reason()}")
        return data

    def _reason(self) -> str:
        """Return what is wrong with the file."""
        assert self._process.stderr is not None  # noqa: S101 # it was asked for
        said = self._process.stderr.read(_SAID_BYTES).decode(errors="replace").rpartition("\n")[2]
        if self._process.returncode < 0 or not said:
            return f"it is damaged, or takes more than {self._max_bytes} bytes of memory"
        return said.removeprefix("C Data interface error: ").strip()[:200]

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._ready.close()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


def spooled(source: Source, max_bytes: int) -> IO[bytes]:
    """Return a file of what `source` holds, at its beginning. Raises PayloadTooLarge for more than `max_bytes`."""
    file: IO[bytes] | None = None
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 # it is closed by who reads it
        length = 0
        while data := source.read(_COPY_BYTES):
            length += len(data)
            if length > max_bytes:
                raise PayloadTooLarge(f"body: expected a file of at most {max_bytes} bytes; send it in parts")
            file.write(data)
        file.seek(0)
    except BaseException as error:
        if file is not None:
            file.close()
        if isinstance(error, FileNotFoundError):
            words = "it is put into a temporary file, and there is no folder for those here; send it in another form"
            raise Unavailable(f"body: {words}") from None
        if isinstance(error, OSError):
            raise Unavailable(f"there is no room for the file now: {error.strerror}") from None
        raise
    return file

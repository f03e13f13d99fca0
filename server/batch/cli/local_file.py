"""Score one file into another file on this machine."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from server.batch.cli.progress import Progress
from server.batch.cli.task import Result, Task, local_options, served_by, settings_of
from server.batch.job import Job

UNFINISHED = ".unfinished"
"""Suffix of a file's temporary name until the file is complete."""


class _CountingFile(io.FileIO):
    """A file that counts the bytes read from it."""

    bytes_read = 0

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override] # as BufferedReader calls it
        """Read some bytes into `buffer`, and count them."""
        number = super().readinto(buffer)
        self.bytes_read += number or 0
        return number


class Reader(AbstractContextManager["Reader"]):
    """A file as a source of bytes."""

    def __init__(self, path: Path | None) -> None:
        """Open the file at `path`; None: standard input. Raises OSError."""
        self.failure: Exception | None = None
        self._name = "standard input" if path is None else str(path)
        with names_in_errors(self._name):
            self._raw = _CountingFile(_descriptor(sys.stdin), closefd=False) if path is None else _CountingFile(path)
        self._file = io.BufferedReader(self._raw, 128 * 1024)
        self.size: int | None = None
        if path is not None and path.is_file():
            self.size = path.stat().st_size

    def __exit__(self, *_of: object) -> None:
        self._file.close()

    @property
    def bytes_read(self) -> int:
        """Number of bytes read; at most `size` if the size is known."""
        return self._raw.bytes_read if self.size is None else min(self._raw.bytes_read, self.size)

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes; no bytes at the end. Raises OSError, which names the file."""
        try:
            with names_in_errors(self._name):
                return self._file.read1(size)
        except OSError as error:
            self.failure = error
            raise


class Output(AbstractContextManager["Output"]):
    """Output file that appears under its name only when it is complete."""

    def __init__(self, path: Path | None) -> None:
        """Write to `path`; None: standard output. Raises OSError, which names the file."""
        self.failure: Exception | None = None
        self._name = "standard output" if path is None else str(path)
        self._unfinished_path: Path | None = None
        # Replace the target of a link, not the link itself. Devices and pipes are written directly.
        self._path = None if path is None else Path(os.path.realpath(path))
        with names_in_errors(self._name):
            if self._path is None:
                self._file = io.FileIO(_descriptor(sys.stdout), "wb", closefd=False)
            elif self._path.exists() and not self._path.is_file():
                self._file = io.FileIO(self._path, "wb")
            else:
                self._unfinished_path = self._path.with_name(f".{self._path.name}{UNFINISHED}")
                self._file = io.FileIO(self._unfinished_path, "wb")

    def write(self, data: bytes, /) -> int:
        """Write some bytes. Raises OSError, which names the file."""
        remaining = memoryview(data)
        try:
            with names_in_errors(self._name):
                while remaining:
                    remaining = remaining[self._file.write(remaining) :]
        except OSError as error:
            self.failure = error
            raise
        return len(data)

    def flush(self) -> None:
        """Do nothing: `write` has no buffer."""

    def restart(self) -> None:
        """Discard the written bytes."""
        self._file.seek(0)
        self._file.truncate()

    def __exit__(self, kind: type[BaseException] | None, *_of: object) -> None:
        try:
            with names_in_errors(self._name):
                self._file.close()
                if kind is None and self._unfinished_path is not None and self._path is not None:
                    self._unfinished_path.replace(self._path)
        finally:
            if self._unfinished_path is not None:
                self._unfinished_path.unlink(missing_ok=True)


@contextmanager
def names_in_errors(name: str) -> Iterator[None]:
    """Make an OSError in the block name the file as the user wrote it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), name) from None


def _descriptor(stream: IO[str] | None) -> int:
    """Return a standard stream's file descriptor. Raises OSError if the parent process closed it."""
    if stream is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return stream.fileno()


def score_file(task: Task) -> Result:
    """Score a file on this machine. Raises RequestError, ModelError, SettingsError, OSError."""
    with Reader(task.input) as reader:
        settings = settings_of(task)
        options = local_options(task, settings)
        options.response_encoding = task.encoding
        job = Job(options, settings)
        with Progress(reader.size, is_visible=task.shows_progress) as progress, Output(task.output) as out:

            def would_wait() -> bool:
                progress.update(job.counts.read, reader.bytes_read)
                return False  # reading a file never waits for a sender

            job.run(reader, would_wait, out, lambda _form: None)
            progress.update(job.counts.read, reader.bytes_read)
    return Result(job.counts, served_by(options), job.omitted_columns)

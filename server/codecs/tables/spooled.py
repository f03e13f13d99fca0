"""Read tables in a separate process (`isolated_reader`) that returns a plain Arrow stream.

Parquet files and some Arrow files have their index at the end, so they are first copied to a temporary file. Arrow
streams with other than plain types are relayed as they arrive.
"""

import json
import os
import selectors
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, Any, Final

from server.codecs.tables.arrow import IpcTable
from server.codecs.tables.arrow_messages import RelayedMessages
from server.codecs.tables.isolated_reader import HEAD_DIGITS
from server.codecs.tables.limits import ARROW_ROWS, BLOCK_CELLS, Limits
from server.codecs.tables.table import Block, Source, check
from server.errors import InvalidArgument, PayloadTooLarge, RequestError, Unavailable

_COPY_BYTES: Final = 1024 * 1024
_CHECK_S: Final = 0.25
"""Seconds between checks whether the client is still connected."""
_FLUSH_S: Final = 0.02
"""Seconds without rows after which the pending part of the response is sent."""
_REPORT_BYTES: Final = 4096
_MAX_ARGUMENT_BYTES: Final = 100_000
_NO_MEMORY: Final = ("memory allocation of", "capacity overflow", "MemoryError", "Cannot allocate", "null pointer when")
"""Messages of Rust and Python when memory allocation fails."""


class IsolatedTable(IpcTable):
    """A table read by a separate process."""

    def __init__(
        self,
        source: Source,
        file_or_messages: "IO[bytes] | RelayedMessages",
        kind: str,
        limits: Limits,
        needed: Collection[str] | None = None,
    ) -> None:
        """Start the process, and read the table's header from its output.

        `file_or_messages` is a file or messages in a format `kind` of `isolated_reader`. `source` is their origin;
        reading stops if it fails. Columns that are not `needed` hold nulls; None: all columns are needed. The process
        may use twice `limits.max_block_bytes` of memory. Raises RequestError.
        """
        self._isolated_process = IsolatedProcess(source, file_or_messages, kind, limits, needed)
        try:
            head = self._isolated_process.head()
            super().__init__(self._isolated_process)
            self.omitted_columns = head["left_out"]
        except BaseException:
            self._isolated_process.close()
            raise

    def blocks(self) -> Iterator[Block]:
        """Yield the rows."""
        yield from super().blocks()
        self._isolated_process.read()  # read the end of the output too, which raises a late failure

    def on_wait(self, flush: Callable[[], None]) -> None:
        """Call `flush` when no rows arrive for a while."""
        self._isolated_process.flush = flush


class IsolatedProcess:
    """The output of one `server.codecs.tables.isolated_reader`."""

    def __init__(
        self,
        source: Source,
        file_or_messages: "IO[bytes] | RelayedMessages",
        kind: str,
        limits: Limits,
        needed: Collection[str] | None,
    ) -> None:
        """Start the process. A file is closed here; a thread sends messages."""
        self.failure: Exception | None = None
        self.flush: Callable[[], None] = lambda: None
        self._source = source
        self._max_bytes = 2 * limits.max_block_bytes
        self._report = _report_file()
        messages = file_or_messages if isinstance(file_or_messages, RelayedMessages) else None
        numbers = (self._max_bytes, limits.max_columns, ARROW_ROWS, BLOCK_CELLS)
        self._process = subprocess.Popen(  # noqa: S603 # the command is this program itself
            [sys.executable, "-m", "server.codecs.tables.isolated_reader", kind, *map(str, numbers), _argument(needed)],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "RUST_BACKTRACE": "0"},
            stdin=subprocess.PIPE if messages is not None else file_or_messages,  # type: ignore[arg-type] # a file, if not messages
            stdout=subprocess.PIPE,
            stderr=self._report,
            bufsize=0,
        )
        self._relay: _Relay | None = None
        if messages is None:
            file_or_messages.close()
        else:
            self._relay = _Relay(messages, self._process.stdin)
            self._relay.start()
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._out, selectors.EVENT_READ)

    @property
    def _out(self) -> IO[bytes]:
        assert self._process.stdout is not None  # noqa: S101 # Popen got PIPE
        return self._process.stdout

    def head(self) -> dict[str, Any]:
        """Return the JSON at the start of the process's output. Raises RequestError."""
        return json.loads(self._read_exactly(int(self._read_exactly(HEAD_DIGITS))))  # type: ignore[no-any-return]

    def _read_exactly(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            data = self.read(size - len(content))
            if not data:
                raise InvalidArgument(self._message())
            content += data
        return content

    def read(self, size: int = -1, /) -> bytes:
        """Return some bytes; none at the end.

        Raises RequestError if the file can't be read, or the source's failure.
        """
        try:
            return self._read(_COPY_BYTES if size < 0 else size)
        except Exception as error:
            self.failure = error
            raise

    def _read(self, size: int) -> bytes:
        if not self._ready.select(_FLUSH_S):
            self.flush()
            while not self._ready.select(_CHECK_S):
                check(self._source)  # nothing else checks the source once it was read to its end
        check(self._source)
        data = self._out.read(size)
        if data:
            return data
        status = self._process.wait()
        if self._relay is not None and self._relay.failure is not None:
            raise self._relay.failure
        if status != 0:
            raise self._report_error()
        return b""

    def seek(self, *_where: int) -> int:
        """Reject: the library checks for such a method."""
        raise OSError("a stream can't be read twice")

    def _report_error(self) -> RequestError:
        """Return the error about the file, from the process's report."""
        size = os.fstat(self._report.fileno()).st_size
        report = os.pread(self._report.fileno(), _REPORT_BYTES, max(0, size - _REPORT_BYTES)).decode(errors="replace")
        try:
            code, message, field = json.loads(report.rpartition("\n")[2])
        except ValueError:
            code, message, field = "invalid_argument", "it is damaged", None
        if any(phrase in report for phrase in _NO_MEMORY):
            return PayloadTooLarge(f"body: expected a file that can be read in {self._max_bytes} bytes of memory")
        if code == PayloadTooLarge.code:
            return PayloadTooLarge(message, field=field)
        return InvalidArgument(
            message if field or message.startswith(("body: ", "columns: ")) else self._message(message)
        )

    @staticmethod
    def _message(reason: str = "it is damaged") -> str:
        reason = reason.replace("C Data interface error: ", "").strip()[:200]
        return f"body: expected a file that can be read: {reason}"

    def close(self) -> None:
        """End the process, whatever its state."""
        self._process.kill()
        self._process.wait()
        self._ready.close()
        self._out.close()
        self._report.close()
        if self._relay is not None:
            self._relay.end()


class _Relay(threading.Thread):
    """Thread that sends messages to the process.

    It ends after the last message, when the process ends, or when the messages' source fails.
    """

    def __init__(self, messages: RelayedMessages, target: IO[bytes] | None) -> None:
        super().__init__(name="batch-relay", daemon=True)
        assert target is not None  # noqa: S101 # Popen got PIPE
        self.failure: Exception | None = None
        self._messages = messages
        self._target = target

    def run(self) -> None:
        """Send all messages."""
        try:
            while data := self._messages.read(_COPY_BYTES):
                view = memoryview(data)
                while view:
                    view = view[self._target.write(view) :]
        except BrokenPipeError:
            pass  # the process has ended; its report states why
        except Exception as error:  # noqa: BLE001 # the table's reader raises it
            self.failure = error
        finally:
            self._target.close()

    def end(self) -> None:
        """Drop the buffered bytes. A thread that waits for its source ends with the source."""
        self._messages.close()


def _argument(needed: Collection[str] | None) -> str:
    """Return the names as a process argument.

    An argument has a limited length; with longer names, all columns are needed.
    """
    text = json.dumps(None if needed is None else sorted(needed))
    return text if len(text) <= _MAX_ARGUMENT_BYTES else "null"


def _report_file() -> IO[bytes]:
    """Return a file for the report of a process."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("report"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def spool(source: Source, max_bytes: int) -> IO[bytes]:
    """Return a file with the bytes of `source`, at its start.

    Raises PayloadTooLarge for more than `max_bytes`. The file has no buffer: another process reads it, and closing a
    buffer would move the position that both share.
    """
    file: IO[bytes] | None = None
    try:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 # the reader closes it
        length = 0
        while data := source.read(_COPY_BYTES):
            length += len(data)
            if length > max_bytes:
                raise PayloadTooLarge(f"body: expected a file of at most {max_bytes} bytes; send it in parts")
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        file.seek(0)
    except BaseException as error:
        if file is not None:
            file.close()
        if isinstance(error, FileNotFoundError):
            message = "it needs a temporary file, and the server has no folder for temporary files; send another format"
            raise Unavailable(f"body: {message}") from None
        if isinstance(error, OSError):
            raise Unavailable(f"the file can't be stored now: {error.strerror}") from None
        raise
    return file

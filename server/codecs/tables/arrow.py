"""Read and write Arrow IPC streams, and the streams inside IPC files."""

import io
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from arro3.core import RecordBatch, RecordBatchReader
from arro3.io import read_ipc_stream, write_ipc_stream

from server.codecs.tables.arrow_messages import FILE_MAGIC, Messages, with_metadata
from server.codecs.tables.limits import Limits
from server.codecs.tables.table import ArrowTable, Block, Source
from server.errors import InvalidArgument, RequestError

_END: Final = b"\xff\xff\xff\xff\0\0\0\0"


class IpcTable(ArrowTable):
    """An Arrow IPC stream of plain types; holds one record batch at a time."""

    def __init__(self, source: "Readable") -> None:
        """Read the schema. Raises RequestError."""
        self._source = source
        self._reader: RecordBatchReader | None = None
        with LibraryErrors(source, "expected an Arrow IPC stream"):
            self._reader = read_ipc_stream(source)  # type: ignore[arg-type] # the library needs only `read`
            super().__init__(self._reader.schema)

    def blocks(self) -> Iterator[Block]:
        """Yield the rows."""
        while (slices := self._next()) is not None:
            yield from slices

    def _next(self) -> Iterator[Block] | None:
        """Return the next record batch in slices, None at the end.

        Only the slices hold a reference to the batch.
        """
        assert self._reader is not None  # noqa: S101 # the table is read before it is closed
        with LibraryErrors(self._source, "a record batch can't be read"):
            batch = next(self._reader, None)
        return None if batch is None else self.slices(batch)

    def close(self) -> None:
        """Drop the reader and its batches: the library frees neither while the other lives."""
        self._reader = None
        self._source.close()


class Readable(Protocol):
    """A source that a stream is read from."""

    @property
    def failure(self) -> Exception | None:
        """Error that ended the stream early, or None."""

    def read(self, size: int = -1, /) -> bytes:
        """Return some bytes; none at the end."""

    def close(self) -> None:
        """Drop the buffered bytes."""


def messages(source: Source, limits: Limits) -> Messages:
    """Return the messages of a stream, or of the stream inside an IPC file.

    Raises RequestError.
    """
    first = b""
    while len(first) < len(FILE_MAGIC) and (data := source.read(len(FILE_MAGIC) - len(first))):
        first += data
    is_file = first == FILE_MAGIC
    return Messages(source, b"" if is_file else first, limits, is_file=is_file)


class LibraryErrors:
    """Turn the library's errors and panics into the error for the client.

    The stream's own failure comes first.
    """

    def __init__(self, source: Any, message: str) -> None:  # noqa: ANN401
        """Add `message`, about reading from `source`, to the library's message."""
        self._source = source
        self._message = message

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _at: object) -> None:
        if error is None or isinstance(error, RequestError | GeneratorExit | KeyboardInterrupt | SystemExit):
            return
        if self._source.failure is not None:
            raise self._source.failure from None
        reason = str(error).replace("C Data interface error: ", "").strip()[:200]
        raise InvalidArgument(f"body: {self._message}: {reason}") from None


class IpcWriter:
    """Writer of batches to one stream."""

    def __init__(self) -> None:
        """Begin without a schema: `header` sets it."""
        self._schema_bytes = 0

    def header(self, empty: RecordBatch) -> bytes:
        """Return the schema's message."""
        schema = self._stream(empty, batches=0)
        self._schema_bytes = len(schema)
        return schema

    def rows(self, batch: RecordBatch) -> bytes:
        """Return the batch's message."""
        return self._stream(batch, batches=1)[self._schema_bytes :]

    def metadata(self, empty: RecordBatch, metadata: Mapping[str, str]) -> bytes:
        """Return a message of no rows with custom metadata."""
        return with_metadata(self.rows(empty), metadata)

    def end(self) -> bytes:
        """Return the end of the stream."""
        return _END

    @staticmethod
    def _stream(batch: RecordBatch, batches: int) -> bytes:
        """Return a complete stream without its end marker."""
        out = io.BytesIO()
        reader = RecordBatchReader.from_batches(batch.schema, [batch] * batches)
        write_ipc_stream(reader, out, compression=None)  # the library's default is LZ4, which some clients can't read
        return out.getvalue().removesuffix(_END)

"""Arrow IPC streams, and the streams inside IPC files, to blocks and back."""

import io
from collections.abc import Iterator, Mapping
from typing import Any, Final

from arro3.core import RecordBatch, RecordBatchReader
from arro3.io import read_ipc_stream, write_ipc_stream

from server.errors import InvalidArgument, RequestError
from server.tables.blocks import ArrowTable, Block, Source
from server.tables.ipc import FILE_MAGIC, Messages, annotated

_END: Final = b"\xff\xff\xff\xff\0\0\0\0"


class IpcTable(ArrowTable):
    """An Arrow IPC stream: what is held of it is one record batch."""

    def __init__(self, source: Source, max_bytes: int) -> None:
        """Read the schema. A record batch may have at most `max_bytes`. Raises RequestError."""
        first = b""
        while len(first) < len(FILE_MAGIC) and (data := source.read(len(FILE_MAGIC) - len(first))):
            first += data
        is_file = first == FILE_MAGIC
        self._messages = Messages(source, b"" if is_file else first, max_bytes, is_file=is_file)
        with Told(self._messages, "expected an Arrow IPC stream"):
            self._reader = read_ipc_stream(self._messages)  # type: ignore[arg-type] # it needs no more than read
            super().__init__(self._reader.schema)

    def blocks(self) -> Iterator[Block]:
        """Yield the rows."""
        while (slices := self._next()) is not None:
            yield from slices

    def _next(self) -> Iterator[Block] | None:
        """Return the next record batch in slices, which alone hold it; None at the end."""
        with Told(self._messages, "a record batch can't be read"):
            batch = next(self._reader, None)
        return None if batch is None else self.slices(batch)


class Told:
    """Turns what the library raises, its panics too, into what the caller is told: the stream's own failure first."""

    def __init__(self, source: Any, words: str) -> None:  # noqa: ANN401
        """Say `words` of what is read from `source`, beside the library's own."""
        self._source = source
        self._words = words

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _at: object) -> None:
        if error is None or isinstance(error, RequestError | GeneratorExit | KeyboardInterrupt | SystemExit):
            return
        if self._source.failure is not None:
            raise self._source.failure from None
        reason = str(error).replace("C Data interface error: ", "").strip()[:200]
        raise InvalidArgument(f"body: {self._words}: {reason}") from None


class IpcWriter:
    """Batches to one stream."""

    def __init__(self) -> None:
        """Begin with `header`."""
        self._schema_bytes = 0

    def header(self, empty: RecordBatch) -> bytes:
        """Return the schema's message."""
        schema = self._stream(empty, batches=0)
        self._schema_bytes = len(schema)
        return schema

    def rows(self, batch: RecordBatch) -> bytes:
        """Return the batch's message."""
        return self._stream(batch, batches=1)[self._schema_bytes :]

    def notes(self, empty: RecordBatch, notes: Mapping[str, str]) -> bytes:
        """Return a message of no rows with custom metadata."""
        return annotated(self.rows(empty), notes)

    def end(self) -> bytes:
        """Return what ends the stream."""
        return _END

    @staticmethod
    def _stream(batch: RecordBatch, batches: int) -> bytes:
        """Return a stream of its own without its end."""
        out = io.BytesIO()
        reader = RecordBatchReader.from_batches(batch.schema, [batch] * batches)
        write_ipc_stream(reader, out, compression=None)  # not stated it would be LZ4, which not every client reads
        return out.getvalue().removesuffix(_END)

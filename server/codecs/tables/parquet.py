"""Read and write Parquet. A child process reads the files: see `isolated_reader`."""

import itertools
import os
from collections.abc import Callable, Collection, Iterator
from typing import IO, Final

from arro3.core import DataType, Field, RecordBatch, RecordBatchReader, Schema
from arro3.io import write_parquet

from server.codecs.tables import spooled as files
from server.codecs.tables.limits import Limits
from server.codecs.tables.representable import cast_exactly, check_type_in_parquet
from server.codecs.tables.table import Sink, Source, unwritable
from server.errors import InvalidArgument, PayloadTooLarge

MAGIC: Final = b"PAR1"
ROW_GROUP_ROWS: Final = 65_536
"""Maximum rows that are held, compressed, until they are written."""
MAX_GROUP_BYTES: Final = 256 * 1024 * 1024
"""Maximum bytes of the held rows before compression."""
MAX_GROUP_CELLS: Final = 4 * 1024 * 1024
"""Maximum rows times columns of the held rows."""
_ROWS_GROW: Final = "expected rows that do not become longer towards the end; request a format other than Parquet"
_TAIL_BYTES: Final = 256 * 1024
"""Bytes at the end of a file that include its metadata."""
_DIGITS: Final = 20


class ParquetTable(files.IsolatedTable):
    """A Parquet file."""

    def __init__(self, source: Source, limits: Limits, needed: Collection[str] | None = None) -> None:
        """Copy the whole file, at most `limits.max_spool_bytes`, to a temporary file.

        Columns that are not `needed` hold nulls; None: all columns are needed. Raises RequestError.
        """
        super().__init__(source, spool(source, limits.max_spool_bytes), "parquet", limits, needed)


def spool(source: Source, max_bytes: int) -> IO[bytes]:
    """Return a temporary file of `source`, after checks of its Parquet magic and footer."""
    file = files.spool(source, max_bytes)
    try:
        _check_ends(file, file.seek(0, os.SEEK_END))
    except InvalidArgument:
        file.close()
        raise
    file.seek(0)
    return file


def _check_ends(file: IO[bytes], length: int) -> None:
    """Raise InvalidArgument for a truncated file; the library's message does not say so."""
    footer_bytes = 0
    if length >= 12:
        file.seek(length - 8)
        tail = file.read(8)
        footer_bytes = int.from_bytes(tail[:4], "little") if tail[4:] == MAGIC else 0
    file.seek(0)
    if file.read(4) != MAGIC or not 0 < footer_bytes <= length - 12:
        raise InvalidArgument("body: expected a Parquet file; its end is missing")


class ParquetWriter:
    """Writer of batches to one file, in Snappy, which every reader supports."""

    def __init__(self, sink: Sink) -> None:
        """Write to `sink`."""
        self._sink = _TailBuffer(sink)

    def write(self, schema: Schema, batches: Iterator[RecordBatch], metadata: Callable[[], dict[str, int]]) -> None:
        """Write all `batches`, pulled as there is room, then the final `metadata`.

        An error of `batches` is raised, and nothing is written after it.
        """
        for index in range(len(schema)):
            check_type_in_parquet(schema.field(index))
        kinds = [_parquet_type(schema.field(index).type) for index in range(len(schema))]
        parquet_schema = Schema([Field(name, kind) for name, kind in zip(schema.names, kinds, strict=True)])
        first = next(batches, None)
        rows = ROW_GROUP_ROWS if first is None else _group_rows(first)
        cast_batches = self._cast_batches(
            itertools.chain([] if first is None else [first], batches), parquet_schema, rows
        )
        placeholders = {name: _placeholder(index) for index, name in enumerate(metadata())}
        try:
            write_parquet(
                RecordBatchReader.from_batches(parquet_schema, cast_batches),
                self._sink,  # type: ignore[arg-type] # the library needs only `write`
                compression="snappy",
                max_row_group_size=rows,
                key_value_metadata=placeholders,
            )
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 # panics are no Exception
            raise self._sink.failure or unwritable("parquet", error) from None
        if self._sink.failure is not None:
            raise self._sink.failure
        self._sink.end({placeholders[name]: value for name, value in metadata().items()})

    def _cast_batches(
        self, batches: Iterator[RecordBatch], parquet_schema: Schema, group_rows: int
    ) -> Iterator[RecordBatch]:
        """Yield batches in the types of `parquet_schema`, without raising: errors end the iteration.

        An error is stored as the sink's failure. The library would end the process for some errors.
        """
        kinds = [parquet_schema.field(index).type for index in range(len(parquet_schema))]
        rows = size = 0
        try:
            for batch in batches:
                if self._sink.failure is not None:
                    return
                rows, size = rows + batch.num_rows, size + batch.nbytes
                if rows >= group_rows:
                    rows, size = rows % group_rows, 0
                if size > MAX_GROUP_BYTES:
                    raise PayloadTooLarge(f"body: {_ROWS_GROW}")
                columns = zip(batch.column_names, batch.columns, kinds, strict=True)
                arrays = [cast_exactly(name, array, kind) for name, array, kind in columns]
                yield RecordBatch.from_arrays(arrays, schema=parquet_schema)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 # `write` raises it, whatever it is
            self._sink.failure = error


def _group_rows(first: RecordBatch) -> int:
    """Return how many rows may be held, if all are as long as the `first`."""
    row_bytes = first.nbytes // max(first.num_rows, 1) + 1
    max_rows = min(ROW_GROUP_ROWS, MAX_GROUP_CELLS // max(first.num_columns, 1))
    return max(1, min(max_rows, MAX_GROUP_BYTES // 4 // row_bytes))


def _parquet_type(kind: DataType) -> DataType:
    """Return Parquet's type for a type that Parquet lacks.

    The library would write such values as bare numbers.
    """
    if DataType.is_date64(kind):
        return DataType.date32()
    if DataType.is_time32(kind):
        return DataType.time32("ms")
    if DataType.is_timestamp(kind) and kind.time_unit == "s":
        return DataType.timestamp("ms", tz=kind.tz)
    return kind


def _placeholder(index: int) -> str:
    """Return a placeholder in the metadata for a number of up to 20 digits."""
    return f"{index:02}" + "~" * (_DIGITS - 2)


class _TailBuffer:
    """A file for the library; holds back the last bytes until their numbers are known."""

    def __init__(self, sink: Sink) -> None:
        self.failure: BaseException | None = None
        """Error after which nothing more is written."""
        self._sink = sink
        self._last = bytearray()

    def write(self, data: bytes) -> int:
        if self.failure is not None:
            return len(data)
        self._last += data
        if len(self._last) > 2 * _TAIL_BYTES:
            try:
                self._sink.write(bytes(self._last[:-_TAIL_BYTES]))
            except BaseException as error:  # noqa: BLE001 # `write` raises it; the library would panic
                self.failure = error
            del self._last[:-_TAIL_BYTES]
        return len(data)

    def end(self, numbers: dict[str, int]) -> None:
        """Write the last bytes, with each number in place of its placeholder."""
        last = bytes(self._last)
        for placeholder, number in numbers.items():
            last = last.replace(placeholder.encode(), b"%0*d" % (_DIGITS, number))
        self._sink.write(last)

    def flush(self) -> None:
        """Do nothing: bytes are sent as there is room."""

    def seek(self, *_where: int) -> int:
        """Reject seeking: the library checks for this method, but does not seek."""
        raise OSError("a stream can't be sought in")

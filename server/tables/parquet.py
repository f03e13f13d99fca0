"""Parquet to blocks and back."""

import itertools
import os
from collections.abc import Callable, Iterator
from typing import IO, Final

from arro3.core import DataType, Field, RecordBatch, RecordBatchReader, Schema
from arro3.io import write_parquet

from server.errors import InvalidArgument, PayloadTooLarge
from server.tables import files
from server.tables.blocks import Sink, Source, unwritable

MAGIC: Final = b"PAR1"
ROW_GROUP_ROWS: Final = 65_536
"""Rows that are held until they are written, compressed as they are by then."""
MAX_GROUP_BYTES: Final = 256 * 1024 * 1024
"""Bytes that they may have before they are."""
_TOO_LONG: Final = "expected rows that grow no longer towards the end, or another form than Parquet asked for"
_HELD_BYTES: Final = 256 * 1024
"""Bytes at the end of a file among which its metadata is."""
_DIGITS: Final = 20


class ParquetTable(files.FileTable):
    """A Parquet file."""

    def __init__(self, source: Source, max_spool_bytes: int, max_block_bytes: int) -> None:
        """Read the whole file, of at most `max_spool_bytes`, into the folder for temporary files.

        What it is unpacked in takes about `max_block_bytes`, twice. Raises RequestError.
        """
        super().__init__(source, spooled(source, max_spool_bytes), "parquet", max_block_bytes)


def spooled(source: Source, max_bytes: int) -> IO[bytes]:
    """Return a file of what `source` holds, which looks as a Parquet file does from outside."""
    file = files.spooled(source, max_bytes)
    try:
        _check_ends(file, file.seek(0, os.SEEK_END))
    except InvalidArgument:
        file.close()
        raise
    file.seek(0)
    return file


def _check_ends(file: IO[bytes], length: int) -> None:
    """Raise InvalidArgument for a file that was cut off: the library doesn't say so in words."""
    footer_bytes = 0
    if length >= 12:
        file.seek(length - 8)
        tail = file.read(8)
        footer_bytes = int.from_bytes(tail[:4], "little") if tail[4:] == MAGIC else 0
    file.seek(0)
    if file.read(4) != MAGIC or not 0 < footer_bytes <= length - 12:
        raise InvalidArgument("body: expected a Parquet file; its end is missing")


class ParquetWriter:
    """Batches to one file, in Snappy as every reader has it."""

    def __init__(self, sink: Sink) -> None:
        """Write to `sink`."""
        self._sink = _Held(sink)

    def write(self, schema: Schema, batches: Iterator[RecordBatch], metadata: Callable[[], dict[str, int]]) -> None:
        """Write all of `batches`, which are pulled as there is room for them, then the `metadata` as it is by then.

        What `batches` raise is raised, and nothing is written behind it.
        """
        kinds = [_held_as(schema.field(place).type) for place in range(len(schema))]
        held = Schema([Field(name, kind) for name, kind in zip(schema.names, kinds, strict=True)])
        first = next(batches, None)
        rows = ROW_GROUP_ROWS if first is None else _group_rows(first)
        pulled = self._pulled(itertools.chain([] if first is None else [first], batches), held, rows)
        room = {name: _room(place) for place, name in enumerate(metadata())}
        try:
            write_parquet(
                RecordBatchReader.from_batches(held, pulled),
                self._sink,  # type: ignore[arg-type] # it needs no more than write
                compression="snappy",
                max_row_group_size=rows,
                key_value_metadata=room,
            )
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 # panics are no exceptions
            raise self._sink.failure or unwritable("parquet", error) from None
        if self._sink.failure is not None:
            raise self._sink.failure
        self._sink.end({room[name]: value for name, value in metadata().items()})

    def _pulled(self, batches: Iterator[RecordBatch], held: Schema, group_rows: int) -> Iterator[RecordBatch]:
        """Yield batches in the types of `held`, until there is no other: the library must not see what is raised.

        It would end the process for some of it.
        """
        kinds = [held.field(place).type for place in range(len(held))]
        rows = size = 0
        try:
            for batch in batches:
                if self._sink.failure is not None:
                    return
                rows, size = rows + batch.num_rows, size + batch.nbytes
                if rows >= group_rows:
                    rows, size = rows % group_rows, 0
                if size > MAX_GROUP_BYTES:
                    raise PayloadTooLarge(f"body: {_TOO_LONG}")
                arrays = [array.cast(kind) for array, kind in zip(batch.columns, kinds, strict=True)]
                yield RecordBatch.from_arrays(arrays, schema=held)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 # whatever it is, `write` raises it
            self._sink.failure = error


def _group_rows(first: RecordBatch) -> int:
    """Return how many rows may be held until they are written, where all are as long as the `first`."""
    row_bytes = first.nbytes // max(first.num_rows, 1) + 1
    return max(1, min(ROW_GROUP_ROWS, MAX_GROUP_BYTES // 4 // row_bytes))


def _held_as(kind: DataType) -> DataType:
    """Return the type that Parquet has for one that it doesn't know: the library would write bare numbers."""
    if DataType.is_date64(kind):
        return DataType.date32()
    if DataType.is_time32(kind):
        return DataType.time32("ms")
    return kind


def _room(place: int) -> str:
    """Return what stands in the file's metadata for a number of 20 digits until that is known."""
    return f"{place:02}" + "~" * (_DIGITS - 2)


class _Held:
    """What the library takes for a file. The last bytes are held back until what stands in them is known."""

    def __init__(self, sink: Sink) -> None:
        self.failure: BaseException | None = None
        """Why nothing is to be written any more."""
        self._sink = sink
        self._last = bytearray()

    def write(self, data: bytes) -> int:
        if self.failure is not None:
            return len(data)
        self._last += data
        if len(self._last) > 2 * _HELD_BYTES:
            try:
                self._sink.write(bytes(self._last[:-_HELD_BYTES]))
            except BaseException as error:  # noqa: BLE001 # `write` raises it; the library would panic, in its own words
                self.failure = error
            del self._last[:-_HELD_BYTES]
        return len(data)

    def end(self, numbers: dict[str, int]) -> None:
        """Write the last bytes, each number where there is room for it."""
        last = bytes(self._last)
        for room, number in numbers.items():
            last = last.replace(room.encode(), b"%0*d" % (_DIGITS, number))
        self._sink.write(last)

    def flush(self) -> None:
        """Do nothing: what is written is sent as there is room."""

    def seek(self, *_where: int) -> int:
        """Refuse: the library asks whether one can seek here, and doesn't."""
        raise OSError("a stream can't be sought in")

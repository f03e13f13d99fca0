"""Parquet to blocks and back. Its index stands at its end: what comes in is put into a temporary file first."""

import tempfile
from collections.abc import Callable, Iterator
from os import SEEK_END
from typing import IO, Final

from arro3.core import RecordBatch, RecordBatchReader, Schema
from arro3.io import read_parquet, write_parquet

from server.errors import InvalidArgument, PayloadTooLarge, Unavailable
from server.tables.arrow import told
from server.tables.blocks import ARROW_ROWS, ArrowTable, Block, Sink, Source

MAGIC: Final = b"PAR1"
ROW_GROUP_ROWS: Final = 65_536
"""Rows that are held until they are written, compressed as they are by then."""
_COPY_BYTES: Final = 1024 * 1024
_HELD_BYTES: Final = 256 * 1024
"""Bytes at the end of a file among which its metadata is."""
_DIGITS: Final = 20


class ParquetTable(ArrowTable):
    """A Parquet file."""

    def __init__(self, source: Source, max_bytes: int) -> None:
        """Read the whole file, of at most `max_bytes`, into the folder for temporary files. Raises RequestError."""
        self.failure: Exception | None = None
        self._file = spooled(source, max_bytes)
        with told(self, "expected a Parquet file"):
            self._reader = read_parquet(self._file, batch_size=ARROW_ROWS)
            super().__init__(self._reader.schema)

    def blocks(self) -> Iterator[Block]:
        """Yield the rows."""
        with self._file:
            while True:
                with told(self, "a row group can't be read"):
                    batch = next(self._reader, None)
                if batch is None:
                    return
                yield from self.slices(batch)


def spooled(source: Source, max_bytes: int) -> IO[bytes]:
    """Return a file of what `source` holds, or is, which looks as a Parquet file does from outside."""
    whole: IO[bytes] | None = getattr(source, "whole", None)
    if whole is not None:
        _check_ends(whole, whole.seek(0, SEEK_END))
        whole.seek(0)
        return whole
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 # it is closed by who reads it
        length = 0
        while data := source.read(_COPY_BYTES):
            length += len(data)
            if length > max_bytes:
                raise PayloadTooLarge(f"body: expected a Parquet file of at most {max_bytes} bytes; send it in parts")
            file.write(data)
        _check_ends(file, length)
    except OSError as error:
        raise Unavailable(f"there is no room for the file now: {error.strerror}") from None
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

        Raises what `batches` or the sink raise. The library doesn't learn of it: it would panic, in words of its own.
        """
        reader = RecordBatchReader.from_batches(schema, self._until_failure(batches))
        room = {name: _room(place) for place, name in enumerate(metadata())}
        write_parquet(
            reader,
            self._sink,  # type: ignore[arg-type] # it needs no more than write
            compression="snappy",
            max_row_group_size=ROW_GROUP_ROWS,
            key_value_metadata=room,
        )
        self._sink.end({room[name]: value for name, value in metadata().items()})

    def _until_failure(self, batches: Iterator[RecordBatch]) -> Iterator[RecordBatch]:
        try:
            while self._sink.failure is None and (batch := next(batches, None)) is not None:
                yield batch
        except BaseException as failure:  # noqa: BLE001 # it is raised by `end`
            self._sink.failure = failure


def _room(place: int) -> str:
    """Return what stands in the file's metadata for a number of 20 digits until that is known."""
    return f"{place:02}" + "~" * (_DIGITS - 2)


class _Held:
    """What the library takes for a file. The last bytes are held back until what stands in them is known."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._last = bytearray()
        self.failure: BaseException | None = None
        """What ended the table before its end: nothing is written from then on."""

    def write(self, data: bytes) -> int:
        if self.failure is not None:
            return len(data)
        self._last += data
        if len(self._last) > 2 * _HELD_BYTES:
            try:
                self._sink.write(bytes(self._last[:-_HELD_BYTES]))
            except BaseException as failure:  # noqa: BLE001 # it is raised by `end`
                self.failure = failure
            del self._last[:-_HELD_BYTES]
        return len(data)

    def end(self, numbers: dict[str, int]) -> None:
        """Write the last bytes, each number where there is room for it. Raises the failure, if there was one."""
        if self.failure is not None:
            raise self.failure
        last = bytes(self._last)
        for room, number in numbers.items():
            last = last.replace(room.encode(), b"%0*d" % (_DIGITS, number))
        self._sink.write(last)

    def flush(self) -> None:
        """Do nothing: what is written is sent as there is room."""

    def seek(self, *_where: int) -> int:
        """Refuse: the library asks whether one can seek here, and doesn't."""
        raise OSError("a stream can't be sought in")

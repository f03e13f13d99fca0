"""Split of a table's file into parts; each part is a complete table."""

import io
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from arro3.core import RecordBatch, RecordBatchReader, Schema
from arro3.io import write_ipc_stream

from server.batch.job import limits
from server.codecs.tables.csv import guess_delimiter
from server.codecs.tables.csv_records import CsvRecords
from server.codecs.tables.detect import begin, detect_format, open_typed
from server.codecs.tables.media_types import ARROW, CSV, NDJSON, FileFormat
from server.codecs.tables.ndjson_lines import lines
from server.codecs.tables.table import ArrowTable, Source
from server.settings import Settings

PART_BYTES: Final = 32 * 1024 * 1024
"""Maximum bytes of a part. A part is held in memory, and platforms limit the size of requests (Cloudflare: 100 MB)."""


class Part(NamedTuple):
    """Consecutive rows of a table as a complete table, including its header."""

    number: int
    first_row: int
    rows: int
    body: bytes
    file_format: FileFormat
    source_format: FileFormat
    """Format of the whole file."""
    omitted_columns: Collection[str] = ()
    """Columns of the file that no part has, because no format can hold their types."""

    def __str__(self) -> str:
        return f"rows {self.first_row:,} to {self.first_row + self.rows - 1:,}"


def split(source: Source, part_rows: int, settings: Settings, delimiter: str | None = None) -> Iterator[Part]:
    """Yield the parts of a table, at least one.

    A part has at most `part_rows` rows and PART_BYTES bytes; a part of one row may be larger. The same file and options
    always give the same parts. Raises RequestError.
    """
    peeked = begin(source)
    source_format = file_format = detect_format(peeked.first)
    omitted_columns: Collection[str] = ()
    if file_format is CSV:
        pieces = _csv_parts(peeked, part_rows, delimiter)
    elif file_format is NDJSON:
        pieces = _line_parts(peeked, part_rows)
    else:
        file_format = ARROW
        table = open_typed(peeked, source_format, limits(settings, 0))
        omitted_columns = table.omitted_columns.keys()
        pieces = _closing(table, _batch_parts(table, part_rows))
    first_row = 1
    for number, (rows, body) in enumerate(pieces):
        yield Part(number, first_row, rows, body, file_format, source_format, omitted_columns)
        first_row += rows


_Pieces = Iterator[tuple[int, bytes]]


def _csv_parts(source: Source, part_rows: int, delimiter: str | None) -> _Pieces:
    records = CsvRecords(source)
    header = records.header()
    stated_delimiter = records.stated_delimiter
    records.delimiter = (delimiter or stated_delimiter or guess_delimiter(header)).encode()
    if stated_delimiter is not None:
        header = f"sep={stated_delimiter}\n".encode() + header
    header += b"\n"
    buffer, rows, size, has_parts = [header], 0, 0, False
    for text, ends in records.blocks():
        start = begins = 0
        while start < len(ends):
            stop = min(len(ends), start + part_rows - rows)
            room = max(int(ends.searchsorted(begins + PART_BYTES - size, "right")), start if rows else start + 1)
            stop = min(stop, room)
            if stop > start:
                buffer.append(text[begins : int(ends[stop - 1])])
                size += len(buffer[-1])
                rows, start, begins = rows + stop - start, stop, int(ends[stop - 1])
            if rows == part_rows or start < len(ends):
                yield rows, b"".join(buffer)
                buffer, rows, size, has_parts = [header], 0, 0, True
    if rows or not has_parts:
        yield rows, b"".join(buffer)


def _line_parts(source: Source, part_rows: int) -> _Pieces:
    buffer: list[bytes] = []
    size = 0
    for block in lines(source):
        for line in block:
            if buffer and (len(buffer) == part_rows or size + len(line) >= PART_BYTES):
                yield len(buffer), b"\n".join(buffer) + b"\n"
                buffer, size = [], 0
            buffer.append(line)
            size += len(line) + 1
    if buffer:
        yield len(buffer), b"\n".join(buffer) + b"\n"


def _closing(table: ArrowTable, pieces: _Pieces) -> _Pieces:
    try:
        yield from pieces
    finally:
        table.close()


def _batch_parts(table: ArrowTable, part_rows: int) -> _Pieces:
    buffer: list[RecordBatch] = []
    rows, size, has_parts = 0, 0, False
    for block in table.blocks():
        batch = RecordBatch.from_arrays(block.passed_columns(table.names, as_text=False), schema=table.schema)
        row_bytes = max(batch.nbytes / batch.num_rows, 1)
        start = 0
        while start < batch.num_rows:
            room = max(int((PART_BYTES - size) / row_bytes), 0 if rows else 1)
            row_count = min(batch.num_rows - start, part_rows - rows, room)
            if row_count:
                buffer.append(batch.slice(start, row_count))
                rows, size, start = rows + row_count, size + int(row_count * row_bytes), start + row_count
            if rows == part_rows or start < batch.num_rows:
                yield rows, _stream(table.schema, buffer)
                buffer, rows, size, has_parts = [], 0, 0, True
    if rows or not has_parts:
        yield rows, _stream(table.schema, buffer)


def _stream(schema: Schema, batches: list[RecordBatch]) -> bytes:
    out = io.BytesIO()
    write_ipc_stream(RecordBatchReader.from_batches(schema, batches), out)
    return out.getvalue()

"""Split of a table's file into parts; each part is a complete table."""

import io
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from arro3.core import RecordBatch, RecordBatchReader, Schema
from arro3.io import write_ipc_stream

from server.batch.job import limits
from server.codecs.tables.csv import guess
from server.codecs.tables.csv_records import CsvRecords
from server.codecs.tables.detect import begin, open_typed, sniffed
from server.codecs.tables.media_types import ARROW, CSV, NDJSON, Form
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
    form: Form
    file_form: Form
    """Format of the whole file."""
    left_out: Collection[str] = ()
    """Columns of the file that no part has, because no format can hold their types."""

    def __str__(self) -> str:
        return f"rows {self.first_row:,} to {self.first_row + self.rows - 1:,}"


def split(source: Source, part_rows: int, settings: Settings, delimiter: str | None = None) -> Iterator[Part]:
    """Yield the parts of a table, at least one.

    A part has at most `part_rows` rows and PART_BYTES bytes; a part of one row may be larger. The same file and options
    always give the same parts. Raises RequestError.
    """
    begun = begin(source)
    file_form = form = sniffed(begun.first)
    left_out: Collection[str] = ()
    if form is CSV:
        pieces = _of_csv(begun, part_rows, delimiter)
    elif form is NDJSON:
        pieces = _of_lines(begun, part_rows)
    else:
        form = ARROW
        table = open_typed(begun, file_form, limits(settings, 0))
        left_out = table.left_out.keys()
        pieces = _closing(table, _of_batches(table, part_rows))
    first_row = 1
    for number, (rows, body) in enumerate(pieces):
        yield Part(number, first_row, rows, body, form, file_form, left_out)
        first_row += rows


_Pieces = Iterator[tuple[int, bytes]]


def _of_csv(source: Source, part_rows: int, delimiter: str | None) -> _Pieces:
    records = CsvRecords(source)
    header = records.header()
    stated = records.stated_delimiter
    records.delimiter = (delimiter or stated or guess(header)).encode()
    if stated is not None:
        header = f"sep={stated}\n".encode() + header
    header += b"\n"
    held, rows, size, any_yet = [header], 0, 0, False
    for text, ends in records.blocks():
        start = begins = 0
        while start < len(ends):
            stop = min(len(ends), start + part_rows - rows)
            room = max(int(ends.searchsorted(begins + PART_BYTES - size, "right")), start if rows else start + 1)
            stop = min(stop, room)
            if stop > start:
                held.append(text[begins : int(ends[stop - 1])])
                size += len(held[-1])
                rows, start, begins = rows + stop - start, stop, int(ends[stop - 1])
            if rows == part_rows or start < len(ends):
                yield rows, b"".join(held)
                held, rows, size, any_yet = [header], 0, 0, True
    if rows or not any_yet:
        yield rows, b"".join(held)


def _of_lines(source: Source, part_rows: int) -> _Pieces:
    held: list[bytes] = []
    size = 0
    for some in lines(source):
        for line in some:
            if held and (len(held) == part_rows or size + len(line) >= PART_BYTES):
                yield len(held), b"\n".join(held) + b"\n"
                held, size = [], 0
            held.append(line)
            size += len(line) + 1
    if held:
        yield len(held), b"\n".join(held) + b"\n"


def _closing(table: ArrowTable, pieces: _Pieces) -> _Pieces:
    try:
        yield from pieces
    finally:
        table.close()


def _of_batches(table: ArrowTable, part_rows: int) -> _Pieces:
    held: list[RecordBatch] = []
    rows, size, any_yet = 0, 0, False
    for block in table.blocks():
        batch = RecordBatch.from_arrays(block.passed(table.names, as_text=False), schema=table.schema)
        row_bytes = max(batch.nbytes / batch.num_rows, 1)
        start = 0
        while start < batch.num_rows:
            room = max(int((PART_BYTES - size) / row_bytes), 0 if rows else 1)
            taken = min(batch.num_rows - start, part_rows - rows, room)
            if taken:
                held.append(batch.slice(start, taken))
                rows, size, start = rows + taken, size + int(taken * row_bytes), start + taken
            if rows == part_rows or start < batch.num_rows:
                yield rows, _stream(table.schema, held)
                held, rows, size, any_yet = [], 0, 0, True
    if rows or not any_yet:
        yield rows, _stream(table.schema, held)


def _stream(schema: Schema, batches: list[RecordBatch]) -> bytes:
    out = io.BytesIO()
    write_ipc_stream(RecordBatchReader.from_batches(schema, batches), out)
    return out.getvalue()

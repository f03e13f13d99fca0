"""A table's file to parts, each a table of its own that any service can be sent."""

import io
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

from arro3.core import RecordBatch, RecordBatchReader, Schema
from arro3.io import read_ipc_stream, read_parquet, write_ipc_stream, write_parquet

from server.errors import InvalidArgument
from server.tables.blocks import Source
from server.tables.csv import CsvRecords, guess
from server.tables.formats import Begun, sniffed
from server.tables.forms import ARROW, CSV, NDJSON, Form
from server.tables.ndjson import lines
from server.tables.parquet import spooled


class Part(NamedTuple):
    """Some rows of a table, with whatever makes them one."""

    number: int
    first_row: int
    rows: int
    body: bytes
    form: Form


def split(source: Source, part_rows: int, max_bytes: int, delimiter: str | None = None) -> Iterator[Part]:
    """Yield the parts of a table of at most `part_rows` rows; at least one. Raises InvalidArgument."""
    begun = Begun(source)
    if not begun.first:
        raise InvalidArgument("expected rows; the file is empty")
    form = sniffed(begun.first)
    if form is CSV:
        pieces = _of_csv(begun, part_rows, delimiter)
    elif form is NDJSON:
        pieces = _of_lines(begun, part_rows)
    else:
        reader = read_ipc_stream(_file(begun)) if form is ARROW else read_parquet(spooled(begun, max_bytes))
        pieces, form = _of_batches(reader, part_rows), ARROW
    first_row = 1
    for number, (rows, body) in enumerate(pieces):
        yield Part(number, first_row, rows, body, form)
        first_row += rows


_Pieces = Iterator[tuple[int, bytes]]


def _of_csv(source: Source, part_rows: int, delimiter: str | None) -> _Pieces:
    records = CsvRecords(source)
    header = records.header()
    records.delimiter = (delimiter or guess(header)).encode()
    header += b"\n"
    held, rows, any_yet = [header], 0, False
    for text, ends in records.blocks():
        start = 0
        while start < len(ends):
            stop = min(len(ends), start + part_rows - rows)
            held.append(text[int(ends[start - 1]) if start else 0 : int(ends[stop - 1])])
            rows, start = rows + stop - start, stop
            if rows == part_rows:
                yield rows, b"".join(held)
                held, rows, any_yet = [header], 0, True
    if rows or not any_yet:
        yield rows, b"".join(held)


def _of_lines(source: Source, part_rows: int) -> _Pieces:
    held: list[bytes] = []
    for some in lines(source):
        held += some
        while len(held) >= part_rows:
            yield part_rows, b"\n".join(held[:part_rows]) + b"\n"
            del held[:part_rows]
    if held:
        yield len(held), b"\n".join(held) + b"\n"


def _of_batches(reader: RecordBatchReader, part_rows: int) -> _Pieces:
    held: list[RecordBatch] = []
    rows, any_yet = 0, False
    for batch in reader:
        start = 0
        while start < batch.num_rows:
            taken = min(batch.num_rows - start, part_rows - rows)
            held.append(batch.slice(start, taken))
            rows, start = rows + taken, start + taken
            if rows == part_rows:
                yield rows, _stream(reader.schema, held)
                held, rows, any_yet = [], 0, True
    if rows or not any_yet:
        yield rows, _stream(reader.schema, held)


def _stream(schema: Schema, batches: list[RecordBatch]) -> bytes:
    out = io.BytesIO()
    write_ipc_stream(RecordBatchReader.from_batches(schema, batches), out)
    return out.getvalue()


def join(parts: list[Any], form: Form, out: Any) -> None:  # noqa: ANN401 # paths, and a file to write
    """Write the tables in the files `parts`, all in one form and of the same columns, as one table."""
    if form in {CSV, NDJSON}:
        for number, part in enumerate(parts):
            with part.open("rb") as file:
                records = CsvRecords(_Plain(file)) if form is CSV and number else None
                if records is not None:
                    records.header()
                    out.write(records.rest())
                while data := file.read(1024 * 1024):
                    out.write(data)
        return
    read = read_ipc_stream if form is ARROW else read_parquet
    write = write_ipc_stream if form is ARROW else write_parquet
    batches = chain.from_iterable(read(str(part)) for part in parts)
    first = next(batches, None)
    schema = first.schema if first is not None else read(str(parts[0])).schema
    write(RecordBatchReader.from_batches(schema, chain([] if first is None else [first], batches)), _Out(out))  # type: ignore[arg-type] # lazily, from any iterator


class _Plain:
    """A file as a source."""

    failure: Exception | None = None

    def __init__(self, file: Any) -> None:  # noqa: ANN401
        self.read = file.read


def _file(source: Source) -> Any:  # noqa: ANN401
    return _Out(source)


class _Out:
    """What the library takes for a file."""

    def __init__(self, file: Any) -> None:  # noqa: ANN401
        self.read = getattr(file, "read", None)
        self.write = getattr(file, "write", None)
        self.flush = getattr(file, "flush", None)

    def seek(self, *_where: int) -> int:
        """Refuse."""
        raise OSError("a stream can't be sought in")

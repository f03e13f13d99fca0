"""Merge of scored parts into one table, with the counts of all parts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arro3.core import Field, RecordBatch, RecordBatchReader, Schema
from arro3.io import read_ipc_stream, read_parquet

from server.batch.cli.checkpoint import PartsError
from server.batch.scorer import Counts
from server.batch.writer import PREFIX
from server.codecs.tables.arrow import IpcWriter
from server.codecs.tables.arrow_numpy import no_rows
from server.codecs.tables.csv_records import CsvRecords
from server.codecs.tables.limits import ARROW_ROWS
from server.codecs.tables.media_types import ARROW, CSV, NDJSON, PARQUET, FileFormat
from server.codecs.tables.parquet import ParquetWriter
from server.codecs.tables.table import Sink

_COPY_BYTES = 1024 * 1024


def merge_parts(parts: list[Path], file_format: FileFormat, out: Sink, counts: Counts) -> None:
    """Write the tables in the files `parts`, all in `file_format`, as one table.

    Raises PartsError if their columns differ, and OSError.
    """
    if file_format in {CSV, NDJSON}:
        _merge_text(parts, file_format, out)
        return
    schemas = [_schema(_reader(part, file_format)) for part in parts]
    for part, schema in zip(parts, schemas, strict=True):
        _check(part, schema == schemas[0])
    write(schemas[0], (batch for part in parts for batch in _batches(part, file_format)), file_format, out, counts)


def as_parquet(stream: Any, out: Sink, counts: Counts) -> None:  # noqa: ANN401 # a file
    """Write an Arrow stream as a Parquet file."""
    reader = read_ipc_stream(stream)
    schema = _schema(reader)
    write(schema, (batch.with_schema(schema) for batch in reader), PARQUET, out, counts)


def write(schema: Schema, batches: Iterator[RecordBatch], file_format: FileFormat, out: Sink, counts: Counts) -> None:
    """Write a table as Arrow or Parquet."""
    metadata = {PREFIX + name: number for name, number in counts.as_dict().items()}
    if file_format is ARROW:
        writer, empty = IpcWriter(), no_rows(schema)
        out.write(writer.header(empty))
        for batch in batches:
            if batch.num_rows:
                out.write(writer.rows(batch))
        out.write(writer.metadata(empty, {name: str(number) for name, number in metadata.items()}) + writer.end())
        return
    ParquetWriter(out).write(schema, batches, lambda: metadata)


def _merge_text(parts: list[Path], file_format: FileFormat, out: Sink) -> None:
    first = b""
    for number, part in enumerate(parts):
        with part.open("rb") as file:
            if file_format is CSV:
                records = CsvRecords(Plain(file))
                header = records.header()
                first = first or header
                _check(part, header == first)
                out.write((b"" if number else header + b"\n") + records.rest())
            while data := file.read(_COPY_BYTES):
                out.write(data)


def _check(part: Path, fits: bool) -> None:
    if not fits:
        message = "its columns differ from the first part's: its first lines have other fields or types"
        raise PartsError(f"{part}: {message}; select columns with --columns, or write the parts to a folder")


def _batches(part: Path, file_format: FileFormat) -> Iterator[RecordBatch]:
    reader = _reader(part, file_format)
    try:
        schema = _schema(reader)
        for batch in reader:
            yield batch.with_schema(schema)
    except Exception as error:  # noqa: BLE001 # the library raises Exception itself
        raise _unreadable(part, error) from None


def _reader(part: Path, file_format: FileFormat) -> RecordBatchReader:
    try:
        return read_ipc_stream(str(part)) if file_format is ARROW else read_parquet(str(part), batch_size=ARROW_ROWS)
    except Exception as error:  # noqa: BLE001 # the library raises Exception itself
        raise _unreadable(part, error) from None


def _schema(reader: RecordBatchReader) -> Schema:
    """Return a table's schema without its metadata, which holds the counts of one part."""
    schema = reader.schema
    return Schema([Field(name, schema.field(name).type, nullable=True) for name in schema.names])


def _unreadable(part: Path, error: Exception) -> PartsError:
    return PartsError(f"{part}: it can't be read ({str(error)[:100]}); delete it, and the same command writes it again")


class Plain:
    """A file as a `Source`."""

    failure: Exception | None = None

    def __init__(self, file: Any) -> None:  # noqa: ANN401
        """Read `file`."""
        self.read = file.read

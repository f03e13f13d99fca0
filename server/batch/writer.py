"""Writer of scored blocks as a stream of bytes in the requested format."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from arro3.core import RecordBatch, Schema

from server.batch.scorer import ScoredBlock, Scorer
from server.codecs.tables.arrow import IpcWriter
from server.codecs.tables.csv import CsvWriter, escape_formulas
from server.codecs.tables.csv_text import POINT
from server.codecs.tables.media_types import ARROW, CSV, NDJSON, FileFormat
from server.codecs.tables.ndjson import NdjsonWriter
from server.codecs.tables.parquet import ParquetWriter
from server.codecs.tables.representable import check_text
from server.codecs.tables.table import Sink, check, is_nested, unwritable
from server.errors import InvalidArgument, RequestError

Notes = Mapping[str, int]
PREFIX = "lifeboat."


class Writer:
    """Writer of one scored table."""

    def __init__(  # noqa: PLR0913 # options of the response
        self,
        scorer: Scorer,
        file_format: FileFormat,
        sink: Sink,
        *,
        delimiter: str = ",",
        decimal: str = POINT,
        as_text: bool = False,
    ) -> None:
        """Write the blocks of `scorer` to `sink` in `file_format`.

        `delimiter` and `decimal` apply to CSV. `as_text`: text columns of a CSV file are passed on unchanged, even if a
        feature has a number's type. Raises InvalidArgument, naming the column, if the format can't hold a column.
        """
        self._scorer = scorer
        self._file_format = file_format
        self._sink = sink
        self._as_text = as_text and file_format is CSV
        self._csv = CsvWriter(delimiter, decimal)
        self._ipc = IpcWriter()
        self._ndjson = NdjsonWriter()
        if file_format is not NDJSON:
            self._empty = scorer.empty().batch(as_text=self._as_text)
        if file_format is CSV:
            _check_flat(self._empty)
        self._header = self._header_bytes()

    def write(self, *, summary: bool = False) -> None:
        """Write all rows and the counts. CSV and NDJSON hold the counts only with `summary`."""
        self._sink.write(self._header)
        blocks = self._blocks()
        if self._file_format not in {CSV, NDJSON, ARROW}:
            self._write_parquet(blocks)
            return
        for data in map(self._rows, blocks):
            self._sink.write(data)
        self._sink.write(self._end(summary=summary))

    def _header_bytes(self) -> bytes:
        """Return the bytes before the first row."""
        if self._file_format is CSV:
            return self._write_named(
                self._csv.header, self._with_headings(self._empty) if self._as_text else self._empty
            )
        with _client_errors(self._file_format):
            return self._ipc.header(self._empty) if self._file_format is ARROW else b""

    def _with_headings(self, batch: RecordBatch) -> RecordBatch:
        """Return a batch with the column names of the file, which may repeat in CSV."""
        headings, file_schema = self._scorer.headings, batch.schema  # read once: each access copies the schema
        fields = [file_schema.field(index) for index in range(len(file_schema))]
        schema = Schema([field.with_name(headings.get(field.name, field.name)) for field in fields])
        return RecordBatch.from_arrays(batch.columns, schema=schema)

    def _blocks(self) -> Iterator[ScoredBlock]:
        for scored in self._scorer:
            check(self._sink)
            yield scored
            del scored  # release its record batch before the next one is read

    def _rows(self, scored: ScoredBlock) -> bytes:
        with _client_errors(self._file_format):
            lines = scored.lines(passes_all=self._scorer.passes_all) if self._file_format is NDJSON else None
            if lines is not None:
                return self._ndjson.append_predictions(lines, scored.predictions)
            batch = scored.batch(as_text=self._as_text)
        return self._ipc.rows(batch) if self._file_format is ARROW else self._as_text_rows(batch)

    def _as_text_rows(self, batch: RecordBatch) -> bytes:
        """Return the rows as CSV or NDJSON.

        Raises InvalidArgument, naming the column, if text can't hold one of its values.
        """
        for name in self._scorer.passed_names:
            check_text(name, batch.column(name), infinity=self._file_format is CSV)
        if self._file_format is CSV and self._scorer.may_be_formulas:
            batch = escape_formulas(batch, len(self._scorer.passed_names))
        return self._write_named(self._csv.rows if self._file_format is CSV else self._ndjson.rows, batch)

    def _write_named(self, write: Callable[[RecordBatch], bytes], batch: RecordBatch) -> bytes:
        """Return the bytes of a batch from `write`.

        Raises InvalidArgument, naming the column that `write` can't write.
        """
        try:
            with _client_errors(self._file_format):
                return write(batch)
        except InvalidArgument:
            for name in batch.column_names:
                with _client_errors(self._file_format, name):
                    write(batch.select([name]))
            raise

    def _end(self, *, summary: bool) -> bytes:
        counts = self._scorer.counts.as_dict()
        if self._file_format is ARROW:
            metadata = {PREFIX + name: str(number) for name, number in counts.items()}
            return self._ipc.metadata(self._empty, metadata) + self._ipc.end()
        if not summary:
            return b""
        if self._file_format is CSV:
            return b"# " + ", ".join(f"{name}={number}" for name, number in counts.items()).encode() + b"\n"
        return self._ndjson.record({"summary": counts})

    def error_bytes(self, error: RequestError) -> bytes:
        """Return the bytes that state `error` at the end of an aborted stream. Empty for Parquet."""
        if self._file_format is CSV:
            return b"# error: " + b" ".join(error.message.encode().split()) + b"\n"
        if self._file_format is NDJSON:
            return error.envelope() + b"\n"
        if self._file_format is ARROW:
            return self._ipc.metadata(self._empty, {PREFIX + "error": error.message})
        return b""

    def _write_parquet(self, blocks: Iterator[ScoredBlock]) -> None:
        """Write the blocks as Parquet; the library pulls them."""

        def counts() -> dict[str, int]:
            return {PREFIX + name: number for name, number in self._scorer.counts.as_dict().items()}

        batches = (scored.batch() for scored in blocks)
        ParquetWriter(self._sink).write(self._empty.schema, batches, counts)


@contextmanager
def _client_errors(file_format: FileFormat, column: str = "columns") -> Iterator[None]:
    """Convert a library's error or panic about an unwritable value to the client's error."""
    try:
        yield
    except (RequestError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 # panics are not subclasses of Exception
        raise unwritable(file_format.name, error, column) from None


def _check_flat(batch: Any) -> None:  # noqa: ANN401
    for name, array in zip(batch.column_names, batch.columns, strict=True):
        if is_nested(array.type):
            message = "expected no lists or structures: CSV can't hold them; ?columns= leaves it out"
            raise InvalidArgument(f"{name}: {message}", field=name)

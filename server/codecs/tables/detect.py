"""Detect a table's format by its first bytes, and choose its reader."""

from codecs import BOM_UTF8
from collections.abc import Collection
from typing import Final, NamedTuple

from server.codecs.records import RecordDecoder
from server.codecs.tables import compression
from server.codecs.tables import spooled as files
from server.codecs.tables.arrow import IpcTable, messages
from server.codecs.tables.arrow_messages import FILE_MAGIC, MARKER, CheckedMessages, RelayedMessages
from server.codecs.tables.csv import CsvTable
from server.codecs.tables.csv_text import CSV_TEXT, TextFormat
from server.codecs.tables.limits import Limits
from server.codecs.tables.media_types import ARROW, CSV, NDJSON, PARQUET, FileFormat
from server.codecs.tables.ndjson import NdjsonTable
from server.codecs.tables.parquet import MAGIC, ParquetTable
from server.codecs.tables.table import ArrowTable, Source, Table, check
from server.codecs.tables.unknown_formats import check_is_text
from server.errors import InvalidArgument
from server.models.signature import Signature

_PEEKED_BYTES: Final = 64
FORM_ENCODED: Final = "curl -d @file removes line ends: use --data-binary @file, or -T file"
"""Advice for a body sent as application/x-www-form-urlencoded."""


class ReadOptions(NamedTuple):
    """Options and limits for reading a table."""

    signature: Signature
    reserved_names: Collection[str]
    """Columns that the response adds: no table may already have them."""
    delimiter: str | None
    max_string_bytes: int
    max_json_depth: int
    has_columns: bool
    """Whether the response has columns: then the first lines of NDJSON determine them."""
    limits: Limits
    text: TextFormat = CSV_TEXT
    """Rules for nulls and numbers in CSV."""
    needed: Collection[str] | None = None
    """Columns whose values are needed, None: all."""
    is_form_encoded: bool = False
    """Whether the body is from `curl -d`, which removes a file's line ends."""


def open_table(source: Source, file_format: FileFormat | None, options: ReadOptions) -> tuple[Table, FileFormat]:
    """Read a table's header in the stated format, else in the detected format.

    A compressed stream is decompressed even if the client did not state the encoding. Raises RequestError.
    """
    peeked = begin(source)
    if file_format in {CSV, NDJSON}:
        check_is_text(peeked.first)
    file_format = file_format or detect_format(peeked.first)
    table = _open(peeked, file_format, options)
    try:
        table.prepare(options.signature, options.reserved_names, options.max_string_bytes)
    except BaseException:
        table.close()
        raise
    return table, file_format


def begin(source: Source) -> "PeekedSource":
    """Begin to read a stream, and decompress it if it is compressed.

    Raises InvalidArgument if the stream is empty.
    """
    peeked = PeekedSource(source)
    for magic, encoding in ((compression.GZIP_MAGIC, "gzip"), (compression.ZSTD_MAGIC, "zstd")):
        if peeked.first.startswith(magic):
            peeked = PeekedSource(compression.DecompressingSource(peeked, encoding))
            break
    if not peeked.first:
        raise InvalidArgument("body: expected rows; it is empty")
    return peeked


def _open(source: "PeekedSource", file_format: FileFormat, options: ReadOptions) -> Table:
    if file_format is CSV:
        table = CsvTable(source, options.delimiter, options.signature.by_name, options.limits, options.text)
        if options.is_form_encoded and table.is_one_line:
            raise InvalidArgument(f"body: expected rows after the header; there is no line end. {FORM_ENCODED}")
        return table
    if file_format is NDJSON:
        records = RecordDecoder(options.signature, 1, options.max_string_bytes, options.max_json_depth)
        return NdjsonTable(source, records, options.reserved_names, options.limits, has_columns=options.has_columns)
    return open_typed(source, file_format, options.limits, options.needed)


def open_typed(
    source: "PeekedSource", file_format: FileFormat, limits: Limits, needed: Collection[str] | None = None
) -> ArrowTable:
    """Read the header of an Arrow or Parquet table. Raises RequestError.

    Columns that are not `needed` may be null; None: all columns are needed.
    """
    if file_format is not ARROW:
        return ParquetTable(source, limits, needed)
    if source.first.startswith(FILE_MAGIC) and not source.first.startswith(FILE_MAGIC + MARKER):
        return files.IsolatedTable(source, files.spool(source, limits.max_spool_bytes), "ipc", limits, needed)
    stream = messages(source, limits)
    if stream.layout.is_plain:
        return IpcTable(CheckedMessages(stream))
    return files.IsolatedTable(source, RelayedMessages(stream), "stream", limits, needed)


def detect_format(first: bytes) -> FileFormat:
    """Return the format that a stream's first bytes suggest."""
    if first.startswith(MAGIC):
        return PARQUET
    if first.startswith((MARKER, FILE_MAGIC)):
        return ARROW
    check_is_text(first)
    text = first.removeprefix(BOM_UTF8).lstrip()
    if text.startswith(b"["):
        raise InvalidArgument("body: expected one JSON object a line; got an array")
    return NDJSON if text.startswith(b"{") else CSV


class PeekedSource:
    """A stream whose first bytes can be inspected before they are read."""

    def __init__(self, source: Source) -> None:
        """Read the first bytes of `source` into `first`, which is empty for an empty stream."""
        self._source = source
        self.first = b""
        while len(self.first) < _PEEKED_BYTES and (data := source.read(_PEEKED_BYTES - len(self.first))):
            self.first += data
        self._buffer = self.first

    @property
    def failure(self) -> Exception | None:
        """Error that ended the stream, or None."""
        return self._source.failure

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes."""
        check(self._source)
        if not self._buffer:
            return self._source.read(size)
        size = len(self._buffer) if size < 0 else size
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data


__all__ = [
    "ARROW",
    "CSV",
    "NDJSON",
    "PARQUET",
    "FileFormat",
    "PeekedSource",
    "ReadOptions",
    "begin",
    "detect_format",
    "open_table",
    "open_typed",
]

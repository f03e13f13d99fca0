"""What a table may be written as: how each is known by its first bytes, and what reads it."""

from codecs import BOM_UTF8
from collections.abc import Collection
from typing import Final, NamedTuple

from server.errors import InvalidArgument
from server.records import RecordDecoder
from server.signature import Signature
from server.tables import files, packing
from server.tables.arrow import IpcTable
from server.tables.blocks import ArrowTable, Source, Table
from server.tables.csv import CsvTable
from server.tables.forms import ARROW, CSV, NDJSON, PARQUET, Form
from server.tables.ipc import FILE_MAGIC, MARKER
from server.tables.ndjson import NdjsonTable
from server.tables.parquet import MAGIC, ParquetTable

_SNIFFED_BYTES: Final = 64


class Reading(NamedTuple):
    """What a table is read by, and within which limits."""

    signature: Signature
    added: Collection[str]
    """The columns that the answers have: no table may have them already."""
    delimiter: str | None
    max_string_bytes: int
    max_json_depth: int
    max_block_bytes: int
    """Bytes that one record batch of an Arrow stream may have, and half of what a Parquet file may be unpacked in."""
    has_columns: bool
    """Whether the answer is to have columns: then the first lines of NDJSON must tell which."""
    max_spool_bytes: int
    """Bytes that a file may have whose index stands at its end: Parquet, and some of Arrow's."""


def open_table(source: Source, form: Form | None, reading: Reading) -> tuple[Table, Form]:
    """Read a table's header, in the form it is said to be in, else the one that it looks to be in.

    A stream that is packed though nobody said so is unpacked. Raises RequestError.
    """
    begun = begin(source)
    form = form or sniffed(begun.first)
    table = _open(begun, form, reading)
    try:
        table.prepare(reading.signature, reading.added, reading.max_string_bytes)
    except BaseException:
        table.close()
        raise
    return table, form


def begin(source: Source) -> "Begun":
    """Begin to read a stream, which is unpacked where it is packed. Raises InvalidArgument where it is empty."""
    begun = Begun(source)
    for magic, encoding in ((packing.GZIP_MAGIC, "gzip"), (packing.ZSTD_MAGIC, "zstd")):
        if begun.first.startswith(magic):
            begun = Begun(packing.Unpacked(begun, encoding))
            break
    if not begun.first:
        raise InvalidArgument("body: expected rows; it is empty")
    return begun


def _open(source: "Begun", form: Form, reading: Reading) -> Table:
    if form is CSV:
        return CsvTable(source, reading.delimiter, reading.signature.by_name)
    if form is NDJSON:
        records = RecordDecoder(reading.signature, 1, reading.max_string_bytes, reading.max_json_depth)
        return NdjsonTable(source, records, reading.added, has_columns=reading.has_columns)
    return open_typed(source, form, reading.max_block_bytes, reading.max_spool_bytes)


def open_typed(source: "Begun", form: Form, max_block_bytes: int, max_spool_bytes: int) -> ArrowTable:
    """Read the header of a table whose columns have types: Arrow or Parquet. Raises RequestError."""
    if form is ARROW and source.first.startswith(FILE_MAGIC) and not source.first.startswith(FILE_MAGIC + MARKER):
        spool = files.spooled(source, max_spool_bytes)
        return files.FileTable(source, spool, "ipc", max_block_bytes)
    if form is ARROW:
        return IpcTable(source, max_block_bytes)
    return ParquetTable(source, max_spool_bytes, max_block_bytes)


def sniffed(first: bytes) -> Form:
    """Return what a stream that begins so looks to be."""
    if first.startswith(MAGIC):
        return PARQUET
    if first.startswith((MARKER, FILE_MAGIC)):
        return ARROW
    text = first.removeprefix(BOM_UTF8).lstrip()
    if text.startswith(b"["):
        raise InvalidArgument("body: expected one JSON object a line; got an array")
    return NDJSON if text.startswith(b"{") else CSV


class Begun:
    """A stream whose first bytes can be looked at before they are read."""

    def __init__(self, source: Source) -> None:
        """Take some bytes from `source`; `first` is empty where there are none."""
        self._source = source
        self.first = b""
        while len(self.first) < _SNIFFED_BYTES and (data := source.read(_SNIFFED_BYTES - len(self.first))):
            self.first += data
        self._held = self.first

    @property
    def failure(self) -> Exception | None:
        """What ended the stream."""
        return self._source.failure

    def read(self, size: int = -1, /) -> bytes:
        """Return some bytes, at most `size`."""
        if not self._held:
            return self._source.read(size)
        size = len(self._held) if size < 0 else size
        data, self._held = self._held[:size], self._held[size:]
        return data


__all__ = [
    "ARROW",
    "CSV",
    "NDJSON",
    "PARQUET",
    "Begun",
    "Form",
    "Reading",
    "begin",
    "open_table",
    "open_typed",
    "sniffed",
]

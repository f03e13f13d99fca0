"""Recognise files that are no table of a known format, by their first bytes."""

from typing import Final

from server.errors import InvalidArgument

_SIGNATURES: Final = (
    (b"PK\x03\x04", "a ZIP file or an Excel workbook (.xlsx)", "save it as CSV"),
    (b"PK\x05\x06", "an empty ZIP file", "send the file inside"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (.xls)", "save it as CSV"),
    (b"SQLite format 3\0", "an SQLite database", "export the table as CSV"),
    (b"FEA1", "a Feather file of version 1", "write version 2, which is Arrow IPC"),
    (b"PARE", "a Parquet file with an encrypted footer", "write it without encryption"),
    (b"Obj\x01", "an Avro file", "write it as Parquet or Arrow"),
    (b"BZh", "a bzip2 file", "compress it by gzip or zstd"),
    (b"\xfd7zXZ\0", "an xz file", "compress it by gzip or zstd"),
    (b"\x04\x22\x4d\x18", "an LZ4 file", "compress it by gzip or zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip file", "send the file inside"),
    (b"Rar!\x1a\x07", "a RAR file", "send the file inside"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "write it as Parquet or Arrow"),
    (b"\x93NUMPY", "a NumPy file", "write it as CSV, with column names"),
    (b"\x80\x04\x95", "a Python pickle", "write it as Parquet or CSV"),
    (b"\x80\x05\x95", "a Python pickle", "write it as Parquet or CSV"),
    (b"RDX", "an R data file", "write it as CSV"),
    (b"\x89PNG", "a PNG image", "send a table"),
    (b"%PDF-", "a PDF document", "send a table"),
    (b"\xff\xfe\0\0", "text in UTF-32", "save it in UTF-8"),
    (b"\0\0\xfe\xff", "text in UTF-32", "save it in UTF-8"),
    (b"\xff\xfe", "text in UTF-16", "save it in UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "save it in UTF-8"),
)
_ORC: Final = b"ORC"
_MARKUP: Final = (b"<!doctype html", b"<html", b"<?xml")
_TEXT_CONTROLS: Final = frozenset(b"\t\n\v\f\r\x1a\x1b")
_MIN_WIDE_BYTES: Final = 4
_STRAY_NULS: Final = 1
"""NUL bytes that text may contain by accident. Column names and values are checked for them later."""


def check_is_text(first: bytes) -> None:
    """Raise InvalidArgument if a body for CSV or NDJSON is another kind of file."""
    kind_and_advice = _kind(first)
    if kind_and_advice is not None:
        kind, advice = kind_and_advice
        raise InvalidArgument(f"body: expected CSV, NDJSON, Arrow or Parquet; this looks like {kind}: {advice}")


def _kind(first: bytes) -> tuple[str, str] | None:
    """Return the kind of file and advice for the client; None for text."""
    for signature, kind, advice in _SIGNATURES:
        if first.startswith(signature):
            return kind, advice
    is_binary = any(byte < ord(" ") and byte not in _TEXT_CONTROLS for byte in first)
    if first.startswith(_ORC) and is_binary:
        return "an ORC file", "write it as Parquet or Arrow"
    if first.lstrip().lower().startswith(_MARKUP):
        return "an HTML or XML document", "send a table"
    if b"\0" in first and _is_wide(first):
        return "text in UTF-16 or UTF-32", "save it in UTF-8"
    if first.count(b"\0") > _STRAY_NULS:
        return "a binary file", "write it as CSV, Arrow or Parquet"
    return None


def _is_wide(first: bytes) -> bool:
    """Return True if every other byte is NUL: UTF-16 or UTF-32 without a mark."""
    even, odd = first[: len(first) // 2 * 2 : 2], first[1::2]
    return len(first) >= _MIN_WIDE_BYTES and (not any(even) or not any(odd))

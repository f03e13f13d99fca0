"""Table formats by name and media type. Imports nothing: the start needs it."""

from typing import Final, NamedTuple


class FileFormat(NamedTuple):
    """One format of a table."""

    name: str
    media_type: str
    """Content type of a response in this format."""
    aliases: tuple[str, ...]
    """Other accepted content types of a body in this format."""
    suffixes: tuple[str, ...]
    """File name extensions of this format."""


CSV: Final = FileFormat("csv", "text/csv", ("application/csv",), (".csv", ".tsv", ".txt"))
NDJSON: Final = FileFormat(
    "ndjson",
    "application/x-ndjson",
    ("application/ndjson", "application/jsonl", "application/x-jsonlines", "application/jsonlines"),
    (".ndjson", ".jsonl"),
)
ARROW: Final = FileFormat(
    "arrow",
    "application/vnd.apache.arrow.stream",
    ("application/vnd.apache.arrow.file",),
    (".arrow", ".arrows", ".feather", ".ipc"),
)
PARQUET: Final = FileFormat(
    "parquet", "application/vnd.apache.parquet", ("application/x-parquet", "application/parquet"), (".parquet", ".pq")
)
FILE_FORMATS: Final = (CSV, NDJSON, ARROW, PARQUET)
TAB_SEPARATED: Final = "text/tab-separated-values"
"""CSV with tabs."""

BY_MEDIA_TYPE: Final = {
    name: file_format for file_format in FILE_FORMATS for name in (file_format.media_type, *file_format.aliases)
} | {TAB_SEPARATED: CSV}
BY_SUFFIX: Final = {suffix: file_format for file_format in FILE_FORMATS for suffix in file_format.suffixes}

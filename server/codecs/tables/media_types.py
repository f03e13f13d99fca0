"""Table formats by name and media type. Imports nothing: the start needs it."""

from typing import Final, NamedTuple


class Form(NamedTuple):
    """One format of a table."""

    name: str
    media_type: str
    """Content type of a response in this format."""
    aliases: tuple[str, ...]
    """Other accepted content types of a body in this format."""
    suffixes: tuple[str, ...]
    """File name extensions of this format."""


CSV: Final = Form("csv", "text/csv", ("application/csv",), (".csv", ".tsv", ".txt"))
NDJSON: Final = Form(
    "ndjson",
    "application/x-ndjson",
    ("application/ndjson", "application/jsonl", "application/x-jsonlines", "application/jsonlines"),
    (".ndjson", ".jsonl"),
)
ARROW: Final = Form(
    "arrow",
    "application/vnd.apache.arrow.stream",
    ("application/vnd.apache.arrow.file",),
    (".arrow", ".arrows", ".feather", ".ipc"),
)
PARQUET: Final = Form(
    "parquet", "application/vnd.apache.parquet", ("application/x-parquet", "application/parquet"), (".parquet", ".pq")
)
FORMS: Final = (CSV, NDJSON, ARROW, PARQUET)
TAB_SEPARATED: Final = "text/tab-separated-values"
"""CSV with tabs."""

BY_MEDIA_TYPE: Final = {name: form for form in FORMS for name in (form.media_type, *form.aliases)} | {
    TAB_SEPARATED: CSV
}
BY_SUFFIX: Final = {suffix: form for form in FORMS for suffix in form.suffixes}

"""Limits of a table: bytes read, held and written at a time, columns and cells."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from server.errors import InvalidArgument, PayloadTooLarge

TEXT_ROWS: Final = 2048
"""Rows of text to read, score and write at a time. They are few, so that other requests don't wait long."""
ARROW_ROWS: Final = 4096
"""Rows of other formats to read, score and write at a time: these are faster."""
BLOCK_CELLS: Final = 128 * 1024
"""Rows times columns of a block: wide tables have fewer rows in a block."""
WRITTEN_CELLS: Final = 32 * 1024
"""Rows times columns to write at once."""
WRITTEN_NAMES_BYTES: Final = 1024 * 1024
"""Bytes of names to write at once."""
MAX_REPEATED_BYTES: Final = 16 * 1024 * 1024
"""Maximum bytes of names in a block, if each row repeats the names."""
MAX_NAMES_BYTES: Final = 1024 * 1024
"""Maximum bytes of all column names together."""
MAX_RECORD_BYTES: Final = 1024 * 1024
"""Maximum bytes of one row of text. It limits the bytes that an unclosed quote includes."""


class Limits(NamedTuple):
    """Limits of one table."""

    max_columns: int
    max_block_bytes: int
    """Maximum bytes of one record batch, and half of the isolated reader's memory."""
    max_spool_bytes: int
    """Maximum bytes of a file with its index at the end: Parquet, some Arrow files."""


def block_rows(names: Sequence[str], maximum: int) -> int:
    """Return the maximum rows of a block, at most `maximum`.

    NDJSON repeats the names in each row.
    """
    names_bytes = sum(map(len, names))
    return max(1, min(maximum, BLOCK_CELLS // max(len(names), 1), MAX_REPEATED_BYTES // max(names_bytes, 1)))


def written_rows(names: Sequence[str], maximum: int) -> int:
    """Return the maximum rows to write at once, at most `maximum`.

    The library holds the interpreter lock while it writes, and NDJSON repeats the names in each row.
    """
    row_bytes = sum(map(len, names))
    return max(1, min(maximum, WRITTEN_CELLS // max(len(names), 1), WRITTEN_NAMES_BYTES // max(row_bytes, 1)))


def check_names(names: Sequence[str], maximum: int | None = None) -> None:
    """Raise RequestError for too many names, too long names, and names with NUL.

    A NUL in a name would make the library end the process.
    """
    if maximum is not None and len(names) > maximum:
        raise PayloadTooLarge(f"columns: expected at most {maximum}; got {len(names)}", field="columns")
    if sum(map(len, names)) > MAX_NAMES_BYTES:
        raise PayloadTooLarge(f"columns: expected names of at most {MAX_NAMES_BYTES} bytes together", field="columns")
    if any("\0" in name for name in names):
        raise InvalidArgument("columns: expected names without NUL characters", field="columns")

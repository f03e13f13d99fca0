"""Read a CSV file's cells as text, by the same rules as the server."""

import io
from collections.abc import Iterator
from typing import Final

import pandas as pd

from server.codecs.tables.csv import pad_fields
from server.codecs.tables.csv_records import CsvRecords
from server.errors import InvalidArgument

_DELIMITER: Final = ","


class _ByteSource(io.BytesIO):
    """Adapter from file content to the server's byte source."""

    failure: Exception | None = None


def read_cells(content: bytes) -> pd.DataFrame:
    """Return the cells as text, with None for an empty cell.

    The first line holds the column names. Raises InvalidArgument if a row has more or fewer fields than there are
    names, or if the content is not CSV in UTF-8. The message names the row, numbered from 1.
    """
    records = CsvRecords(_ByteSource(content))
    records.delimiter = _DELIMITER.encode()
    header, reason = pad_fields(records.header(), _DELIMITER, None)
    if reason is not None:
        raise InvalidArgument(f"column names: {reason}")
    rows = []
    for number, record in enumerate(_records(records), 1):
        fields, reason = pad_fields(record, _DELIMITER, len(header))
        if reason is not None:
            raise InvalidArgument(f"row {number}: {reason}")
        rows.append(fields)
    names = [name or "" for name in header]
    return pd.DataFrame(rows, columns=range(len(names)), dtype=object).set_axis(names, axis=1)


def _records(records: CsvRecords) -> Iterator[bytes]:
    """Yield each record as bytes."""
    for text, ends in records.blocks():
        start = 0
        for end in ends.tolist():
            yield text[start:end]
            start = end

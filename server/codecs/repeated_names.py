"""Find names that a JSON record gives twice.

Decoders use the last value, but the client may mean the first.

A colon follows each name. So a body is parsed again only if its number of colons differs from the number of decoded
names.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from server.codecs import json_errors
from server.codecs.json_types import MALFORMED
from server.models.signature import Signature

RECORDS: Final = "records"
_NULL: Final = b"null"
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LISTS: Final = msgspec.json.Decoder(dict[str, list[msgspec.Raw]])


def colons(text: bytes) -> int:
    """Return the number of colons, in a fraction of the time of bytes.count."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord(":")))


class RepeatedNames:
    """Finder of repeated names in the bodies of one model."""

    def __init__(self, signature: Signature) -> None:
        """Look for the names of `signature`."""
        self.needles = [msgspec.json.encode(column.feature.name) for column in signature.columns]
        self._number = len(self.needles)
        self._nullable = [place for place, column in enumerate(signature.columns) if column.feature.nullable]

    def of_record(self, body: bytes, values: Sequence[Any]) -> tuple[int | None, str] | None:
        """Return the row, always None, and the name that one record repeats, else None.

        `values` are the record's decoded values.
        """
        if None not in values and body.count(b":") == self._number:
            return None
        twice = _twice(body)  # a null may come from an absent name, which hides a repeated one in the count
        return None if twice is None else (None, twice)

    def of_records(self, body: bytes, columns: Sequence[Sequence[Any]]) -> tuple[int | None, str] | None:
        """Return the row and the name that a list of records repeats, else None.

        `columns` holds the values of each feature. The row is None if the body itself repeats a name.
        """
        names = len(columns[0]) * self._number + 1
        nulls = sum(columns[place].count(None) for place in self._nullable)
        if nulls:
            names += body.count(_NULL) - nulls
        return None if colons(body) == names else self._find(body)

    def _find(self, body: bytes) -> tuple[int | None, str] | None:
        if (twice := _twice(body)) is not None:
            return None, twice
        try:
            records = _LISTS.decode(body).get(RECORDS, [])
        except MALFORMED:  # the body is one record
            return None
        for row, record in enumerate(records):
            if (twice := _twice(bytes(record))) is not None:
                return row, twice
        return None


def _twice(document: bytes) -> str | None:
    """Return the first name that an object repeats, ignoring nested objects."""
    if len(_FIELDS.decode(document)) == document.count(b":"):
        return None
    try:
        found = json_errors.parse(document)
    except (ValueError, RecursionError):
        return None
    return found.twice if isinstance(found, json_errors.Members) else None

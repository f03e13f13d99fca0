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
        self._nullable = [index for index, column in enumerate(signature.columns) if column.feature.nullable]

    def of_record(self, body: bytes, values: Sequence[Any]) -> tuple[int | None, str] | None:
        """Return the row, always None, and the name that one record repeats, else None.

        `values` are the record's decoded values.
        """
        if None not in values and body.count(b":") == self._number:
            return None
        name = _repeated_name(body)  # a null may come from an absent name, which hides a repeated one in the count
        return None if name is None else (None, name)

    def of_records(self, body: bytes, columns: Sequence[Sequence[Any]]) -> tuple[int | None, str] | None:
        """Return the row and the name that a list of records repeats, else None.

        `columns` holds the values of each feature. The row is None if the body itself repeats a name.
        """
        names = len(columns[0]) * self._number + 1
        nulls = sum(columns[index].count(None) for index in self._nullable)
        if nulls:
            names += body.count(_NULL) - nulls
        return None if colons(body) == names else self._find(body)

    def _find(self, body: bytes) -> tuple[int | None, str] | None:
        if (repeated_name := _repeated_name(body)) is not None:
            return None, repeated_name
        try:
            records = _LISTS.decode(body).get(RECORDS, [])
        except MALFORMED:  # the body is one record
            return None
        for row, record in enumerate(records):
            if (repeated_name := _repeated_name(bytes(record))) is not None:
                return row, repeated_name
        return None


def _repeated_name(document: bytes) -> str | None:
    """Return the first name that an object repeats, ignoring nested objects."""
    if len(_FIELDS.decode(document)) == document.count(b":"):
        return None
    try:
        value = json_errors.parse(document)
    except (ValueError, RecursionError):
        return None
    return value.repeated_name if isinstance(value, json_errors.Members) else None

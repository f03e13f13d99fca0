"""A query's parameters to one record: as the JSON that says the same, for the decoder that every record passes."""

import json
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from server.errors import InvalidArgument
from server.records import RecordDecoder
from server.signature import Column

QUERY: Final = "query"
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_LITERAL: Final = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
"""What JSON writes without quotes (RFC 8259, sections 3 and 6)."""
_SHOWN_CHARACTERS: Final = 40


class QueryDecoder:
    """Decodes the query of a prediction: a parameter for each feature of one record."""

    def __init__(self, records: RecordDecoder) -> None:
        """Check what is decoded by `records`."""
        self._records = records
        self._columns = records.signature.by_name

    def decode(self, query: bytes) -> Sequence[tuple[Any, ...]]:
        """Return each feature's value, in the features' order.

        `application/x-www-form-urlencoded`: a plus is a space. Raises RequestError, naming the parameter.
        """
        members: dict[str, bytes] = {}
        for parameter in query.split(b"&"):
            if not parameter:
                continue
            before, _, behind = parameter.partition(b"=")
            name = _text(before, QUERY)
            if name not in self._columns:
                raise self._records.unknown(name)
            if name in members:
                raise InvalidArgument(f"{name}: expected once; it is in the query more than once", field=name)
            members[name] = _value(self._columns[name], _text(behind, name))
        body = b",".join(msgspec.json.encode(name) + b":" + value for name, value in members.items())
        columns, _ = self._records.decode(b"{" + body + b"}")
        return columns


def empty_is_null(column: Column) -> bool:
    """Return whether an empty parameter says null: where that may be said, and "" is no value of the feature."""
    if column.allowed is not None:
        return column.feature.nullable and "" not in column.allowed
    return column.feature.nullable and column.feature.datatype != "BYTES"


def _value(column: Column, text: str) -> bytes:
    """Return a parameter's value as JSON: of a string what stands there, of any other feature JSON's own writing."""
    if not text and empty_is_null(column):
        return b"null"
    if column.feature.datatype != "BYTES" and _LITERAL.fullmatch(text):
        return text.encode()
    return msgspec.json.encode(text)


def _text(escaped: bytes, field: str) -> str:
    """Return what is percent-encoded. Raises InvalidArgument."""
    if not _BAD_ESCAPE.search(escaped):
        try:
            return unquote_to_bytes(escaped.replace(b"+", b" ")).decode()
        except UnicodeDecodeError:
            pass
    shown = json.dumps(escaped[:_SHOWN_CHARACTERS].decode("latin-1"))
    raise InvalidArgument(f"{field}: expected percent-encoded UTF-8; got {shown}", field=field)

"""Convert query parameters to the JSON of one record, for the same decoder."""

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from server.codecs.records import RecordDecoder
from server.errors import InvalidArgument
from server.models.quoting import is_literal, quoted
from server.models.signature import Column

QUERY: Final = "query"
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class QueryDecoder:
    """Decoder of a prediction's query: one parameter for each feature of one record."""

    def __init__(self, records: RecordDecoder) -> None:
        """Check the decoded values by `records`."""
        self._records = records
        self._columns = records.signature.by_name

    def decode(self, query: bytes) -> Sequence[tuple[Any, ...]]:
        """Return each feature's value, in signature order.

        The format is `application/x-www-form-urlencoded`: a plus is a space. Raises RequestError, naming the parameter.
        """
        members: dict[str, bytes] = {}
        for parameter in query.split(b"&"):
            if not parameter:
                continue
            raw_name, _, raw_value = parameter.partition(b"=")
            name = _text(raw_name, QUERY)
            if name not in self._columns:
                raise self._records.unknown(name)
            if name in members:
                raise InvalidArgument(f"{name}: expected once; it is given more than once", field=name)
            members[name] = _value(self._columns[name], _text(raw_value, name))
        body = b",".join(msgspec.json.encode(name) + b":" + value for name, value in members.items())
        columns, _ = self._records.decode(b"{" + body + b"}")
        return columns


def empty_is_null(column: Column) -> bool:
    """Return whether an empty parameter means null.

    The feature must be nullable, and "" must not be one of its values.
    """
    if column.allowed is not None:
        return column.feature.nullable and "" not in column.allowed
    return column.feature.nullable and column.feature.datatype != "BYTES"


def _value(column: Column, text: str) -> bytes:
    """Return a parameter's value as JSON.

    A string feature's value is the text itself. Any other value is a JSON literal.
    """
    if not text and empty_is_null(column):
        return b"null"
    if column.feature.datatype != "BYTES" and is_literal(text):
        return text.encode()
    return msgspec.json.encode(text)


def _text(escaped: bytes, field: str) -> str:
    """Return the text of a percent-encoded string. Raises InvalidArgument."""
    if not _BAD_ESCAPE.search(escaped):
        try:
            return unquote_to_bytes(escaped.replace(b"+", b" ")).decode()
        except UnicodeDecodeError:
            pass
    text = quoted(escaped.decode("latin-1"))
    raise InvalidArgument(f"{field}: expected percent-encoded UTF-8; got {text}", field=field)

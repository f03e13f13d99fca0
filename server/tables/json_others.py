"""Fields of NDJSON lines that are no features, to typed columns: for answers in forms whose columns have types."""

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec
from arro3.core import DataType, Field, RecordBatch, Schema
from arro3.io import infer_json_schema, read_json

from server.errors import InvalidArgument
from server.records import MALFORMED
from server.tables.arrays import no_rows

FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
"""Decodes an object to its fields' names and their values as they were written."""
_NUL: Final = b"\\u0000"
_NO_NUL: Final = b"\\u0001"


class Others:
    """The fields of some lines that are no features, each in the type that the first lines have it in."""

    def __init__(self, first: Iterable[bytes], known: Collection[str]) -> None:
        """Learn from the `first` lines the types of all fields but the `known`."""
        self._first = first
        self._known = known
        self._schema: Schema | None = None

    def read(self, lines: Sequence[bytes], names: Sequence[str]) -> RecordBatch:
        """Return the fields called so. Raises InvalidArgument where a line has one in another type."""
        if self._schema is None:
            self._schema = _infer(self._first, self._known)
        schema = Schema([self._schema.field(name) for name in names])
        if not lines:
            return no_rows(schema)
        text = b"\n".join(lines)
        try:
            # The library ends the process where what it says of a wrong value has a NUL in it: first without one.
            if _NUL in text:
                _read(text.replace(_NUL, _NO_NUL), schema, len(lines))
            return _read(text, schema, len(lines))
        except Exception:  # noqa: BLE001 # the library has but one kind
            words = "expected every line's fields in the types that the first lines have them in"
            raise InvalidArgument(f"columns: {words}; ?columns= leaves fields out", field="columns") from None


def _read(text: bytes, schema: Schema, rows: int) -> RecordBatch:
    return next(iter(read_json(io.BytesIO(text), schema, batch_size=rows + 1)))


def objects(lines: Iterable[bytes]) -> Iterable[Mapping[str, msgspec.Raw]]:
    """Yield those of the lines that are objects."""
    for line in lines:
        try:
            line.decode()  # what isn't looked at may be anything else
            yield FIELDS.decode(line)
        except MALFORMED:
            continue


def _infer(lines: Iterable[bytes], known: Collection[str]) -> Schema:
    """Return the fields of the lines but the `known`, each in the type that holds all of its values."""
    others = [
        msgspec.json.encode({name: value for name, value in found.items() if name not in known})
        for found in objects(lines)
    ]
    try:
        schema = infer_json_schema(io.BytesIO(b"\n".join(others)))
    except Exception:  # noqa: BLE001 # the library has but one kind
        words = "expected each field in one type in the first lines"
        raise InvalidArgument(f"columns: {words}; ?columns= leaves fields out", field="columns") from None
    fields = [schema.field(place) for place in range(len(schema))]
    return Schema([Field(f.name, DataType.utf8()) if DataType.is_null(f.type) else f for f in fields])

"""JSON types of a column's values, which let the decoder check them while it reads."""

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

import msgspec

from server.models.signature import Column

INT64_MAX: Final = 2**63 - 1
"""Largest bound that msgspec can check. UINT64 values in JSON are limited to it; those in tensors have the datatype's
own limit.
"""


MALFORMED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Errors that msgspec raises for bytes that do not match the type."""


def json_type(column: Column) -> Any:  # noqa: ANN401 # the type is made at run time
    """Return the msgspec type that accepts exactly the values of a column."""
    return _value_type(column) | None if column.feature.nullable else _value_type(column)


def lenient_type(column: Column) -> Any:  # noqa: ANN401
    """Return a type that accepts any number instead of integers.

    In JSON, 1.0 is a whole number as much as 1.
    """
    if column.dtype.kind not in "iu":
        return json_type(column)
    return int | float | None if column.feature.nullable else int | float


def with_integers(values: Iterable[Any]) -> list[Any]:
    """Return the values with whole numbers as integers."""
    return [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]


def _value_type(column: Column) -> Any:  # noqa: ANN401
    if column.feature.categories is not None:
        return Literal[tuple(column.feature.categories)]
    if column.feature.datatype == "BYTES":
        return str
    if column.feature.datatype == "BOOL":
        return bool
    if column.feature.is_float:
        return Annotated[float, msgspec.Meta(ge=column.low, le=column.high)]
    high = None if column.high is None else min(int(column.high), INT64_MAX)
    return Annotated[int, msgspec.Meta(ge=column.low, le=high)]

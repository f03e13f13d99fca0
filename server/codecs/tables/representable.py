"""Reject columns whose values text or Parquet can't hold; no value is altered in silence.

Libraries write an error text, "<invalid>" or null for such values.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from arro3.core import Array, DataType, Field
from nanoarrow import c_array, c_schema

from server.codecs.tables.arrow_numpy import null_rows, to_numpy
from server.errors import InvalidArgument

_DAYS: Final = 95_000_000
"""Days before and after 1970 that the library can write as a date. Its limit is 262,143 years, slightly more."""
_DAY_S: Final = 86_400
_UNITS: Final = {"s": 1, "m": 10**3, "u": 10**6, "n": 10**9}
_NOT_IN_PARQUET: Final = frozenset({"tdm", "tts", "tss"})
"""Arrow's format strings of types that the library would write to Parquet as bare numbers."""
_MAX_INT64: Final = 2**63 - 1
_RANGES: Final = (
    {"tdD": (-_DAYS, _DAYS), "tdm": (-_DAYS * _DAY_S * 1000, _DAYS * _DAY_S * 1000)}
    | {f"tt{unit}": (0, _DAY_S * parts - 1) for unit, parts in _UNITS.items()}
    | {f"ts{unit}": (-_DAYS * _DAY_S * parts, _DAYS * _DAY_S * parts) for unit, parts in _UNITS.items()}
    | {"tDs": (-_MAX_INT64 // 1000 + 1, _MAX_INT64 // 1000), "tDm": (-_MAX_INT64, _MAX_INT64)}
)
"""Range of numbers that text can hold, by Arrow's format string of a temporal type."""
_FLOATS: Final = frozenset("efg")
_LEAVE_OUT: Final = "?columns= leaves the column out"


def check_text(name: str, array: Array, *, infinity: bool) -> None:
    """Raise InvalidArgument, naming the column, if text can't hold one of its values.

    Such values are dates, times and durations out of range, and infinite numbers unless `infinity`. `infinity` states
    whether the format has infinite numbers: CSV has, JSON has not.
    """
    if DataType.is_temporal(array.type) or DataType.is_floating(array.type) or DataType.is_nested(array.type):
        _check(name, c_array(array), infinity=infinity)


def cast_exactly(name: str, array: Array, kind: DataType) -> Array:
    """Return a column in Parquet's type for it. Raises InvalidArgument if a value changes."""
    if array.type == kind:
        return array
    converted = array.cast(kind)
    round_trip = converted.cast(array.type)
    values, null = to_numpy(array)
    round_trip_values, _ = to_numpy(round_trip)
    is_same = values == round_trip_values
    if converted.null_count != array.null_count or not (is_same.all() if null is None else is_same[~null].all()):
        message = "expected dates and times that Parquet can hold: whole days, milliseconds in 64 bits"
        raise InvalidArgument(f"{name}: {message}; {_LEAVE_OUT}", field=name)
    return converted


def check_type_in_parquet(field: Field) -> None:
    """Raise InvalidArgument, naming the column, for a type that Parquet can't hold."""
    if DataType.is_decimal(field.type) and c_schema(field).format.rpartition(",")[2].startswith("-"):
        message = "expected decimals with digits behind the point or none: Parquet has no negative scale"
        raise InvalidArgument(f"{field.name}: {message}; {_LEAVE_OUT}", field=field.name)
    if DataType.is_nested(field.type) and any(kind[:3] in _NOT_IN_PARQUET for kind in _formats(c_schema(field))):
        message = "expected lists and structures without dates in milliseconds, or times in seconds: Parquet has none"
        raise InvalidArgument(f"{field.name}: {message}; {_LEAVE_OUT}", field=field.name)


def _formats(schema: Any) -> Iterator[str]:  # noqa: ANN401
    yield schema.format
    for child in schema.children:
        yield from _formats(child)


def _check(name: str, array: Any, *, infinity: bool) -> None:  # noqa: ANN401 # nanoarrow ships no types
    for child in array.children:
        _check(name, child, infinity=infinity)
    if array.dictionary is not None:
        _check(name, array.dictionary, infinity=infinity)
        return
    kind = array.schema.format
    if kind in _FLOATS:
        if not infinity and _any(array, np.isinf):
            message = "expected finite numbers: JSON has no infinity; CSV, Arrow and Parquet have it"
            raise InvalidArgument(f"{name}: {message}, or {_LEAVE_OUT}", field=name)
        return
    low, high = _RANGES.get(kind[:3], (None, None))
    if low is not None and _any(array, lambda values: (values < low) | (values > high)):
        message = "expected dates, times and durations that text can show; Arrow and Parquet hold this one"
        raise InvalidArgument(f"{name}: {message}, or {_LEAVE_OUT}", field=name)


def _any(array: Any, is_unwritable: Any) -> bool:  # noqa: ANN401
    """Return whether a value that is not null is wrong."""
    view = array.view()
    values = np.asarray(view.buffer(1))[view.offset : view.offset + view.length]
    is_out_of_range = is_unwritable(values)
    if not is_out_of_range.any():
        return False
    null = null_rows(view)
    return bool(is_out_of_range.any() if null is None else is_out_of_range[~null].any())

"""Convert one column of a table to checked values of one feature.

A file may hold more types than JSON. A column of text is read as numbers if the feature is a number. A whole number may
be written as 1.0: data frames do so for a column of integers with a missing value.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from arro3.core import Array, DataType, dictionary_dictionary, dictionary_indices
from numpy.typing import NDArray

from server.codecs.tables.arrow_numpy import Nulls, from_numpy, nulls, pick, strings, to_numpy
from server.codecs.tables.csv_text import POINT, TYPED_TEXT, TextFormat, looks_null
from server.errors import InvalidArgument
from server.models.manifest import Scalar
from server.models.quoting import cell_value, quoted_name
from server.models.signature import Column

_BOOLEANS: Final[Mapping[str, bool]] = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
_INT64_END: Final = 2.0**63
MAX_EXACT: Final = 2.0**53
"""The greatest number up to which a double holds every integer."""
_LONG_DIGITS: Final = 300
_CODES: Final = DataType.dictionary(DataType.int32(), DataType.utf8())


@dataclass(slots=True)
class Values:
    """Values of one feature in a block."""

    values: NDArray[Any]
    """Shape [rows], in the feature's dtype. Nulls are as the model expects them; a row at fault has a valid filler
    value.
    """
    faults: dict[int, str]
    """Index of a row in the block to the message about its value."""
    to_arrow: Callable[[], Array]
    """Makes a typed column of these values to pass on. A number that is not valid stays; text that is no number becomes
    null.
    """


def is_text(kind: DataType) -> bool:
    """Return whether a column of this type holds strings."""
    return DataType.is_string(kind) or DataType.is_large_string(kind) or DataType.is_string_view(kind)


def plain_type(kind: DataType) -> DataType:
    """Return the type in which a column is passed on: utf8 for all text."""
    return DataType.utf8() if is_text(kind) else kind


def check_type(column: Column, kind: DataType) -> None:
    """Raise InvalidArgument, naming the column, if no value of this type fits the feature."""
    feature = column.feature
    is_number = DataType.is_numeric(kind) or DataType.is_decimal(kind)
    fits = DataType.is_null(kind) or is_text(kind)
    if feature.datatype == "BOOL":
        fits = fits or DataType.is_boolean(kind) or DataType.is_integer(kind)
    elif feature.datatype != "BYTES":
        fits = fits or is_number
    if not fits:
        type_name = repr(kind).strip().removeprefix("arro3.core.DataType<").removesuffix(">")
        message = f"expected {column.expectation()}; got a column of {type_name}"
        raise InvalidArgument(f"{quoted_name(feature.name)}: {message}", field=feature.name)


FeatureReader = Callable[[Array], Values]
"""Reads one feature from each part of a column."""


def reader(column: Column, kind: DataType, max_string_bytes: int, text: TextFormat = TYPED_TEXT) -> FeatureReader:
    """Return the reader of a feature from a column of a checked type.

    `kind` is the type in which the column is passed on. `text` holds the rules for nulls and numbers in text.
    """
    read = _reader(column, kind, max_string_bytes, text)
    if not text.stated_nulls or not is_text(kind):
        return read
    return lambda array: read(_with_nulls(text.stated_nulls, array))


def _reader(column: Column, kind: DataType, max_string_bytes: int, text: TextFormat) -> FeatureReader:
    if DataType.is_null(kind):
        return lambda array: missing(column, len(array))
    if not column.feature.nullable:
        text = text._replace(nulls=frozenset())
    if column.feature.datatype == "BYTES":
        return partial(_read_strings, column, text, max_string_bytes)
    if column.feature.datatype == "BOOL":
        return partial(
            _read_booleans,
            column,
            text,
            partial(_booleans_from_text, text) if is_text(kind) else _booleans_from_numbers,
        )
    is_float = column.feature.is_float
    target = DataType.float64() if is_float else DataType.int64()
    if column.feature.datatype == "UINT64":
        target = DataType.uint64()
    if is_text(kind):
        numbers: _NumberReader = partial(_numbers_from_text, target, text, is_float=is_float)
    elif not is_float and not DataType.is_integer(kind):
        numbers = _integers_from_floats
    else:
        numbers = partial(_cast_numbers, None if kind == target else target)
    return partial(_read_numbers, column, text, numbers)


def _with_nulls(spellings: frozenset[str], array: Array) -> Array:
    """Return a column of text with these spellings as nulls."""
    codes = array.cast(_CODES)
    numbers, null = to_numpy(dictionary_indices(codes))
    is_spelling = [text in spellings for text in dictionary_dictionary(codes).to_pylist()]
    if not any(is_spelling):
        return array
    is_null = np.array([*is_spelling, True])[numbers if null is None else np.where(null, len(is_spelling), numbers)]
    rows = np.arange(len(array), dtype=np.uint32)
    return array.take(from_numpy(rows, is_null))


def missing(column: Column, rows: int) -> Values:
    """Return the values of a nullable feature that the table has no column for."""
    return reader(column, DataType.utf8(), 0)(strings([None] * rows))


def fault(column: Column, got: object, null_hint: str = "") -> str:
    """Return the message about a value; None means that the value is missing.

    `null_hint` states how the file writes null. It is added if the value looks like a word for null.
    """
    if got is None:
        return f"{quoted_name(column.feature.name)}: expected {column.expectation()}; it is missing"
    hint = null_hint if column.feature.nullable and looks_null(str(got)) else ""
    value = cell_value(got, is_string=column.feature.datatype == "BYTES") if isinstance(got, str) else got
    return f"{quoted_name(column.feature.name)}: {column.fault(value)}{hint}"


def filler(column: Column) -> Scalar:
    """Return a valid value to run the model with, for rows whose prediction is dropped."""
    null = column.feature.null
    return null if null is not None else column.feature.example


def _read_strings(column: Column, text_format: TextFormat, max_bytes: int, array: Array) -> Values:
    """Read strings by their distinct values, so that each is checked once."""
    codes = array.cast(_CODES)
    numbers, null = to_numpy(dictionary_indices(codes))
    distinct: list[str | None] = [*dictionary_dictionary(codes).to_pylist()]
    if null is not None:
        numbers = np.where(null, len(distinct), numbers)
    distinct.append(None)  # the value for a null's code
    nullable = column.feature.nullable
    null_texts = text_format.nulls - column.allowed if column.allowed is not None else frozenset[str]()
    is_invalid = [
        not (nullable if text is None else text in null_texts or _is_valid(text, column, max_bytes))
        for text in distinct
    ]
    model_values = np.array(distinct, object)
    model_values[
        [*(invalid or text in null_texts for invalid, text in zip(is_invalid[:-1], distinct, strict=False)), True]
    ] = filler(column)
    values = model_values[numbers]
    if not any(is_invalid[:-1]) and (nullable or null is None):
        return Values(values, {}, lambda: array)
    faults = _fault_messages(column, text_format, np.array(is_invalid)[numbers], lambda row: distinct[numbers[row]])
    return Values(values, faults, lambda: array)


def _is_valid(text: str, column: Column, max_bytes: int) -> bool:
    if column.allowed is not None:
        return text in column.allowed
    return len(text) <= max_bytes and (len(text) * 4 <= max_bytes or len(text.encode()) <= max_bytes)


_ReadResult = tuple[NDArray[Any], Nulls | None, Nulls | None]
"""Values; nulls; values that the datatype can't hold. None in place of an array means no such row."""
_NumberReader = Callable[[Array], _ReadResult]


def _read_booleans(column: Column, text: TextFormat, read_numbers: _NumberReader, array: Array) -> Values:
    values, null, failed = read_numbers(array)
    absent = _either(null, failed)
    is_invalid = np.zeros(len(values), np.bool_) if failed is None else failed

    def to_arrow() -> Array:
        return from_numpy(values.astype(np.uint8), absent).cast(DataType.bool())

    return _finish(column, text, array, values.copy(), null, is_invalid, to_arrow)


def _booleans_from_text(text_format: TextFormat, array: Array) -> _ReadResult:
    strings_or_none = [None if text in text_format.nulls else text for text in array.to_pylist()]
    texts = [None if text is None else text.strip().lower() for text in strings_or_none]
    booleans = [None if text is None else _BOOLEANS.get(text) for text in texts]
    null = np.array([text is None for text in texts], np.bool_)
    failed = np.array([boolean is None for boolean in booleans], np.bool_) & ~null
    return np.array([bool(boolean) for boolean in booleans], np.bool_), null, failed


def _booleans_from_numbers(array: Array) -> _ReadResult:
    numbers, null = to_numpy(array.cast(DataType.int64()))
    failed = (numbers != 0) & (numbers != 1)
    return numbers == 1, null, failed if null is None else failed & ~null


def _read_numbers(column: Column, text: TextFormat, read_numbers: _NumberReader, array: Array) -> Values:
    values, null, failed = read_numbers(array)
    absent = _either(null, failed)
    if column.feature.is_float:
        with np.errstate(over="ignore"):
            narrow = values.astype(column.dtype)
        is_invalid = column.invalid(narrow)
        not_numbers = np.isnan(narrow)
        null = _either(null, not_numbers) if not_numbers.any() else null
    else:
        narrow = values.astype(column.dtype)  # a value that does not fit is out of the column's range, and so at fault
        is_invalid = column.invalid(values)
    if null is not None:
        is_invalid &= ~null
    if failed is not None:
        is_invalid |= failed

    def to_arrow() -> Array:
        if column.feature.is_float and is_text(array.type):
            _check_exact(column, text, array, values)
        return from_numpy(values, absent)

    return _finish(column, text, array, narrow, null, is_invalid, to_arrow)


def _check_exact(column: Column, text_format: TextFormat, array: Array, values: NDArray[Any]) -> None:
    """Raise InvalidArgument if a double alters an integer that was written as text."""
    rows = np.flatnonzero(np.abs(values) >= MAX_EXACT)
    for row, text in zip(rows.tolist(), pick(array, rows).to_pylist(), strict=True):
        digits = "" if text is None else text_format.number(text).strip().lstrip("+-")
        if digits.isdecimal() and len(digits) <= _LONG_DIGITS and int(digits) != abs(int(values[row])):
            raise inexact(column.feature.name)


def inexact(name: str) -> InvalidArgument:
    """Return the error for an integer that a column of doubles can't hold exactly."""
    message = "expected numbers that a 64-bit float holds exactly, as the response's column has that type"
    return InvalidArgument(f"{name}: {message}; ?columns= leaves it out", field=name)


def _either(one: Nulls | None, other: Nulls | None) -> Nulls | None:
    if one is None or other is None:
        return other if one is None else one
    return one | other


def _finish(  # noqa: PLR0913, PLR0917 # the common results for booleans and numbers
    column: Column,
    text: TextFormat,
    array: Array,
    values: NDArray[Any],
    null: Nulls | None,
    is_invalid: Nulls,
    to_arrow: Callable[[], Array],
) -> Values:
    """Replace nulls and faults by values for the model, and record the faults."""
    if null is not None:
        values[null] = filler(column)
        is_invalid = is_invalid if column.feature.nullable else is_invalid | null
    if not is_invalid.any():
        return Values(values, {}, to_arrow)
    values[is_invalid] = filler(column)
    return Values(values, _fault_messages(column, text, is_invalid, lambda row: array[int(row)].as_py()), to_arrow)


def _cast_numbers(target: DataType | None, array: Array) -> _ReadResult:
    values, null = to_numpy(array if target is None else array.cast(target))
    if null is None or target is None:
        return values, null, None
    is_null = nulls(array)
    return values, is_null, null & ~is_null


def _numbers_from_text(target: DataType, text_format: TextFormat, array: Array, *, is_float: bool) -> _ReadResult:
    if text_format.decimal != POINT:
        array = strings([None if text is None else text_format.number(text) for text in array.to_pylist()])
    values, null = to_numpy(array.cast(target))
    if null is None or null.sum() == array.null_count:
        return values, null, None
    is_null = nulls(array)
    failed = null & ~is_null
    values = values.copy()
    rows = np.flatnonzero(failed)
    for row, text in zip(rows.tolist(), pick(array, rows).to_pylist(), strict=True):
        if text in text_format.nulls:
            is_null[row], failed[row] = True, False
            continue
        number = _number(text)
        if number is not None and (is_float or (number.is_integer() and abs(number) < _INT64_END)):
            values[row] = number
            failed[row] = False
    return values, is_null, failed


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)  # float() accepts underscores, as in Python source
    except ValueError:
        return None


def _integers_from_floats(array: Array) -> _ReadResult:
    """Return whole numbers from a column of floats; NaN is null, as in data frames."""
    floats, _ = to_numpy(array.cast(DataType.float64()))
    is_null = nulls(array) | np.isnan(floats)
    is_valid = ~is_null & (np.abs(floats) < _INT64_END) & (np.floor(floats) == floats)
    return np.where(is_valid, floats, 0).astype(np.int64), is_null, ~is_null & ~is_valid


def _fault_messages(column: Column, text: TextFormat, is_invalid: Nulls, value: Callable[[Any], Any]) -> dict[int, str]:
    values_at_fault = ((int(row), value(row)) for row in np.flatnonzero(is_invalid))
    return {row: fault(column, got, text.null_hint) for row, got in values_at_fault}

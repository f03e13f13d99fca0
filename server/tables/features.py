"""One column of a table to one feature's values, each checked as the signature has it.

What a file may hold is wider than what JSON may: a column of text is read as numbers where the feature is one, and a
whole number may be written 1.0, as data frames do with a column of integers that misses one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from arro3.core import Array, DataType, dictionary_dictionary, dictionary_indices
from numpy.typing import NDArray

from server.errors import InvalidArgument
from server.manifest import Scalar
from server.signature import Column
from server.tables.arrays import Nulls, from_numpy, nulls, pick, strings, to_numpy

_SHOWN_CHARACTERS: Final = 40
_TRUTH: Final[Mapping[str, bool]] = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
_INT64_END: Final = 2.0**63
_CODES: Final = DataType.dictionary(DataType.int32(), DataType.utf8())


@dataclass(slots=True)
class Values:
    """One feature's part of a block."""

    values: NDArray[Any]
    """Shape [rows], the feature's dtype: null as the model has it; where a row is at fault, a value that can be run."""
    faults: dict[int, str]
    """Row in the block to what is wrong with its value."""
    typed: Callable[[], Array]
    """Makes the same as a typed column to be passed on: a wrong number stays, what is none is null."""


def is_text(kind: DataType) -> bool:
    """Return whether a column of this type holds strings."""
    if DataType.is_dictionary(kind):
        return kind.value_type is not None and is_text(kind.value_type)
    return DataType.is_string(kind) or DataType.is_large_string(kind) or DataType.is_string_view(kind)


def plain(kind: DataType) -> DataType:
    """Return the type that a column is passed on in: text and numbers in their one form, no dictionaries, no views."""
    if is_text(kind):
        return DataType.utf8()
    if DataType.is_dictionary(kind) and kind.value_type is not None:
        return kind.value_type
    return kind


def check_type(column: Column, kind: DataType) -> None:
    """Raise InvalidArgument, naming the column, where no value of this type could be the feature's."""
    feature = column.feature
    number = DataType.is_numeric(kind) or DataType.is_decimal(kind)
    fits = DataType.is_null(kind) or is_text(kind)
    if feature.datatype == "BOOL":
        fits = fits or DataType.is_boolean(kind) or DataType.is_integer(kind)
    elif feature.datatype != "BYTES":
        fits = fits or number
    if not fits:
        name = feature.name
        found = repr(kind).strip().removeprefix("arro3.core.DataType<").removesuffix(">")
        raise InvalidArgument(f"{name}: expected {column.expectation()}; got a column of {found}", field=name)


Read = Callable[[Array], Values]
"""Reads one feature from each part of a column."""


def reader(column: Column, kind: DataType, max_string_bytes: int) -> Read:
    """Return what reads a feature from a column of a type, in the form that it is passed on in, that was checked."""
    if DataType.is_null(kind):
        return lambda array: missing(column, len(array))
    if column.feature.datatype == "BYTES":
        return partial(_texts, column, max_string_bytes)
    if column.feature.datatype == "BOOL":
        return partial(_truths, column, _truths_in_text if is_text(kind) else _truths_in_numbers)
    is_float = column.feature.is_float
    target = DataType.float64() if is_float else DataType.int64()
    if column.feature.datatype == "UINT64":
        target = DataType.uint64()
    if is_text(kind):
        numbers: _Numbers = partial(_in_text, target, is_float=is_float)
    elif not is_float and not DataType.is_integer(kind):
        numbers = _in_floats
    else:
        numbers = partial(_in_numbers, None if kind == target else target)
    return partial(_numbers, column, numbers)


def missing(column: Column, rows: int) -> Values:
    """Return the values of a nullable feature that the table has no column for."""
    return reader(column, DataType.utf8(), 0)(strings([None] * rows))


def fault(column: Column, got: str | None) -> str:
    """Say what is wrong with a value; None: that it is missing."""
    shown = None if got is None else got[:_SHOWN_CHARACTERS] + "..." * (len(got) > _SHOWN_CHARACTERS)
    found = "it is missing" if shown is None else f"got {shown}"
    return f"{column.feature.name}: expected {column.expectation()}; {found}"


def filler(column: Column) -> Scalar:
    """Return a value that the model can be run with, for rows whose answer is dropped."""
    null = column.feature.null
    return null if null is not None else column.feature.example


def _texts(column: Column, max_bytes: int, array: Array) -> Values:
    """Read strings by their different values: each is looked at once."""
    codes = array.cast(_CODES)
    numbers, null = to_numpy(dictionary_indices(codes))
    different: list[str | None] = [*dictionary_dictionary(codes).to_pylist()]
    if null is not None:
        numbers = np.where(null, len(different), numbers)
    different.append(None)  # where a null's code points
    nullable = column.feature.nullable
    wrong = [not (nullable if text is None else _sound(text, column, max_bytes)) for text in different]
    known = np.array(different, object)
    known[[*wrong[:-1], True]] = filler(column)
    values = known[numbers]
    if not any(wrong[:-1]) and (nullable or null is None):
        return Values(values, {}, lambda: array)
    return Values(values, _faults(column, np.array(wrong)[numbers], lambda row: different[numbers[row]]), lambda: array)


def _sound(text: str, column: Column, max_bytes: int) -> bool:
    if column.allowed is not None:
        return text in column.allowed
    return len(text) <= max_bytes and (len(text) * 4 <= max_bytes or len(text.encode()) <= max_bytes)


_Found = tuple[NDArray[Any], Nulls | None, Nulls | None]
"""Values, which of them are null, and which are of no use to the feature's datatype; None: none is."""
_Numbers = Callable[[Array], _Found]


def _truths(column: Column, found: _Numbers, array: Array) -> Values:
    values, null, failed = found(array)
    absent = _either(null, failed)
    bad = np.zeros(len(values), np.bool_) if failed is None else failed

    def typed() -> Array:
        return from_numpy(values.astype(np.uint8), absent).cast(DataType.bool())

    return _finish(column, array, values.copy(), null, bad, typed)


def _truths_in_text(array: Array) -> _Found:
    texts = [None if text is None else text.strip().lower() for text in array.to_pylist()]
    found = [None if text is None else _TRUTH.get(text) for text in texts]
    null = np.array([text is None for text in texts], np.bool_)
    failed = np.array([truth is None for truth in found], np.bool_) & ~null
    return np.array([bool(truth) for truth in found], np.bool_), null, failed


def _truths_in_numbers(array: Array) -> _Found:
    numbers, null = to_numpy(array.cast(DataType.int64()))
    failed = (numbers != 0) & (numbers != 1)
    return numbers == 1, null, failed if null is None else failed & ~null


def _numbers(column: Column, found: _Numbers, array: Array) -> Values:
    values, null, failed = found(array)
    absent = _either(null, failed)
    if column.feature.is_float:
        with np.errstate(over="ignore"):
            narrow = values.astype(column.dtype)
        bad = column.bad(narrow)
        not_numbers = np.isnan(narrow)
        null = _either(null, not_numbers) if not_numbers.any() else null
    else:
        narrow = values.astype(column.dtype)  # what doesn't fit is out of the column's range, and so at fault
        bad = column.bad(values)
    if null is not None:
        bad &= ~null
    if failed is not None:
        bad |= failed
    return _finish(column, array, narrow, null, bad, lambda: from_numpy(values, absent))


def _either(one: Nulls | None, other: Nulls | None) -> Nulls | None:
    if one is None or other is None:
        return other if one is None else one
    return one | other


def _finish(  # noqa: PLR0913, PLR0917 # what both kinds of numbers have come to
    column: Column, array: Array, values: NDArray[Any], null: Nulls | None, bad: Nulls, typed: Callable[[], Array]
) -> Values:
    """Write nulls as the model has them, and note what is at fault."""
    if null is not None:
        values[null] = filler(column)
        bad = bad if column.feature.nullable else bad | null
    if not bad.any():
        return Values(values, {}, typed)
    values[bad] = filler(column)
    return Values(values, _faults(column, bad, lambda row: array[int(row)].as_py()), typed)


def _in_numbers(target: DataType | None, array: Array) -> _Found:
    values, null = to_numpy(array if target is None else array.cast(target))
    if null is None or target is None:
        return values, null, None
    given = nulls(array)
    return values, given, null & ~given


def _in_text(target: DataType, array: Array, *, is_float: bool) -> _Found:
    values, null = to_numpy(array.cast(target))
    if null is None or null.sum() == array.null_count:
        return values, null, None
    given = nulls(array)
    failed = null & ~given
    values = values.copy()
    rows = np.flatnonzero(failed)
    for row, text in zip(rows.tolist(), pick(array, rows).to_pylist(), strict=True):
        number = _number(text)
        if number is not None and (is_float or (number.is_integer() and abs(number) < _INT64_END)):
            values[row] = number
            failed[row] = False
    return values, given, failed


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)  # Python's own notation for its sources alone
    except ValueError:
        return None


def _in_floats(array: Array) -> _Found:
    """Return whole numbers that are held as floats; a NaN among them is null, as data frames have it."""
    floats, _ = to_numpy(array.cast(DataType.float64()))
    given = nulls(array) | np.isnan(floats)
    sound = ~given & (np.abs(floats) < _INT64_END) & (np.floor(floats) == floats)
    return np.where(sound, floats, 0).astype(np.int64), given, ~given & ~sound


def _faults(column: Column, bad: Nulls, value: Callable[[Any], Any]) -> dict[int, str]:
    found = ((int(row), value(row)) for row in np.flatnonzero(bad))
    return {row: fault(column, None if got is None else str(got)) for row, got in found}

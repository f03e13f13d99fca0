"""Arrow arrays to numpy's and back, with nulls apart."""

from typing import Any

import nanoarrow
import numpy as np
from arro3.core import Array, DataType, RecordBatch, Schema, dictionary_dictionary
from nanoarrow import c_array, c_array_from_buffers
from numpy.typing import NDArray

_NULL_BYTES = 4
"""Of a null that is written out."""
Nulls = NDArray[np.bool_]
"""Of each row whether it is null."""


def to_numpy(array: Array) -> tuple[NDArray[Any], Nulls | None]:
    """Return an array of numbers as numpy has it, of shape [rows], and which of them are null; None where none is.

    The values share Arrow's memory, are not to be written to, and hold anything where they are null.
    """
    view = c_array(array).view()
    rows, start = len(array), view.offset
    values = np.asarray(view.buffer(1))[start : start + rows]
    return values, _nulls(view, rows, start) if array.null_count else None


def nulls(array: Array) -> Nulls:
    """Return which rows of an array of any type are null."""
    count = array.null_count
    if count in {0, len(array)}:
        return np.full(len(array), count > 0)
    view = c_array(array).view()
    return _nulls(view, len(array), view.offset)


def _nulls(view: Any, rows: int, start: int) -> Nulls:  # noqa: ANN401 # nanoarrow ships no types
    bits = np.frombuffer(view.buffer(0), np.uint8)
    null: Nulls = np.unpackbits(bits, count=start + rows, bitorder="little")[start:] == 0
    return null


def longest_text(array: Array) -> int:
    """Return the bytes of the longest string that is in a dictionary, or that a view shows; 0 for other arrays."""
    if DataType.is_dictionary(array.type):
        return longest_text(dictionary_dictionary(array)) if len(array) else 0
    return int(_lengths(c_array(array).view()).max(initial=0))


def inner_bytes(array: Array) -> int:
    """Return about how many bytes the values inside of lists and structures come to, each written out.

    In memory they may be less: strings in dictionaries, views of the same bytes, nulls that are but counted.
    """
    return _inner_bytes(c_array(array))


def _inner_bytes(array: Any) -> int:  # noqa: ANN401 # nanoarrow ships no types
    if array.dictionary is not None:
        return array.length * int(_lengths(array.dictionary.view()).max(initial=0))  # type: ignore[no-any-return]
    children = sum(_inner_bytes(child) for child in array.children)
    if array.n_children:
        return children
    return _NULL_BYTES * array.length + int(_lengths(array.view()).sum())  # type: ignore[no-any-return]


def _lengths(view: Any) -> NDArray[Any]:  # noqa: ANN401
    """Return the bytes of each string, none for other arrays."""
    first, last = view.offset, view.offset + view.length
    match view.storage_type:
        case "string_view" | "binary_view":
            lengths = np.frombuffer(view.buffer(1), np.int32)[4 * first : 4 * last : 4].astype(np.int64)
        case "string" | "large_string" | "binary" | "large_binary":
            lengths = np.diff(np.asarray(view.buffer(1))[first : last + 1]).astype(np.int64)
        case _:
            lengths = np.zeros(0, np.int64)
    return lengths


def from_numpy(values: NDArray[Any], null: Nulls | None = None) -> Array:
    """Return numbers as Arrow has them, null where `null` says so."""
    if null is None:
        return Array.from_numpy(np.ascontiguousarray(values))
    validity = np.packbits(~null, bitorder="little")
    kind = getattr(nanoarrow, values.dtype.name)()
    buffers = [validity, np.ascontiguousarray(values)]
    return Array.from_arrow(c_array_from_buffers(kind, len(values), buffers, null_count=int(null.sum())))


def strings(values: list[str | None]) -> Array:
    """Return strings as Arrow has them, None as null."""
    return Array(values, DataType.utf8())


def no_rows(schema: Schema) -> RecordBatch:
    """Return a batch of no rows, whatever the types of its columns."""
    nothing = Array.from_arrow(c_array([], nanoarrow.null()))
    fields = [schema.field(place) for place in range(len(schema))]
    return RecordBatch.from_arrays([nothing.cast(field.type) for field in fields], schema=schema)


def pick(values: Array, rows: NDArray[Any]) -> Array:
    """Return the rows of `values` that are numbered in `rows`."""
    return values.take(Array.from_numpy(rows.astype(np.uint32)))

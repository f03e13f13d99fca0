"""Convert Arrow arrays to numpy arrays and back, with nulls apart."""

from typing import Any

import nanoarrow
import numpy as np
from arro3.core import Array, DataType, RecordBatch, Schema
from nanoarrow import c_array, c_array_from_buffers
from numpy.typing import NDArray

Nulls = NDArray[np.bool_]
"""Whether each row is null."""


def to_numpy(array: Array) -> tuple[NDArray[Any], Nulls | None]:
    """Return an array of numbers, shape [rows], and its nulls or None.

    The values share Arrow's memory and must not be written to. They are undefined where they are null.
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


def null_rows(view: Any) -> Nulls | None:  # noqa: ANN401 # nanoarrow ships no types
    """Return which rows of an array's view are null; None without a bitmap."""
    return _nulls(view, view.length, view.offset) if view.buffer(0).size_bytes else None


def _nulls(view: Any, rows: int, start: int) -> Nulls:  # noqa: ANN401
    bits = np.frombuffer(view.buffer(0), np.uint8)
    null: Nulls = np.unpackbits(bits, count=start + rows, bitorder="little")[start:] == 0
    return null


def from_numpy(values: NDArray[Any], null: Nulls | None = None) -> Array:
    """Return numbers as an Arrow array, with nulls at the rows in `null`."""
    if null is None:
        return Array.from_numpy(np.ascontiguousarray(values))
    validity = np.packbits(~null, bitorder="little")
    kind = getattr(nanoarrow, values.dtype.name)()
    buffers = [validity, np.ascontiguousarray(values)]
    return Array.from_arrow(c_array_from_buffers(kind, len(values), buffers, null_count=int(null.sum())))


def strings(values: list[str | None]) -> Array:
    """Return strings as an Arrow array, None as null."""
    return Array(values, DataType.utf8())


def no_rows(schema: Schema) -> RecordBatch:
    """Return a batch of no rows, with columns of any type."""
    nothing = Array.from_arrow(c_array([], nanoarrow.null()))
    fields = [schema.field(index) for index in range(len(schema))]
    return RecordBatch.from_arrays([nothing.cast(field.type) for field in fields], schema=schema)


def pick(values: Array, rows: NDArray[Any]) -> Array:
    """Return the rows of `values` at the indices `rows`."""
    return values.take(Array.from_numpy(rows.astype(np.uint32)))

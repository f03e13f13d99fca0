"""Columns of values to the session's input tensors, without allocating any for a small batch.

The arrays of a batch are laid out once, at load; requests write their rows into them, one after the other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.manifest import Scalar
from server.signature import Columns, Signature

Values = Sequence[Scalar | None] | NDArray[Any]
"""One feature's values, checked: Python's with None for null, or an array in which null is written as the model's."""


class Feed:
    """The input tensors of at most `capacity` rows. Not to be shared between threads: a run reads what was written."""

    def __init__(self, signature: Signature, capacity: int, min_rows: int = 1) -> None:
        """Lay out an array for each feature; `min_rows` is the least that `tensors` gives."""
        capacity = max(capacity, min_rows)
        self._min_rows = min_rows
        self._arrays = [np.empty(capacity, column.dtype) for column in signature.columns]
        self._columns = [
            (array, column.feature.null) for array, column in zip(self._arrays, signature.columns, strict=True)
        ]
        self._names = [column.feature.name for column in signature.columns]
        self._tensors: list[Columns | None] = [None] * (capacity + 1)

    def write(self, start: int, rows: int, columns: Sequence[Values]) -> None:
        """Write `rows` rows from row `start` on; `columns` holds that many values for each feature, in their order."""
        if rows == 1:
            for (array, null), values in zip(self._columns, columns, strict=True):
                value = values[0]
                array[start] = null if value is None else value
            return
        stop = start + rows
        for (array, null), values in zip(self._columns, columns, strict=True):
            if null is not None and not isinstance(values, np.ndarray) and None in values:
                array[start:stop] = [null if value is None else value for value in values]
            else:
                array[start:stop] = values

    def tensors(self, rows: int) -> Columns:
        """Return what the session takes for the first `rows` rows: arrays of shape [rows, 1] that share this memory.

        Fewer rows than the least are filled up with copies of the last.
        """
        if rows < self._min_rows:
            for array in self._arrays:
                array[rows : self._min_rows] = array[rows - 1]
            rows = self._min_rows
        tensors = self._tensors[rows]
        if tensors is None:
            views = [array[:rows].reshape(-1, 1) for array in self._arrays]
            tensors = self._tensors[rows] = dict(zip(self._names, views, strict=True))
        return tensors

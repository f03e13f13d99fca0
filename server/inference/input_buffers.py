"""Input buffers: the session's input tensors, reused for small batches without allocation.

The arrays of a batch are allocated once, at load. Requests write their rows into them, one after the other.
"""

from collections.abc import Sequence

import numpy as np

from server.models.signature import Columns, Signature, Values


class InputBuffers:
    """Input tensors of at most `capacity` rows.

    Threads must not share them: a run reads the rows that were written last.
    """

    def __init__(self, signature: Signature, capacity: int, min_rows: int = 1) -> None:
        """Allocate an array per feature; `min_rows` is the minimum that `tensors` returns."""
        capacity = max(capacity, min_rows)
        self._min_rows = min_rows
        self._arrays = [np.empty(capacity, column.dtype) for column in signature.columns]
        self._columns = [
            (array, column.feature.null) for array, column in zip(self._arrays, signature.columns, strict=True)
        ]
        self._names = [column.feature.name for column in signature.columns]
        self._tensors: list[Columns | None] = [None] * (capacity + 1)

    def write(self, start: int, rows: int, columns: Sequence[Values]) -> None:
        """Write `rows` rows from row `start` on.

        `columns` holds that many values per feature, in order.
        """
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
        """Return the input tensors of the first `rows` rows, shape [rows, 1], as views.

        Fewer rows than the minimum are padded with copies of the last row.
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

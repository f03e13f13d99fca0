"""Count the bytes of an Arrow array's rows when written, and cut batches by them.

In memory a value may take less: strings in dictionaries, views of the same bytes, nulls, and empty structures, which
are only counted. This module does not import numpy or other parts of the server: the isolated reader starts with it.
"""

from collections.abc import Iterator
from operator import sub
from typing import Any, Final

from arro3.core import RecordBatch

VALUE_BYTES: Final = 4
"""Minimum bytes of a value, even for null or a type without width."""
BLOCK_BYTES: Final = 4 * 1024 * 1024
"""Maximum bytes of the rows in one block."""
MAX_ROW_BYTES: Final = 16 * 1024 * 1024
"""Maximum bytes of one row of an Arrow or Parquet file."""
_OFFSETS: Final = {"string", "binary", "large_string", "large_binary"}
_VIEWS: Final = {"string_view", "binary_view"}
_LISTS: Final = {"list", "large_list", "map"}


class TooLarge(Exception):
    """Error for a row or a record batch that takes too many bytes when written.

    The message states which of the two.
    """


class Extent:
    """The bytes of one array's rows."""

    def __init__(self, array: Any) -> None:  # noqa: ANN401 # nanoarrow ships no types
        """Read the layout of a nanoarrow CArray."""
        view = array.view()
        self._start = view.offset
        self._rows = array.length
        self._kind = view.storage_type
        self._longest = 0
        """Bytes of the longest value of a dictionary, or of a run."""
        self._children: list[Extent] = []
        self._list_size = view.layout.child_size_elements
        self._width = view.layout.element_size_bits[1] // 8 if view.n_buffers > 1 else 0
        self._values: memoryview = memoryview(b"")
        if array.dictionary is not None:
            self._kind, self._longest = "dictionary", Extent(array.dictionary).longest()
        elif self._kind == "run_end_encoded":
            self._longest = Extent(array.child(1)).longest()
        else:
            self._children = [Extent(child) for child in array.children]
            if self._kind in _OFFSETS | _LISTS:
                self._values = memoryview(view.buffer(0 if view.n_buffers == 1 else 1))
            elif self._kind in _VIEWS:
                self._values = memoryview(view.buffer(1)).cast("B").cast("i")

    def longest(self) -> int:
        """Return the bytes of the longest row."""
        if self._kind in _OFFSETS:
            used = self._values[self._start : self._start + self._rows + 1]
            return VALUE_BYTES + max(map(sub, used[1:], used[:-1]), default=0)
        return max((self.bytes(row, row + 1) for row in range(self._rows)), default=0)

    def bytes(self, start: int, stop: int) -> int:
        """Return the bytes of the rows from `start` up to, not including, `stop`."""
        rows = stop - start
        total = rows * VALUE_BYTES
        start, stop = start + self._start, stop + self._start
        if rows <= 0:
            return 0
        if self._longest:
            return total + rows * self._longest
        if self._kind in _OFFSETS:
            return total + int(self._values[stop]) - int(self._values[start])
        if self._kind in _VIEWS:
            return total + sum(self._values[4 * start : 4 * stop : 4])
        return total + self._inner(start, stop)

    def _inner(self, start: int, stop: int) -> int:
        """Return the bytes of values that are neither strings nor in a dictionary."""
        if self._kind in _LISTS:
            return self._children[0].bytes(int(self._values[start]), int(self._values[stop]))
        if self._kind == "fixed_size_list":
            return self._children[0].bytes(start * self._list_size, stop * self._list_size)
        if self._kind == "dense_union":
            return (stop - start) * max((child.longest() for child in self._children), default=0)
        if self._children:
            return sum(child.bytes(start, stop) for child in self._children)
        return (stop - start) * self._width


def cut(batch: RecordBatch, max_rows: int, max_bytes: int | None = None) -> Iterator[RecordBatch]:
    """Yield the rows of a batch, at most `max_rows` and BLOCK_BYTES at a time.

    `max_bytes` limits the batch's size when written. It is given if rows may then take more bytes than in memory.
    Raises TooLarge.
    """
    if max_bytes is None and batch.nbytes <= BLOCK_BYTES:
        extents = []
    else:
        from nanoarrow import c_array

        extents = [Extent(c_array(column)) for column in batch.columns]
        if max_bytes is not None and sum(e.bytes(0, batch.num_rows) for e in extents) > max_bytes:
            raise TooLarge(f"record batches of at most {max_bytes} bytes when written out")
    start, step = 0, max_rows
    while start < batch.num_rows:
        step = min(2 * step, max_rows, batch.num_rows - start)
        while (size := sum(e.bytes(start, start + step) for e in extents)) > BLOCK_BYTES and step > 1:
            step //= 2
        if size > MAX_ROW_BYTES:
            raise TooLarge(f"rows of at most {MAX_ROW_BYTES} bytes")
        yield batch.slice(start, step)
        start += step

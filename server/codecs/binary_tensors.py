"""Read and write the binary tensor extension: bytes that follow the JSON.

Values are little-endian, row-major, without padding. BOOL is one byte, 0 or 1. A BYTES element is its length as a
32-bit unsigned integer, then its bytes (Triton's "Binary Tensor Data Extension"). Numbers are views of the body, not
copies.
"""

import re
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.errors import InvalidArgument, PayloadTooLarge
from server.models.quoting import quoted_value
from server.models.signature import Column, Values

_SCALARS: Final = {
    "INT8": "<b",
    "INT16": "<h",
    "INT32": "<i",
    "INT64": "<q",
    "UINT8": "<B",
    "UINT16": "<H",
    "UINT32": "<I",
    "UINT64": "<Q",
    "FP16": "<e",
    "FP32": "<f",
    "FP64": "<d",
}
_LENGTH: Final = struct.Struct("<I")


class ColumnReader:
    """Reader and checker of one feature's tensor."""

    def __init__(self, column: Column, max_string_bytes: int) -> None:
        """Prepare the values that all requests share."""
        self._column = column
        self._name = column.feature.name
        self._max_string_bytes = max_string_bytes
        scalar = _SCALARS.get(column.feature.datatype)
        self._unpack = struct.Struct(scalar).unpack_from if scalar else None
        self._dtype = column.dtype.newbyteorder("<")
        self._known_strings = {_encode_string(str(each)): str(each) for each in _known_strings(column)}
        self._find_known = re.compile(b"|".join(map(re.escape, self._known_strings)), re.DOTALL).findall

    def read(self, body: bytes, offset: int, size: int, rows: int) -> Values:
        """Return the values in `size` bytes of `body` from `offset` on.

        Raises InvalidArgument, naming the tensor.
        """
        if self._column.feature.datatype == "BYTES":
            return self._strings(body[offset : offset + size], rows)
        if size != rows * self._dtype.itemsize:
            raise self._error(f"expected {rows * self._dtype.itemsize} bytes for {rows} rows; got {size}")
        if not rows:
            return np.empty(0, self._column.dtype)
        if rows == 1 and self._unpack is not None:
            (value,) = self._unpack(body, offset)
            if self.holds(value):
                return (value,)
        array = np.frombuffer(body, np.uint8 if self._unpack is None else self._dtype, rows, offset)
        if self._unpack is None:
            if array.max() > 1:
                raise self._error(f"expected each byte to be 0 or 1; got {array.max()}")
            array = array.view(np.bool_)
        self._column.check(array)
        return array

    def holds(self, value: float) -> bool:
        """Return whether the column surely may hold a value; other values are checked as array."""
        if self._column.allowed is not None:
            return value in self._column.allowed
        return self._column.low is None or self._column.high is None or self._column.low <= value <= self._column.high

    def _strings(self, data: bytes, rows: int) -> Sequence[str]:
        if self._known_strings:
            found = self._find_known(data)
            if len(found) == rows and b"".join(found) == data:  # no bytes between the elements
                return list(map(self._known_strings.__getitem__, found))
        strings = [*self._split(data, rows)]
        array = np.array(strings, dtype=object)
        self._column.check(array)
        return strings

    def _split(self, data: bytes, rows: int) -> list[str]:
        """Return the elements of `data`.

        Raises InvalidArgument if there are not exactly `rows` elements, PayloadTooLarge for an element over the limit.
        """
        strings: list[str] = []
        offset = 0
        while offset < len(data) and len(strings) < rows:
            if offset + _LENGTH.size > len(data):
                raise self._error(f"element {len(strings)} is cut off")
            (length,) = _LENGTH.unpack_from(data, offset)
            offset += _LENGTH.size
            if length > len(data) - offset:
                raise self._error(
                    f"element {len(strings)} is cut off: expected {length} bytes, got {len(data) - offset}"
                )
            strings.append(self.string(data[offset : offset + length]))
            offset += length
        if offset != len(data) or len(strings) != rows:
            raise self._error(f"expected {rows} elements; got {len(strings)} and {len(data) - offset} more bytes")
        return strings

    def string(self, data: bytes) -> str:
        """Return one element.

        Raises InvalidArgument for invalid UTF-8, PayloadTooLarge for an element over the limit.
        """
        if len(data) > self._max_string_bytes:
            message = f"{self._name}: expected strings of at most {self._max_string_bytes} bytes; got {len(data)}"
            raise PayloadTooLarge(message, field=self._name)
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise self._error(f"expected UTF-8; got {quoted_value(data)}") from None

    def _error(self, reason: str) -> InvalidArgument:
        return InvalidArgument(f"{self._name}: binary data: {reason}", field=self._name)


def tensor_bytes(array: NDArray[Any]) -> bytes:
    """Return an output tensor's bytes."""
    if array.dtype.kind == "O":
        strings = array.reshape(-1).tolist()
        encoded = {each: _encode_string(each) for each in set(strings)}  # labels: few distinct values, repeated often
        return b"".join(map(encoded.__getitem__, strings))
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _encode_string(text: str) -> bytes:
    data = text.encode()
    return _LENGTH.pack(len(data)) + data


def _known_strings(column: Column) -> set[str]:
    """Return the only strings a column may hold; empty if any is valid."""
    if column.feature.datatype != "BYTES" or column.feature.categories is None:
        return set()
    null = column.feature.null
    return {str(each) for each in column.feature.categories} | ({str(null)} if null is not None else set())

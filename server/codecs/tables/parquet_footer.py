"""Read the length of a Parquet file's rows from its footer.

The library that reads the file does not give this length.

The footer is a Thrift structure in the compact protocol: https://github.com/apache/thrift/blob/master/doc/specs. Faults
in a footer are ignored here: the library reports them.
"""

import os
from typing import IO, Any, Final

MAX_FOOTER_BYTES: Final = 1024 * 1024
"""Maximum bytes of a footer to read. A larger one describes many columns, whose batches have few rows anyway."""
_TAIL_BYTES: Final = 8
_ROW_GROUPS: Final = 4
"""Field number in FileMetaData."""
_TOTAL_BYTES, _ROWS = 2, 3
"""Field numbers in RowGroup."""
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_LONG: Final = 15
"""Count in a list's header that means that the real count follows."""
_FAULTS: Final = (IndexError, ValueError, RecursionError, OverflowError)


def row_bytes(file: IO[bytes]) -> int:
    """Return the bytes of a row in the row group with the longest rows.

    Rows are uncompressed and encoded. Returns 0 if the footer does not state the bytes.
    """
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - _TAIL_BYTES))
    size = int.from_bytes(file.read(4), "little")
    longest = 0
    if size <= min(MAX_FOOTER_BYTES, length - _TAIL_BYTES):
        file.seek(length - _TAIL_BYTES - size)
        longest = _longest(file.read(size))
    file.seek(0)
    return longest


def _longest(footer: bytes) -> int:
    try:
        groups = _Compact(footer).struct().get(_ROW_GROUPS, [])
        return int(max((group[_TOTAL_BYTES] // max(group[_ROWS], 1) for group in groups), default=0))
    except (*_FAULTS, TypeError, KeyError, AttributeError):
        return 0


class _Compact:
    """Reader of consecutive values in Thrift's compact protocol.

    Raises one of `_FAULTS` for invalid bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def struct(self) -> dict[int, Any]:
        """Return the fields of a structure by their numbers."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 15
            fields[number] = kind == _TRUE if kind in {_TRUE, _FALSE} else self._value(kind)
        return fields

    def _value(self, kind: int) -> Any:  # noqa: ANN401 # a value of any type
        if kind in {_I16, _I32, _I64}:
            return self._integer()
        if kind in {_TRUE, _FALSE, _BYTE}:
            return self._byte()
        if kind == _DOUBLE:
            return self._skip(8)
        if kind == _BINARY:
            return self._skip(self._varint())
        if kind in {_LIST, _SET}:
            head = self._byte()
            count = head >> 4 if head >> 4 != _LONG else self._varint()
            return [self._value(head & 15) for _ in range(count)]
        if kind == _STRUCT:
            return self.struct()
        raise ValueError(kind)  # a map, which no footer has, or an unknown type

    def _skip(self, size: int) -> None:
        self._offset += size

    def _byte(self) -> int:
        self._offset += 1
        return self._data[self._offset - 1]

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7

    def _integer(self) -> int:
        number = self._varint()
        return number >> 1 ^ -(number & 1)

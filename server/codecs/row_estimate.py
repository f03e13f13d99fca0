"""Estimate the rows of a body from its bytes, to admit requests before decoding."""

from math import ceil
from typing import Final

from server.codecs.compression import ENCODINGS

_FIRST_BYTES: Final = 8.0
"""Bytes per value before the first body is decoded: fewer than JSON or tensors take."""
_FIRST_COMPRESSED_BYTES: Final = 0.5
"""Bytes per value before the first compressed body is decoded."""
_GROWTH: Final = 1.1
"""Maximum growth of the bytes per row after one request. So one unusual request does not make the queue too long."""


class RowEstimate:
    """Bytes per row of one model version on one interface, learnt from decoded bodies.

    The estimate follows smaller rows at once and larger rows slowly. So it tends to have too many rows, not too few.
    """

    __slots__ = ("_bytes_per_row", "_max_rows")

    def __init__(self, bytes_per_row: float, max_rows: int) -> None:
        """Begin with `bytes_per_row`; never estimate more than `max_rows`."""
        self._bytes_per_row = bytes_per_row
        self._max_rows = max_rows

    def rows(self, size: int) -> int:
        """Return the estimated rows of a body of `size` bytes, at least one."""
        return max(1, min(self._max_rows, ceil(size / self._bytes_per_row)))

    def learn(self, size: int, rows: int) -> None:
        """Update the estimate by a body of `size` bytes and `rows` rows.

        Any thread may call it.
        """
        self._bytes_per_row = min(size / rows, self._bytes_per_row * _GROWTH)


def estimates(features: int, max_rows: int) -> dict[str, RowEstimate]:
    """Return an estimate for bodies of each encoding."""
    initial_bytes = dict.fromkeys(ENCODINGS, _FIRST_COMPRESSED_BYTES) | {"identity": _FIRST_BYTES}
    return {encoding: RowEstimate(features * each, max_rows) for encoding, each in initial_bytes.items()}

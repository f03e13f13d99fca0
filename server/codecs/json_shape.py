"""Measure the depth and the number of values of a JSON document without decoding it.

A decoder holds the interpreter lock until it returns. So the number of values is limited before the decoder runs. The
scan works on slices: no step takes more than a fraction of a millisecond.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.errors import InvalidArgument, PayloadTooLarge

LARGE_BYTES: Final = 64 * 1024
"""Maximum size of a document that always decodes within a few milliseconds."""
_SLICE_BYTES: Final = 64 * 1024
_QUOTE, _BACKSLASH, _COMMA, _COLON, _OPEN, _CLOSE = b'"\\,:{}'
_CASE: Final = 0x20
"""The bit that differs between a brace and a bracket."""


class Shape(NamedTuple):
    """Counts of the structure outside a document's strings."""

    depth: int
    """Nesting depth of arrays and objects."""
    objects: int
    members: int
    """Number of colons."""
    elements: int
    """Number of commas."""


class MaxCounts(NamedTuple):
    """Maximum counts of a valid document of some kind."""

    objects: int
    members: int
    elements: int


def scan(document: bytes) -> Shape:
    """Return the structure of a document. Invalid JSON also has one: the decoder rejects it."""
    codes = np.frombuffer(document, np.uint8)
    strings = _Strings()
    depth = max_depth = objects = members = elements = 0
    for start in range(0, len(codes), _SLICE_BYTES):
        outside = strings.outside(codes[start : start + _SLICE_BYTES])
        objects += int(np.count_nonzero(outside == _OPEN))
        members += int(np.count_nonzero(outside == _COLON))
        elements += int(np.count_nonzero(outside == _COMMA))
        folded = outside | _CASE
        steps = (folded == _OPEN).view(np.int8) - (folded == _CLOSE).view(np.int8)
        if steps.any():
            depths = np.cumsum(steps, dtype=np.int32)
            max_depth = max(max_depth, depth + int(depths.max()))
            depth += int(depths[-1])
    return Shape(max_depth, objects, members, elements)


class _Strings:
    """Filter of the bytes inside strings, slice by slice."""

    def __init__(self) -> None:
        self._inside = False
        self._escaping = 0
        """1 if the previous slice ended in a backslash that escapes this slice's first byte."""

    def outside(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the bytes of the next slice outside strings.

        Of a string's two quotes, the closing one is included.
        """
        quotes = codes == _QUOTE
        backslashes = codes == _BACKSLASH
        if self._escaping or backslashes.any():
            quotes = self._unescaped(quotes, backslashes)
        inside = np.bitwise_xor.accumulate(quotes)
        if self._inside:
            inside = ~inside
        self._inside = bool(inside[-1])
        return codes[~inside]

    def _unescaped(self, quotes: NDArray[np.bool_], backslashes: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the unescaped quotes: an even number of consecutive backslashes precedes them."""
        positions = np.arange(1, len(quotes) + 1, dtype=np.int32)
        run = positions - np.maximum.accumulate(np.where(backslashes, np.int32(-self._escaping), positions))
        before = np.concatenate((np.array([self._escaping], np.int32), run[:-1]))
        self._escaping = int(run[-1]) & 1
        quotes[before & 1 == 1] = False
        return quotes


def check_depth(document: bytes, max_depth: int) -> None:
    """Raise InvalidArgument if arrays and objects are nested more than `max_depth` deep."""
    if document.count(b"[") + document.count(b"{") > max_depth and scan(document).depth > max_depth:
        raise InvalidArgument(f"body: expected JSON nested at most {max_depth} deep")


def check_counts(document: bytes, max_counts: MaxCounts) -> None:
    """Raise PayloadTooLarge for more objects, members or elements than `max_counts` allows."""
    codes = np.frombuffer(document, np.uint8)
    marks = (_OPEN, _COLON, _COMMA)
    if all(np.count_nonzero(codes == mark) <= limit for mark, limit in zip(marks, max_counts, strict=True)):
        return  # true for every valid document, unless its strings are full of punctuation
    shape = scan(document)
    for name, count_found, limit in zip(MaxCounts._fields, shape[1:], max_counts, strict=True):
        if count_found > limit:
            raise PayloadTooLarge(f"body: expected at most {limit} {name} in its JSON; got {count_found}")

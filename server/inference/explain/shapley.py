"""Exact interventional Shapley values, from the model's outputs for coalitions of features.

The features of a coalition have the record's values, all others have a background row's. The worth of a coalition is
the mean of the model's outputs over the background. This module knows nothing of models. No call takes much longer than
a small run of a model, so that a caller on the event loop does not block other work.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
_PART_FEATURES: Final = 7
"""Features whose coalitions are laid out at a time: 128 coalitions per background row."""


class Background:
    """Background rows, with each value encoded as a digit; equal values have equal digits.

    They replace the features that are not in a coalition.
    """

    def __init__(self, columns: Sequence[NDArray[Any]]) -> None:
        """Take a column of shape [rows, 1] per feature, in order; at least one row."""
        self.distinct: list[NDArray[Any]] = []
        """Distinct values of each feature, in the order of their digits."""
        self.known: list[dict[Hashable, int]] = []
        """Value to digit, for each feature."""
        digits = []
        for column in columns:
            known: dict[Hashable, int] = {}
            digits.append([known.setdefault(value, len(known)) for value in _comparable(column)])
            firsts = [digits[-1].index(digit) for digit in range(len(known))]
            self.distinct.append(column.reshape(-1)[firsts])
            self.known.append(known)
        self.digits = np.array(digits, np.int64)
        """Shape [features, rows]."""
        # One digit more than there are values, for the record's own value. 33 ** 12 is less than 2 ** 63.
        self.bases = np.array([[len(known) + 1] for known in self.known], np.int64)
        self.places = np.concatenate([[[1]], np.cumprod(self.bases[:-1], axis=0)])


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the distinct rows that explain a record."""

    number: int
    tables: Sequence[NDArray[Any]]
    """Values of each feature."""
    digits: NDArray[np.int64]
    """Index of each row's value in `tables`, shape [features, rows]."""
    at: NDArray[np.intp]
    """Row index for each coalition and each background row of the part."""
    own: NDArray[np.bool_]
    """Whether a background row belongs to the part."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.digits[0])

    def columns(self, start: int, stop: int) -> list[NDArray[Any]]:
        """Return for each feature a column, shape [rows, 1], of rows `start` to `stop`."""
        return [
            table[digits[start:stop]].reshape(-1, 1) for table, digits in zip(self.tables, self.digits, strict=True)
        ]


class Coalitions:
    """The model's input rows for one record, and the values computed from the outputs.

    Equal rows run once. If the record and a background row have the same value of a feature, the coalitions with and
    without that feature make the same row. The coalitions of most features make few distinct rows over the whole
    background. Rows are compared within a part, and a part omits rows that are in an earlier part because of equal
    values.
    """

    def __init__(self, background: Background, record: Sequence[NDArray[Any]], output: Values) -> None:
        """Take a column of shape [1, 1] per feature, and the record's output, shape [outputs]."""
        digits, self._tables = [], []
        for column, distinct, known in zip(record, background.distinct, background.known, strict=True):
            digits.append([known.get(_comparable(column)[0], len(known))])
            self._tables.append(np.concatenate([distinct, column.reshape(-1)]))
        self._background = background
        self._output = output
        features, rows = background.digits.shape
        self._part_bits = min(features, _PART_FEATURES)
        high = features - self._part_bits
        self.parts = 2**high
        """Number of parts, to be laid out and run in order."""
        self._numbers = (background.digits * background.places).sum(axis=0)
        self._differences = (np.array(digits) - background.digits) * background.places
        # Bit i of a coalition's number says whether feature i is in it. The high bits are the number of its part.
        self._differing_bits = ((self._differences[self._part_bits :] != 0) * 2 ** np.arange(high)[:, None]).sum(axis=0)
        self._outputs = np.empty((self.parts, 2**self._part_bits, rows, len(output)))
        self._coalition_values = np.empty((self.parts, 2**self._part_bits, len(output)))

    def part(self, number: int) -> Part:
        """Lay out a part."""
        own = number & ~self._differing_bits == 0
        is_included = number >> np.arange(len(self._differences) - self._part_bits) & 1 == 1
        numbers = (self._numbers + self._differences[self._part_bits :][is_included].sum(axis=0))[None, own]
        for each in self._differences[: self._part_bits]:
            numbers = np.concatenate([numbers, numbers + each[own]])
        distinct, at = np.unique(numbers, return_inverse=True)
        digits = distinct // self._background.places % self._background.bases
        return Part(number, self._tables, digits, at.reshape(numbers.shape), own)

    def put(self, part: Part, outputs: Sequence[Values]) -> None:
        """Store the outputs for a part's rows, in order.

        `outputs` holds arrays of shape [n, outputs]; it may be empty if the part has no rows.
        """
        part_outputs = self._outputs[part.number]
        if part.rows:
            part_outputs[:, part.own] = np.concatenate(outputs)[part.at]
        others = np.flatnonzero(~part.own)  # in an earlier part, without features of equal values
        part_outputs[:, others] = self._outputs[part.number & self._differing_bits[others], :, others].swapaxes(0, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            # The mean of the differences to the record's output: small contributions to large values keep their digits.
            self._coalition_values[part.number] = (part_outputs - self._output).mean(axis=1)

    def base(self) -> Values:
        """Return the mean of the background's outputs, shape [outputs]."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self._outputs[0, 0].mean(axis=0))

    def contribution(self, feature: int) -> list[float]:
        """Return a feature's contribution to each output.

        The base and all contributions sum up to the output. A contribution is the weighted mean of the feature's gain
        over all coalitions of the other features (Shapley 1953). The sum is exact, so that a feature without any gain
        contributes exactly 0. NaN if an output is not finite, or too large.
        """
        others = len(self._differences) - 1
        weights = np.array([1 / ((others + 1) * math.comb(others, size)) for size in range(others + 1)])
        pairs = self._coalition_values.reshape(2 ** (others - feature), 2, 2**feature, -1)
        with np.errstate(over="ignore", invalid="ignore"):
            gains = (pairs[:, 1] - pairs[:, 0]).reshape(2**others, -1)
        gains *= weights[np.bitwise_count(np.arange(2**others))][:, None]
        return [math.fsum(gain) if np.isfinite(gain).all() else math.nan for gain in gains.T]


def _comparable(column: NDArray[Any]) -> list[Hashable]:
    """Return keys that compare values by their bits.

    0.0 and -0.0 differ, and a NaN is equal to itself.
    """
    values = column.reshape(-1)
    return values.tolist() if values.dtype == object else [value.tobytes() for value in values]

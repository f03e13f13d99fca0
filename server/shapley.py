"""Coalitions of features to the rows that a model is run on, and its answers to each feature's exact share of one.

Interventional Shapley values: the features of a coalition have the record's values, all others a background row's, and
what a coalition is worth is the mean of the model's answers over the background. Knows nothing of models.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


class Shares(NamedTuple):
    """What one record's answer is made of; `base` and all of a column's contributions add up to it."""

    base: Values
    """The mean of the background's answers, shape [outputs]."""
    contributions: Values
    """Shape [features, outputs]."""


class Background:
    """The rows that stand in for what isn't known of a record, each value as a digit: equal ones have the same."""

    def __init__(self, columns: Sequence[NDArray[Any]]) -> None:
        """Take a column for each feature, in their order, of shape [rows, 1]; at least one row."""
        self.rows = len(columns[0])
        self._distinct: list[NDArray[Any]] = []
        self._known: list[dict[Hashable, int]] = []
        digits = []
        for column in columns:
            known: dict[Hashable, int] = {}
            digits.append([known.setdefault(value, len(known)) for value in _comparable(column)])
            firsts = [digits[-1].index(digit) for digit in range(len(known))]
            self._distinct.append(column.reshape(-1)[firsts])
            self._known.append(known)
        self._digits = np.array(digits, np.int64)
        # A digit more than there are values, for the record's own. 33 ** 12 is less than 2 ** 63.
        self._bases = np.array([len(known) + 1 for known in self._known], np.int64)
        self._places = np.concatenate([[1], np.cumprod(self._bases[:-1])])

    def hybrids(self, record: Sequence[NDArray[Any]]) -> "Hybrids":
        """Return the rows that explain a record, of which `record` has a column of shape [1, 1] for each feature."""
        tables, own = [], []
        for column, distinct, known in zip(record, self._distinct, self._known, strict=True):
            own.append(known.get(_comparable(column)[0], len(known)))
            tables.append(np.concatenate([distinct, column.reshape(-1)]))
        added = (np.array(own)[:, None] - self._digits) * self._places[:, None]
        numbers = (self._digits * self._places[:, None]).sum(axis=0)[None]
        for each in added:  # bit i of a coalition's number says whether feature i is in it
            numbers = np.concatenate([numbers, numbers + each])
        distinct_numbers, at = np.unique(numbers, return_inverse=True)
        digits = distinct_numbers // self._places[:, None] % self._bases[:, None]
        return Hybrids(tables, digits, at.reshape(numbers.shape))


class Hybrids:
    """What a model is run on to explain one record: each row that some coalition makes of it and the background, once.

    Where the record and a background row have the same value, the coalitions with and without that feature make the
    same row; those with most features make few rows of the whole background.
    """

    def __init__(self, tables: Sequence[NDArray[Any]], digits: NDArray[np.int64], at: NDArray[np.intp]) -> None:
        """Take each feature's values, which of them each row has, and the row of each coalition and background row."""
        self.rows = digits.shape[1]
        self._tables = tables
        self._digits = digits
        self._at = at

    def columns(self, start: int, stop: int) -> list[NDArray[Any]]:
        """Return a column of shape [rows, 1] for each feature, of the rows from number `start` up to `stop`."""
        return [
            table[digits[start:stop]].reshape(-1, 1) for table, digits in zip(self._tables, self._digits, strict=True)
        ]

    def shares(self, answers: Values, answer: Values) -> Shares:
        """Return what the record's `answer`, shape [outputs], is made of; `answers` are those of all rows.

        NaN, where an answer is no finite number or too large to be subtracted from another.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            base = answers[self._at[0]].mean(axis=0)
            # Of the differences to the answer, that small shares of large values keep their digits.
            worth = (answers - answer)[self._at].mean(axis=1)
        if not np.isfinite(worth).all():
            return Shares(base, np.full((len(self._tables), len(answer)), np.nan))
        return Shares(base, _contributions(worth, len(self._tables)))


def _contributions(worth: Values, features: int) -> Values:
    """Return each feature's share, shape [features, outputs], of what coalitions are worth: [2 ** features, outputs].

    The weighted mean of what the feature adds to each coalition of the others (Shapley 1953); summed without a loss,
    so that what adds nothing anywhere has a share of exactly 0.
    """
    others = features - 1
    weights = np.array([1 / (features * math.comb(others, size)) for size in range(features)])
    of_coalition = weights[np.bitwise_count(np.arange(2**others))]
    found = np.empty((features, worth.shape[1]))
    for feature in range(features):
        pairs = worth.reshape(2 ** (others - feature), 2, 2**feature, -1)
        gains = (pairs[:, 1] - pairs[:, 0]).reshape(2**others, -1) * of_coalition[:, None]
        found[feature] = [math.fsum(gain) for gain in gains.T.tolist()]
    return found


def _comparable(column: NDArray[Any]) -> list[Hashable]:
    """Return what tells values apart to the bit: 0.0 and -0.0 are two, and a NaN is equal to itself."""
    values = column.reshape(-1)
    return values.tolist() if values.dtype == object else [value.tobytes() for value in values]

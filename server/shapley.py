"""Coalitions of features to the rows that a model is run on, and its answers to each feature's exact share of one.

Interventional Shapley values: the features of a coalition have the record's values, all others a background row's, and
what a coalition is worth is the mean of the model's answers over the background. Knows nothing of models. No call takes
much longer than a small run of one: who calls these between other work holds nobody up.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
_PART_FEATURES: Final = 7
"""Features whose coalitions are laid out at a time: 128 of them, for each row of the background."""


class Background:
    """The rows that stand in for what isn't known of a record, each value as a digit: equal ones have the same."""

    def __init__(self, columns: Sequence[NDArray[Any]]) -> None:
        """Take a column for each feature, in their order, of shape [rows, 1]; at least one row."""
        self.distinct: list[NDArray[Any]] = []
        """Each feature's values, in the order of their digits."""
        self.known: list[dict[Hashable, int]] = []
        """Each feature's values to their digits."""
        digits = []
        for column in columns:
            known: dict[Hashable, int] = {}
            digits.append([known.setdefault(value, len(known)) for value in _comparable(column)])
            firsts = [digits[-1].index(digit) for digit in range(len(known))]
            self.distinct.append(column.reshape(-1)[firsts])
            self.known.append(known)
        self.digits = np.array(digits, np.int64)
        """Shape [features, rows]."""
        # A digit more than there are values, for the record's own. 33 ** 12 is less than 2 ** 63.
        self.bases = np.array([[len(known) + 1] for known in self.known], np.int64)
        self.places = np.concatenate([[[1]], np.cumprod(self.bases[:-1], axis=0)])


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the rows that explain a record, no two of them equal."""

    number: int
    tables: Sequence[NDArray[Any]]
    """Each feature's values."""
    digits: NDArray[np.int64]
    """Which of them each row has, shape [features, rows]."""
    at: NDArray[np.intp]
    """The row of each coalition and each of the part's background rows."""
    own: NDArray[np.bool_]
    """Whether a background row is one of the part's."""

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.digits[0])

    def columns(self, start: int, stop: int) -> list[NDArray[Any]]:
        """Return a column of shape [rows, 1] for each feature, of the rows from number `start` up to `stop`."""
        return [
            table[digits[start:stop]].reshape(-1, 1) for table, digits in zip(self.tables, self.digits, strict=True)
        ]


class Coalitions:
    """What a model is run on to explain one record, and what comes of it.

    Equal rows are run once: where the record and a background row have the same value, the coalitions with and without
    that feature make the same row, and those of most features make few rows of the whole background. Rows are compared
    within a part, and a part lays out those that no earlier one has for want of a difference.
    """

    def __init__(self, background: Background, record: Sequence[NDArray[Any]], answer: Values) -> None:
        """Take a column of shape [1, 1] for each feature, and the answer to that record, shape [outputs]."""
        own, self._tables = [], []
        for column, distinct, known in zip(record, background.distinct, background.known, strict=True):
            own.append([known.get(_comparable(column)[0], len(known))])
            self._tables.append(np.concatenate([distinct, column.reshape(-1)]))
        self._background = background
        self._answer = answer
        features, rows = background.digits.shape
        self._low = min(features, _PART_FEATURES)
        high = features - self._low
        self.parts = 2**high
        """How many there are, to be laid out and answered in their order."""
        self._numbers = (background.digits * background.places).sum(axis=0)
        self._added = (np.array(own) - background.digits) * background.places
        # Bit i of a coalition's number says whether feature i is in it, and the high bits are the number of its part.
        self._moved = ((self._added[self._low :] != 0) * 2 ** np.arange(high)[:, None]).sum(axis=0)
        self._answers = np.empty((self.parts, 2**self._low, rows, len(answer)))
        self._worth = np.empty((self.parts, 2**self._low, len(answer)))

    def part(self, number: int) -> Part:
        """Lay out a part."""
        own = number & ~self._moved == 0
        is_in = number >> np.arange(len(self._added) - self._low) & 1 == 1
        numbers = (self._numbers + self._added[self._low :][is_in].sum(axis=0))[None, own]
        for each in self._added[: self._low]:
            numbers = np.concatenate([numbers, numbers + each[own]])
        distinct, at = np.unique(numbers, return_inverse=True)
        digits = distinct // self._background.places % self._background.bases
        return Part(number, self._tables, digits, at.reshape(numbers.shape), own)

    def put(self, part: Part, answers: Sequence[Values]) -> None:
        """Take the answers to a part's rows, in their order: arrays of shape [some, outputs]; none of no rows."""
        found = self._answers[part.number]
        if part.rows:
            found[:, part.own] = np.concatenate(answers)[part.at]
        others = np.flatnonzero(~part.own)  # an earlier part has their rows: without what is the record's anyway
        found[:, others] = self._answers[part.number & self._moved[others], :, others].swapaxes(0, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            # Of the differences to the answer, that small shares of large values keep their digits.
            self._worth[part.number] = (found - self._answer).mean(axis=1)

    def base(self) -> Values:
        """Return the mean of the background's answers, shape [outputs]."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self._answers[0, 0].mean(axis=0))

    def contribution(self, feature: int) -> list[float]:
        """Return what a feature adds to each output: the base and all contributions are the answer.

        The weighted mean of what it adds to each coalition of the others (Shapley 1953); summed without a loss, so that
        what adds nothing anywhere has a share of exactly 0. NaN where an answer is no finite number, or too large.
        """
        others = len(self._added) - 1
        weights = np.array([1 / ((others + 1) * math.comb(others, size)) for size in range(others + 1)])
        pairs = self._worth.reshape(2 ** (others - feature), 2, 2**feature, -1)
        with np.errstate(over="ignore", invalid="ignore"):
            gains = (pairs[:, 1] - pairs[:, 0]).reshape(2**others, -1)
        gains *= weights[np.bitwise_count(np.arange(2**others))][:, None]
        return [math.fsum(gain) if np.isfinite(gain).all() else math.nan for gain in gains.T]


def _comparable(column: NDArray[Any]) -> list[Hashable]:
    """Return what tells values apart to the bit: 0.0 and -0.0 are two, and a NaN is equal to itself."""
    values = column.reshape(-1)
    return values.tolist() if values.dtype == object else [value.tobytes() for value in values]

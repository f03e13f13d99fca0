"""Truths and answers to the numbers that pictures are drawn from, and that captions say."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

Numbers = NDArray[np.float64]
MOST_BINS: Final = 10
ROWS_PER_BIN: Final = 20
_Z: Final = 1.959964
"""97.5th percentile of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A line and the one figure it is told by."""

    x: Numbers
    y: Numbers
    area: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Rows in bins of the probability they were given: what was said in each, and what came."""

    said: Numbers
    """Mean probability in each bin that has rows."""
    came: Numbers
    """Share of hits in it."""
    low: Numbers
    high: Numbers
    """Ends of that share's 95 % interval, by Wilson."""
    counts: NDArray[np.intp]
    """Rows in each bin, empty ones too."""
    error: float
    """Expected calibration error: mean distance of the two over the rows."""


def is_told(hits: NDArray[np.bool_]) -> bool:
    """Return whether there are rows of both kinds: without them there is no curve."""
    return bool(hits.any() and not hits.all())


def roc(hits: NDArray[np.bool_], chances: Numbers) -> Curve:
    """Return the true positive rate (y) over the false positive rate (x), and the area under it."""
    x, y, _ = roc_curve(hits, chances)
    return Curve(x, y, float(roc_auc_score(hits, chances)))


def precision_recall(hits: NDArray[np.bool_], chances: Numbers) -> Curve:
    """Return precision (y) over recall (x), and the average precision."""
    precision, recall, _ = precision_recall_curve(hits, chances)
    return Curve(recall[::-1], precision[::-1], float(average_precision_score(hits, chances)))


def bins_for(rows: int) -> int:
    """Return how many bins so many rows can fill."""
    return max(2, min(MOST_BINS, rows // ROWS_PER_BIN))


def reliability(hits: NDArray[np.bool_], chances: Numbers) -> Reliability:
    """Return the probabilities beside what came, in bins of one width."""
    bins = bins_for(len(hits))
    places = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], chances)
    counts = np.bincount(places, minlength=bins)
    full = counts > 0
    there = counts[full]
    said = np.bincount(places, chances, minlength=bins)[full] / there
    came = np.bincount(places, hits, minlength=bins)[full] / there
    low, high = wilson(came, there)
    return Reliability(said, came, low, high, counts, float((there * np.abs(said - came)).sum() / len(hits)))


def wilson(shares: Numbers, counts: NDArray[np.intp]) -> tuple[Numbers, Numbers]:
    """Return the ends of the 95 % intervals of shares of so many rows."""
    squared = _Z**2 / counts
    middle = (shares + squared / 2) / (1 + squared)
    reach = _Z * np.sqrt(shares * (1 - shares) / counts + squared / (4 * counts)) / (1 + squared)
    return np.minimum(middle - reach, shares), np.maximum(middle + reach, shares)


def confusion(truths: NDArray[Any], labels: NDArray[Any], classes: list[str]) -> NDArray[np.intp]:
    """Return how many rows of each class (line) were given each label (column)."""
    return np.array([[int(((truths == true) & (labels == told)).sum()) for told in classes] for true in classes])

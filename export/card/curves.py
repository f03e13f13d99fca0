"""Compute the numbers of plots and captions from true values and predictions."""

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
    """Points of a curve, and the area under it."""

    x: Numbers
    y: Numbers
    area: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Predicted and observed frequencies in bins of the predicted probability."""

    said: Numbers
    """Mean predicted probability of each non-empty bin."""
    came: Numbers
    """Share of hits in each non-empty bin."""
    low: Numbers
    high: Numbers
    """Ends of the Wilson 95 % interval of `came`: `low` and `high`."""
    counts: NDArray[np.intp]
    """Number of rows in each bin, including empty bins."""
    error: float
    """Expected calibration error: mean distance between `said` and `came` over the rows."""


def is_told(hits: NDArray[np.bool_]) -> bool:
    """Return whether there are hits and misses: a curve needs both."""
    return bool(hits.any() and not hits.all())


def roc(hits: NDArray[np.bool_], chances: Numbers) -> Curve:
    """Return the ROC curve: true positive rate (y) over false positive rate (x)."""
    x, y, _ = roc_curve(hits, chances)
    return Curve(x, y, float(roc_auc_score(hits, chances)))


def precision_recall(hits: NDArray[np.bool_], chances: Numbers) -> Curve:
    """Return precision (y) over recall (x), with the average precision as area."""
    precision, recall, _ = precision_recall_curve(hits, chances)
    return Curve(recall[::-1], precision[::-1], float(average_precision_score(hits, chances)))


def bins_for(rows: int) -> int:
    """Return the number of bins for this number of rows."""
    return max(2, min(MOST_BINS, rows // ROWS_PER_BIN))


def reliability(hits: NDArray[np.bool_], chances: Numbers) -> Reliability:
    """Return predicted and observed frequencies in bins of equal width."""
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
    """Return the low and high ends of the 95 % Wilson intervals of shares.

    `counts` holds the number of rows behind each share.
    """
    squared = _Z**2 / counts
    middle = (shares + squared / 2) / (1 + squared)
    reach = _Z * np.sqrt(shares * (1 - shares) / counts + squared / (4 * counts)) / (1 + squared)
    return np.minimum(middle - reach, shares), np.maximum(middle + reach, shares)


def confusion(truths: NDArray[Any], labels: NDArray[Any], classes: list[str]) -> NDArray[np.intp]:
    """Return the number of rows by true class (row) and predicted label (column)."""
    return np.array([[int(((truths == true) & (labels == told)).sum()) for told in classes] for true in classes])

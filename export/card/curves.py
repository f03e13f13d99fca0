"""Compute the numbers of plots and captions from true values and predictions."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

Numbers = NDArray[np.float64]
MAX_BINS: Final = 10
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

    predicted: Numbers
    """Mean predicted probability of each non-empty bin."""
    observed: Numbers
    """Share of hits in each non-empty bin."""
    low: Numbers
    high: Numbers
    """Ends of the Wilson 95 % interval of `observed`: `low` and `high`."""
    counts: NDArray[np.intp]
    """Number of rows in each bin, including empty bins."""
    error: float
    """Expected calibration error: mean distance between `predicted` and `observed` over the rows."""


def has_both_outcomes(hits: NDArray[np.bool_]) -> bool:
    """Return whether there are hits and misses: a curve needs both."""
    return bool(hits.any() and not hits.all())


def roc(hits: NDArray[np.bool_], probabilities: Numbers) -> Curve:
    """Return the ROC curve: true positive rate (y) over false positive rate (x)."""
    x, y, _ = roc_curve(hits, probabilities)
    return Curve(x, y, float(roc_auc_score(hits, probabilities)))


def precision_recall(hits: NDArray[np.bool_], probabilities: Numbers) -> Curve:
    """Return precision (y) over recall (x), with the average precision as area."""
    precision, recall, _ = precision_recall_curve(hits, probabilities)
    return Curve(recall[::-1], precision[::-1], float(average_precision_score(hits, probabilities)))


def bins_for(rows: int) -> int:
    """Return the number of bins for this number of rows."""
    return max(2, min(MAX_BINS, rows // ROWS_PER_BIN))


def reliability(hits: NDArray[np.bool_], probabilities: Numbers) -> Reliability:
    """Return predicted and observed frequencies in bins of equal width."""
    bins = bins_for(len(hits))
    bin_indices = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], probabilities)
    counts = np.bincount(bin_indices, minlength=bins)
    full = counts > 0
    row_counts = counts[full]
    predicted = np.bincount(bin_indices, probabilities, minlength=bins)[full] / row_counts
    observed = np.bincount(bin_indices, hits, minlength=bins)[full] / row_counts
    low, high = wilson(observed, row_counts)
    return Reliability(
        predicted, observed, low, high, counts, float((row_counts * np.abs(predicted - observed)).sum() / len(hits))
    )


def wilson(shares: Numbers, counts: NDArray[np.intp]) -> tuple[Numbers, Numbers]:
    """Return the low and high ends of the 95 % Wilson intervals of shares.

    `counts` holds the number of rows behind each share.
    """
    squared = _Z**2 / counts
    middle = (shares + squared / 2) / (1 + squared)
    half_width = _Z * np.sqrt(shares * (1 - shares) / counts + squared / (4 * counts)) / (1 + squared)
    return np.minimum(middle - half_width, shares), np.maximum(middle + half_width, shares)


def confusion(truths: NDArray[Any], labels: NDArray[Any], classes: list[str]) -> NDArray[np.intp]:
    """Return the number of rows by true class (row) and predicted label (column)."""
    return np.array(
        [
            [int(((truths == true_class) & (labels == predicted_class)).sum()) for predicted_class in classes]
            for true_class in classes
        ]
    )

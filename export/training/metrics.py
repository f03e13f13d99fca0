"""Compute scores of predictions, per row and in total, with confidence intervals."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)

from server.models.training_metadata import Scores

RESAMPLES: Final = 2000
"""Number of bootstrap samples for an interval."""
PERCENTILES: Final = (2.5, 97.5)
MIN_PROBABILITY: Final = 1e-7
"""Minimum probability in a loss, about the float32 step below 1.

It limits the loss of a wrong prediction with probability 1.
"""


def scores(
    true_values: NDArray[Any], predictions: NDArray[Any], classes: Sequence[str] = (), positive: str | None = None
) -> Scores:
    """Return the scores of predictions: probabilities, shape [rows, classes], or values, shape [rows].

    `true_values` holds class names, or numbers if `classes` is empty. `Scores` lists the scores of each kind of model.
    """
    if not classes:
        return {
            "rmse": significant(mean_squared_error(true_values, predictions) ** 0.5),
            "mae": significant(mean_absolute_error(true_values, predictions)),
            "r2": significant(r2_score(true_values, predictions)),
        }
    predictions = predictions.astype(np.float64)
    labels = np.array(classes, dtype=object)[predictions.argmax(axis=1)]
    accuracy = {"accuracy": significant(accuracy_score(true_values, labels))}
    if positive is not None:
        is_positive, probability = true_values == positive, predictions[:, list(classes).index(positive)]
        return accuracy | {
            "roc_auc": significant(roc_auc_score(is_positive, probability)),
            "log_loss": significant(log_loss(is_positive, probability)),
            "brier": significant(brier_score_loss(is_positive, probability)),
        }
    predictions /= predictions.sum(axis=1, keepdims=True)  # the sum of float32 probabilities is not exactly 1
    hits = true_values[:, None] == np.array(classes, dtype=object)
    return accuracy | {
        "roc_auc": significant(roc_auc_score(true_values, predictions, multi_class="ovr", labels=list(classes))),
        "log_loss": significant(log_loss(true_values, predictions, labels=list(classes))),
        "brier": significant(((predictions - hits) ** 2).sum(axis=1).mean()),
    }


def losses(
    true_values: NDArray[Any],
    predictions: NDArray[Any],
    classes: Sequence[str] = (),
    min_probability: float = MIN_PROBABILITY,
) -> NDArray[np.float64]:
    """Return the loss of each row, shape [rows].

    The loss is the negative logarithm of the true class's probability, or the squared error. A probability below
    `min_probability` counts as `min_probability`.
    """
    if not classes:
        return np.asarray(np.square(predictions.astype(np.float64) - true_values))
    index_by_class = {name: index for index, name in enumerate(classes)}
    true_class_probabilities = predictions.astype(np.float64)[
        np.arange(len(true_values)), [index_by_class[value] for value in true_values]
    ]
    return np.asarray(-np.log(np.maximum(true_class_probabilities, min_probability)))


def intervals(
    true_values: NDArray[Any], predictions: NDArray[Any], classes: Sequence[str], positive: str | None, seed: int
) -> dict[str, list[float]]:
    """Return the interval ends of each score: percentiles over bootstrap samples of the rows.

    The scores are those of the function `scores`. Each class has the same number of rows in every sample, so no sample
    lacks a class.
    """
    generator = np.random.default_rng(seed)
    rows_by_class = [np.flatnonzero(true_values == name) for name in sorted(set(true_values))]
    strata = rows_by_class if classes else [np.arange(len(true_values))]
    parts = [generator.choice(rows, (RESAMPLES, len(rows))) for rows in strata]
    samples = np.concatenate(parts, axis=1)
    scores_by_name = (
        _classifier_scores(true_values, predictions, classes, positive, samples)
        if classes
        else _regression_scores(true_values, predictions, samples)
    )
    return {name: interval(values) for name, values in scores_by_name.items()}


def _regression_scores(
    true_values: NDArray[Any], predictions: NDArray[Any], samples: NDArray[np.intp]
) -> dict[str, NDArray[Any]]:
    """Return the scores of a regression on each sample of the rows, shape [samples]."""
    squares, sampled_values = losses(true_values, predictions)[samples], true_values[samples]
    spread = np.square(sampled_values - sampled_values.mean(axis=1, keepdims=True)).sum(axis=1)
    return {
        "rmse": np.sqrt(squares.mean(axis=1)),
        "mae": np.abs(predictions - true_values)[samples].mean(axis=1),
        "r2": 1 - squares.sum(axis=1) / np.maximum(spread, np.finfo(np.float64).tiny),
    }


def _classifier_scores(
    true_values: NDArray[Any],
    predictions: NDArray[Any],
    classes: Sequence[str],
    positive: str | None,
    samples: NDArray[np.intp],
) -> dict[str, NDArray[Any]]:
    """Return the scores of a classifier on each sample of the rows, shape [samples]."""
    predictions = predictions.astype(np.float64)
    hits = true_values[:, None] == np.array(classes, dtype=object)
    class_indices = range(len(classes)) if positive is None else [list(classes).index(positive)]
    brier = np.square(predictions - hits).sum(axis=1) / (1 if positive is None else 2)
    return {
        "accuracy": hits[np.arange(len(hits)), predictions.argmax(axis=1)][samples].mean(axis=1),
        "roc_auc": np.mean([_areas(hits[:, each], predictions[:, each], samples) for each in class_indices], axis=0),
        "log_loss": losses(true_values, predictions, classes, np.finfo(np.float64).eps)[samples].mean(axis=1),
        "brier": brier[samples].mean(axis=1),
    }


def _areas(hits: NDArray[np.bool_], predictions: NDArray[np.float64], samples: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the area under the ROC curve on each sample, shape [samples].

    The area is the share of pairs of a positive and a negative row that the model ranks correctly.
    """
    sampled_hits = hits[samples]
    ranks = rankdata(predictions[samples], axis=1)
    positives = sampled_hits.sum(axis=1)
    above = (ranks * sampled_hits).sum(axis=1) - positives * (positives + 1) / 2
    return np.asarray(above / (positives * (sampled_hits.shape[1] - positives)))


def mean_interval(values: NDArray[np.float64], seed: int) -> list[float]:
    """Return the interval ends of the mean of `values`: percentiles over bootstrap samples.

    `values` has shape [rows].
    """
    generator = np.random.default_rng(seed)
    means = [values[generator.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)]
    return [significant(end) for end in np.percentile(means, PERCENTILES)]


def interval(values: Sequence[float] | NDArray[Any]) -> list[float]:
    """Return the low and high percentiles of a score over samples."""
    return [significant(end) for end in np.percentile(values, PERCENTILES)]


def significant(value: Any) -> float:  # noqa: ANN401 # a number type of any library
    """Return a number rounded to six significant digits.

    Decimal places don't suit every loss: a loss has the unit of its target and may be far below 1.
    """
    return float(f"{value:.6g}")

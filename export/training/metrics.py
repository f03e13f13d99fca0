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
LEAST_PROBABILITY: Final = 1e-7
"""Minimum probability in a loss, about the float32 step below 1.

It limits the loss of a wrong prediction with probability 1.
"""


def scores(
    truths: NDArray[Any], answers: NDArray[Any], classes: Sequence[str] = (), positive: str | None = None
) -> Scores:
    """Return the scores of predictions: probabilities, shape [rows, classes], or values, shape [rows].

    `truths` holds class names, or numbers if `classes` is empty. `Scores` lists the scores of each kind of model.
    """
    if not classes:
        return {
            "rmse": significant(mean_squared_error(truths, answers) ** 0.5),
            "mae": significant(mean_absolute_error(truths, answers)),
            "r2": significant(r2_score(truths, answers)),
        }
    answers = answers.astype(np.float64)
    labels = np.array(classes, dtype=object)[answers.argmax(axis=1)]
    told = {"accuracy": significant(accuracy_score(truths, labels))}
    if positive is not None:
        truth, probability = truths == positive, answers[:, list(classes).index(positive)]
        return told | {
            "roc_auc": significant(roc_auc_score(truth, probability)),
            "log_loss": significant(log_loss(truth, probability)),
            "brier": significant(brier_score_loss(truth, probability)),
        }
    answers /= answers.sum(axis=1, keepdims=True)  # the sum of float32 probabilities is not exactly 1
    hits = truths[:, None] == np.array(classes, dtype=object)
    return told | {
        "roc_auc": significant(roc_auc_score(truths, answers, multi_class="ovr", labels=list(classes))),
        "log_loss": significant(log_loss(truths, answers, labels=list(classes))),
        "brier": significant(((answers - hits) ** 2).sum(axis=1).mean()),
    }


def losses(
    truths: NDArray[Any], answers: NDArray[Any], classes: Sequence[str] = (), least: float = LEAST_PROBABILITY
) -> NDArray[np.float64]:
    """Return the loss of each row, shape [rows].

    The loss is the negative logarithm of the true class's probability, or the squared error. A probability below
    `least` counts as `least`.
    """
    if not classes:
        return np.asarray(np.square(answers.astype(np.float64) - truths))
    places = {name: place for place, name in enumerate(classes)}
    chosen = answers.astype(np.float64)[np.arange(len(truths)), [places[truth] for truth in truths]]
    return np.asarray(-np.log(np.maximum(chosen, least)))


def intervals(
    truths: NDArray[Any], answers: NDArray[Any], classes: Sequence[str], positive: str | None, seed: int
) -> dict[str, list[float]]:
    """Return the interval ends of each score: percentiles over bootstrap samples of the rows.

    The scores are those of the function `scores`. Each class has the same number of rows in every sample, so no sample
    lacks a class.
    """
    drawn = np.random.default_rng(seed)
    each_class = [np.flatnonzero(truths == name) for name in sorted(set(truths))]
    strata = each_class if classes else [np.arange(len(truths))]
    parts = [drawn.choice(rows, (RESAMPLES, len(rows))) for rows in strata]
    samples = np.concatenate(parts, axis=1)
    told = _of_classes(truths, answers, classes, positive, samples) if classes else _of_values(truths, answers, samples)
    return {name: interval(values) for name, values in told.items()}


def _of_values(truths: NDArray[Any], answers: NDArray[Any], samples: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    """Return the scores of a regression on each sample of the rows, shape [samples]."""
    squares, drawn = losses(truths, answers)[samples], truths[samples]
    spread = np.square(drawn - drawn.mean(axis=1, keepdims=True)).sum(axis=1)
    return {
        "rmse": np.sqrt(squares.mean(axis=1)),
        "mae": np.abs(answers - truths)[samples].mean(axis=1),
        "r2": 1 - squares.sum(axis=1) / np.maximum(spread, np.finfo(np.float64).tiny),
    }


def _of_classes(
    truths: NDArray[Any], answers: NDArray[Any], classes: Sequence[str], positive: str | None, samples: NDArray[np.intp]
) -> dict[str, NDArray[Any]]:
    """Return the scores of a classifier on each sample of the rows, shape [samples]."""
    answers = answers.astype(np.float64)
    hits = truths[:, None] == np.array(classes, dtype=object)
    asked = range(len(classes)) if positive is None else [list(classes).index(positive)]
    brier = np.square(answers - hits).sum(axis=1) / (1 if positive is None else 2)
    return {
        "accuracy": hits[np.arange(len(hits)), answers.argmax(axis=1)][samples].mean(axis=1),
        "roc_auc": np.mean([_areas(hits[:, each], answers[:, each], samples) for each in asked], axis=0),
        "log_loss": losses(truths, answers, classes, np.finfo(np.float64).eps)[samples].mean(axis=1),
        "brier": brier[samples].mean(axis=1),
    }


def _areas(hits: NDArray[np.bool_], answers: NDArray[np.float64], samples: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the area under the ROC curve on each sample, shape [samples].

    The area is the share of pairs of a positive and a negative row that the model ranks correctly.
    """
    drawn = hits[samples]
    ranks = rankdata(answers[samples], axis=1)
    positives = drawn.sum(axis=1)
    above = (ranks * drawn).sum(axis=1) - positives * (positives + 1) / 2
    return np.asarray(above / (positives * (drawn.shape[1] - positives)))


def mean_interval(values: NDArray[np.float64], seed: int) -> list[float]:
    """Return the interval ends of the mean of `values`: percentiles over bootstrap samples.

    `values` has shape [rows].
    """
    drawn = np.random.default_rng(seed)
    means = [values[drawn.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)]
    return [significant(end) for end in np.percentile(means, PERCENTILES)]


def interval(values: Sequence[float] | NDArray[Any]) -> list[float]:
    """Return the low and high percentiles of a score over samples."""
    return [significant(end) for end in np.percentile(values, PERCENTILES)]


def significant(value: Any) -> float:  # noqa: ANN401 # a number type of any library
    """Return a number rounded to six significant digits.

    Decimal places don't suit every loss: a loss has the unit of its target and may be far below 1.
    """
    return float(f"{value:.6g}")

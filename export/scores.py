"""Answers and truths to scores: of a whole set of rows, of each row, and the interval that chance leaves them."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)

from server.evidence import Scores

RESAMPLES: Final = 2000
"""Bootstrap samples behind an interval."""
PERCENTILES: Final = (2.5, 97.5)
LEAST_PROBABILITY: Final = 1e-7
"""About float32's step below 1: what a wrong certainty costs is bounded by it."""


def scores(
    truths: NDArray[Any], answers: NDArray[Any], classes: Sequence[str] = (), positive: str | None = None
) -> Scores:
    """Return the scores of answers: probabilities, shape [rows, classes], or values, shape [rows].

    `truths` holds names of `classes`, or numbers where there are none; see `Scores` for what each kind is given.
    """
    if not classes:
        return {
            "rmse": _round(mean_squared_error(truths, answers) ** 0.5),
            "mae": _round(mean_absolute_error(truths, answers)),
            "r2": _round(r2_score(truths, answers)),
        }
    answers = answers.astype(np.float64)
    labels = np.array(classes, dtype=object)[answers.argmax(axis=1)]
    told = {"accuracy": _round(accuracy_score(truths, labels))}
    if positive is not None:
        truth, probability = truths == positive, answers[:, list(classes).index(positive)]
        return told | {
            "roc_auc": _round(roc_auc_score(truth, probability)),
            "log_loss": _round(log_loss(truth, probability)),
            "brier": _round(brier_score_loss(truth, probability)),
        }
    answers /= answers.sum(axis=1, keepdims=True)  # of float32 that is not quite 1
    hits = truths[:, None] == np.array(classes, dtype=object)
    return told | {
        "roc_auc": _round(roc_auc_score(truths, answers, multi_class="ovr", labels=list(classes))),
        "log_loss": _round(log_loss(truths, answers, labels=list(classes))),
        "brier": _round(((answers - hits) ** 2).sum(axis=1).mean()),
    }


def losses(truths: NDArray[Any], answers: NDArray[Any], classes: Sequence[str] = ()) -> NDArray[np.float64]:
    """Return each row's loss, shape [rows]: minus the logarithm of the true class's probability, or the error squared.

    The probability counts as LEAST_PROBABILITY at least.
    """
    if not classes:
        return np.asarray(np.square(answers.astype(np.float64) - truths))
    places = {name: place for place, name in enumerate(classes)}
    chosen = answers.astype(np.float64)[np.arange(len(truths)), [places[truth] for truth in truths]]
    return np.asarray(-np.log(np.maximum(chosen, LEAST_PROBABILITY)))


def intervals(truths: NDArray[Any], score: Callable[[NDArray[np.intp]], Scores], seed: int) -> dict[str, list[float]]:
    """Return the ends of each score's interval: percentiles over bootstrap samples of the rows.

    `score` is given the rows' numbers. Each class keeps its number of rows, so that no sample lacks one.
    """
    drawn = np.random.default_rng(seed)
    if truths.dtype == object:
        strata = [np.flatnonzero(truths == name) for name in sorted(set(truths))]
    else:
        strata = [np.arange(len(truths))]
    samples = [score(np.concatenate([drawn.choice(rows, len(rows)) for rows in strata])) for _ in range(RESAMPLES // 4)]
    return {name: interval([each[name] for each in samples]) for name in samples[0]}


def mean_interval(values: NDArray[np.float64], seed: int) -> list[float]:
    """Return the ends of the interval of the mean of `values`, one a row: percentiles over bootstrap samples."""
    drawn = np.random.default_rng(seed)
    means = [values[drawn.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)]
    return [significant(end) for end in np.percentile(means, PERCENTILES)]


def interval(values: Sequence[float]) -> list[float]:
    """Return the percentiles, low and high, of a score over samples."""
    return [_round(end) for end in np.percentile(values, PERCENTILES)]


def significant(value: float) -> float:
    """Return a number to six digits: a loss has its target's unit, and may be far below 1."""
    return float(f"{value:.6g}")


def _round(value: Any) -> float:  # noqa: ANN401 # a number of any library
    return round(float(value), 6)

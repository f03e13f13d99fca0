"""Measure importance and partial dependence by runs with one column changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from export.card.card_data import Subject, is_number
from export.data.dataset import row_numbers
from export.training.gate import predict
from export.training.metrics import losses
from server.models.manifest import Feature

REPEATS: Final = 10
SHUFFLED_ROWS: Final = 2000
"""Maximum number of held-out rows to shuffle."""
SAMPLED_ROWS: Final = 200
"""Maximum number of training rows for the mean of a partial dependence."""
GRID: Final = 30
MAX_CATEGORIES: Final = 12
"""Maximum number of categories to evaluate; those with the most training rows."""


@dataclass(frozen=True, slots=True)
class Importance:
    """Permutation importance: the rise of the mean loss per row after shuffling a feature."""

    feature: Feature
    rises: NDArray[np.float64]
    """Rise of the mean loss in each repeat, shape [repeats]."""

    @property
    def mean(self) -> float:
        """Mean over the repeats."""
        return float(self.rises.mean())

    @property
    def deviation(self) -> float:
        """Standard deviation over the repeats."""
        return float(self.rises.std(ddof=1))


@dataclass(frozen=True, slots=True)
class Effect:
    """Predictions for the sampled rows with one feature set to each value of a grid."""

    feature: Feature
    grid: list[Any]
    predictions: NDArray[np.float64]
    """Predictions, shape [grid, rows, columns to plot]."""
    null: NDArray[np.float64] | None
    """Predictions for null, shape [rows, columns to plot]; None if the feature is not nullable."""


def importances(subject: Subject) -> list[Importance]:
    """Return the importance of each feature on the held-out rows, largest first.

    Runs the model once per feature.
    """
    classes, seed = subject.manifest.classes, subject.manifest.provenance.seed
    row_indices = _sample(subject.part.X_test, seed, SHUFFLED_ROWS)
    X, true_values = subject.part.X_test.iloc[row_indices], subject.true_values[row_indices]
    base_loss = losses(true_values, subject.predictions[row_indices], classes).mean()
    repeated = X.iloc[np.tile(np.arange(len(X)), REPEATS)].reset_index(drop=True)
    results = []
    for index, feature in enumerate(subject.manifest.features):
        generator = np.random.default_rng([abs(seed), index])
        order = np.concatenate([generator.permutation(len(X)) for _ in range(REPEATS)])
        predictions = predict(subject.model, _with(repeated, feature, X[feature.name].to_numpy()[order]))
        shuffled_loss = (
            losses(np.tile(true_values, REPEATS), predictions, classes).reshape(REPEATS, len(X)).mean(axis=1)
        )
        results.append(Importance(feature, shuffled_loss - base_loss))
    return sorted(results, key=lambda each: -each.mean)


def effect(subject: Subject, feature: Feature) -> Effect | None:
    """Return the predictions for each grid value of a feature, from one model run.

    Returns None if the training rows have no value of the feature.
    """
    grid = values(subject, feature)
    if not grid:
        return None
    X = subject.part.X_train
    X = X.iloc[_sample(X, subject.manifest.provenance.seed, SAMPLED_ROWS)]
    evaluated = [*grid, feature.null] if feature.nullable else grid
    repeated = X.iloc[np.tile(np.arange(len(X)), len(evaluated))].reset_index(drop=True)
    column = np.array(evaluated, dtype=object).repeat(len(X))
    predictions = predict(subject.model, _with(repeated, feature, column)).reshape(len(evaluated), len(X), -1)
    plotted = predictions[:, :, subject.plotted_columns]
    return Effect(feature, grid, plotted[: len(grid)], plotted[-1] if feature.nullable else None)


def values(subject: Subject, feature: Feature) -> list[Any]:
    """Return the grid: distinct values or quantiles of training rows, or the most frequent categories."""
    training_values = subject.training_values(feature)
    if not len(training_values):
        return []
    if is_number(feature):
        distinct = np.unique(training_values)
        if len(distinct) > GRID:
            distinct = np.unique(np.quantile(training_values, np.linspace(0.05, 0.95, GRID), method="nearest"))
        return list(distinct.tolist())
    distribution = subject.reference.features[feature.name]
    order = np.argsort([-count for count in distribution.counts], kind="stable")[:MAX_CATEGORIES]
    return [(distribution.categories or [])[index] for index in sorted(order)]


def _sample(X: pd.DataFrame, seed: int, max_rows: int) -> NDArray[np.intp]:
    """Return the indexes of at most `max_rows` sampled rows.

    A hash of the row values and the seed selects the rows, so the row order has no effect.
    """
    return np.argsort(row_numbers(X, seed), kind="stable")[:max_rows]


def _with(X: pd.DataFrame, feature: Feature, column: Sequence[Any] | NDArray[Any]) -> pd.DataFrame:
    copy = X.copy()
    copy[feature.name] = pd.Series(column, index=X.index).astype(X[feature.name].dtype)
    return copy

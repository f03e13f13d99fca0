"""Compute reference distributions of training rows, and the background of explanations."""

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from export.data.dataset import row_numbers
from server.models.manifest import MAX_BACKGROUND_ROWS, Feature, Kind, Scalar
from server.models.training_metadata import Distribution, Reference

BINS: Final = 10
"""Maximum number of bins of a histogram.

Each bin holds about the same number of training rows, as far as equal values allow.
"""
MAX_CATEGORIES: Final = 50
"""Maximum number of strings to count individually, for a feature that allows any string."""


def reference(features: tuple[Feature, ...], X: pd.DataFrame, predictions: NDArray[Any], kind: Kind) -> Reference:
    """Return the distributions of the features and of the predictions.

    `predictions` holds the positive class's probability (binary), labels (multiclass) or values (regression).
    """
    distributions = {feature.name: _distribution(X[feature.name].to_numpy(), feature) for feature in features}
    if kind == "multiclass":
        names, counts = np.unique(predictions.astype(str), return_counts=True)
        prediction_distribution = Distribution(categories=names.tolist(), counts=counts.tolist())
    else:
        prediction_distribution = _histogram(predictions.astype(np.float64))
    return Reference(rows=len(X), features=distributions, answer=prediction_distribution)


def background(features: tuple[Feature, ...], X: pd.DataFrame, seed: int) -> list[dict[str, Scalar | None]]:
    """Return background rows for explanations, with null as None, ordered by row hash.

    The hash of the row values and the seed selects the rows.
    """
    rows = np.argsort(row_numbers(X, seed), kind="stable")[:MAX_BACKGROUND_ROWS]
    columns = {}
    for feature in features:
        values = X[feature.name].to_numpy()[rows]
        is_null = _nulls(values, feature)
        columns[feature.name] = [None if null else value for value, null in zip(values.tolist(), is_null, strict=True)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _distribution(values: NDArray[Any], feature: Feature) -> Distribution:
    is_null = _nulls(values, feature)
    present_values, nulls = values[~is_null], int(is_null.sum())
    if feature.categories is not None or feature.datatype in {"BYTES", "BOOL"}:
        categories = _categories(present_values, feature)
        counts = [int((present_values == category).sum()) for category in categories]
        return Distribution(categories=categories, counts=counts, other=len(present_values) - sum(counts), nulls=nulls)
    return _histogram(present_values.astype(np.float64), nulls)


def _categories(values: NDArray[Any], feature: Feature) -> list[str | int | bool]:
    if feature.categories is not None:
        return [*feature.categories]
    if feature.datatype == "BOOL":
        return [False, True]
    names, counts = np.unique(values.astype(str), return_counts=True)
    return sorted(names[np.argsort(-counts, kind="stable")][:MAX_CATEGORIES].tolist())


def _histogram(values: NDArray[np.float64], nulls: int = 0) -> Distribution:
    """Return a histogram with quantiles as edges: a frequent value gets its own bin."""
    if not len(values):
        return Distribution(edges=[], counts=[0], nulls=nulls)
    quantiles = np.quantile(values, np.arange(1, BINS) / BINS, method="lower")
    rounded = np.array([float(f"{edge:.6g}") for edge in quantiles])  # the last digits may differ on another CPU
    edges = np.unique(rounded[rounded < values.max()])
    bin_indices = np.searchsorted(edges, values, side="left")
    return Distribution(
        edges=edges.tolist(), counts=np.bincount(bin_indices, minlength=len(edges) + 1).tolist(), nulls=nulls
    )


def _nulls(values: NDArray[Any], feature: Feature) -> NDArray[np.bool_]:
    if not feature.nullable:
        return np.zeros(len(values), np.bool_)
    if feature.is_float and feature.null != feature.null:  # only NaN is not equal to itself
        return np.isnan(values.astype(np.float64))
    return np.asarray(values == feature.null)

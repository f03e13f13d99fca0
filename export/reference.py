"""Training rows to what later rows are compared with, and to the sample that explanations are made against."""

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from export.data import row_numbers
from server.evidence import Distribution, Reference
from server.manifest import MAX_BACKGROUND_ROWS, Feature, Kind, Scalar

BINS: Final = 10
"""Bins of a histogram, each of about as many training rows as its values allow."""
MAX_CATEGORIES: Final = 50
"""Most frequent strings that are counted by name where any is allowed."""


def reference(features: tuple[Feature, ...], X: pd.DataFrame, answers: NDArray[Any], kind: Kind) -> Reference:
    """Return what the columns and the answers hold: the positive class's probability, labels, or values."""
    told = {feature.name: _distribution(X[feature.name].to_numpy(), feature) for feature in features}
    if kind == "multiclass":
        names, counts = np.unique(answers.astype(str), return_counts=True)
        answer = Distribution(categories=names.tolist(), counts=counts.tolist())
    else:
        answer = _histogram(answers.astype(np.float64))
    return Reference(rows=len(X), features=told, answer=answer)


def background(features: tuple[Feature, ...], X: pd.DataFrame, seed: int) -> list[dict[str, Scalar | None]]:
    """Return the sample: rows drawn by what stands in them, null as None, in the order they were drawn in."""
    rows = np.argsort(row_numbers(X, seed), kind="stable")[:MAX_BACKGROUND_ROWS]
    columns = {}
    for feature in features:
        values = X[feature.name].to_numpy()[rows]
        empty = _nulls(values, feature)
        columns[feature.name] = [None if null else value for value, null in zip(values.tolist(), empty, strict=True)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _distribution(values: NDArray[Any], feature: Feature) -> Distribution:
    empty = _nulls(values, feature)
    there, nulls = values[~empty], int(empty.sum())
    if feature.categories is not None or feature.datatype in {"BYTES", "BOOL"}:
        categories = _categories(there, feature)
        counts = [int((there == category).sum()) for category in categories]
        return Distribution(categories=categories, counts=counts, other=len(there) - sum(counts), nulls=nulls)
    return _histogram(there.astype(np.float64), nulls)


def _categories(values: NDArray[Any], feature: Feature) -> list[str | int | bool]:
    if feature.categories is not None:
        return [*feature.categories]
    if feature.datatype == "BOOL":
        return [False, True]
    names, counts = np.unique(values.astype(str), return_counts=True)
    return sorted(names[np.argsort(-counts, kind="stable")][:MAX_CATEGORIES].tolist())


def _histogram(values: NDArray[np.float64], nulls: int = 0) -> Distribution:
    """Return a histogram whose edges are quantiles: few values that are frequent get bins of their own."""
    if not len(values):
        return Distribution(edges=[], counts=[0], nulls=nulls)
    quantiles = np.quantile(values, np.arange(1, BINS) / BINS, method="lower")
    short = np.array([float(f"{edge:.6g}") for edge in quantiles])  # the last digits are another CPU's to differ in
    edges = np.unique(short[short < values.max()])
    places = np.searchsorted(edges, values, side="left")
    return Distribution(
        edges=edges.tolist(), counts=np.bincount(places, minlength=len(edges) + 1).tolist(), nulls=nulls
    )


def _nulls(values: NDArray[Any], feature: Feature) -> NDArray[np.bool_]:
    if not feature.nullable:
        return np.zeros(len(values), np.bool_)
    if feature.is_float and feature.null != feature.null:  # only a NaN differs from itself
        return np.isnan(values.astype(np.float64))
    return np.asarray(values == feature.null)

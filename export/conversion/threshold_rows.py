"""Make rows on either side of each tree threshold and bin, where float32 could differ."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from server.models.manifest import Feature
from server.models.signature import Column

BASES: Final = 4
"""Number of data rows to test each threshold with.

One row is not enough: the splits above a split decide which rows reach it.
"""
_TREES: Final = frozenset({"TreeEnsembleClassifier", "TreeEnsembleRegressor"})


def threshold_rows(model: bytes, pipeline: Pipeline, features: Sequence[Feature], bases: pd.DataFrame) -> pd.DataFrame:
    """Return rows around every split threshold.

    Each row is a row of `bases` with one feature set to a threshold, just below it or just above it. The thresholds:

    - the split values of the converted model's trees, transformed back through any scalers before the trees;
    - the bin edges of a KBinsDiscretizer.

    For a float, the values are the next two neighbours on each side, in the feature's precision and in float32, because
    the converter may have moved the threshold by one step. For an integer, they are the integers on either side. All
    values are within the feature's range. The result has no rows if the model has neither trees nor bins.
    """
    by_column = _transform_back(pipeline, _thresholds(model))
    parts = []
    for feature in features:
        if feature.categories is not None or feature.datatype in {"BYTES", "BOOL"}:
            continue
        values = _neighbouring_values(np.array(_feature_thresholds(by_column, pipeline, feature.name)), feature)
        for row in range(len(bases)) if len(values) else ():
            part = bases.iloc[[row] * len(values)].reset_index(drop=True)
            part[feature.name] = values
            parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else bases.iloc[:0]


def _thresholds(model: bytes) -> dict[int, set[float]]:
    """Return the distinct split values by input column of the trees."""
    thresholds: dict[int, set[float]] = {}
    for node in onnx.load_from_string(model).graph.node:
        if node.op_type in _TREES:
            attributes = {each.name: each for each in node.attribute}
            nodes = zip(
                attributes["nodes_modes"].strings,
                attributes["nodes_featureids"].ints,
                attributes["nodes_values"].floats,
                strict=True,
            )
            for mode, column, value in nodes:
                if mode != b"LEAF" and np.isfinite(value):
                    thresholds.setdefault(column, set()).add(value)
    return thresholds


def _feature_thresholds(by_column: dict[int, set[float]], pipeline: Pipeline, name: str) -> list[float]:
    """Return the thresholds that may belong to a feature.

    If the columns can't be matched to features, returns the thresholds of all columns of the block.
    """
    thresholds: list[float] = []
    for transformer, names, output_columns in _blocks(pipeline):
        if name not in names:
            continue
        thresholds += _bin_edges(transformer, names.index(name))
        for column in range(output_columns.start, output_columns.stop):
            is_own_column = (
                output_columns.stop - output_columns.start != len(names)
                or names.index(name) == column - output_columns.start
            )
            if is_own_column:
                thresholds += _inverse_transform(
                    _steps(transformer), sorted(by_column.get(column, ())), column - output_columns.start
                )
    return sorted(set(thresholds))


def _blocks(pipeline: Pipeline) -> Iterator[tuple[Any, list[str], slice]]:
    """Yield each transformer, the names of its columns, and the slice of its output columns."""
    encode = pipeline.steps[0][1]
    if isinstance(encode, ColumnTransformer):
        for step, transformer, names in encode.transformers_:
            yield transformer, [*names], encode.output_indices_.get(step, slice(0, 0))
    else:
        yield (
            Pipeline(pipeline.steps[:-1]),
            [*pipeline.feature_names_in_],
            slice(0, pipeline.steps[-1][1].n_features_in_),
        )


def _transform_back(pipeline: Pipeline, by_column: dict[int, set[float]]) -> dict[int, set[float]]:
    """Transform thresholds back through the steps between the ColumnTransformer and the trees."""
    if not isinstance(pipeline.steps[0][1], ColumnTransformer):
        return by_column  # `_blocks` yields all steps before the trees as one block
    for _, step in reversed(pipeline.steps[1:-1]):
        if hasattr(step, "bin_edges_"):
            by_column = {column: {*edges[1:-1].tolist()} for column, edges in enumerate(step.bin_edges_)}
        elif hasattr(step, "get_support"):
            selected = step.get_support(indices=True)
            by_column = {int(selected[column]): values for column, values in by_column.items()}
        else:
            by_column = {
                column: {*_inverse_transform([step], sorted(values), column)} for column, values in by_column.items()
            }
    return by_column


def _inverse_transform(steps: list[Any], values: list[float], column: int) -> list[float]:
    """Transform values of a column back through the scalers in `steps`."""
    for step in reversed(steps):
        is_scaler = hasattr(step, "scale_") or hasattr(step, "lambdas_")
        if values and is_scaler and hasattr(step, "inverse_transform") and column < step.n_features_in_:
            table = np.zeros((len(values), step.n_features_in_))
            table[:, column] = values
            values = [value for value in step.inverse_transform(table)[:, column].tolist() if np.isfinite(value)]
    return values


def _bin_edges(transformer: Any, column: int) -> list[float]:  # noqa: ANN401 # any transformer
    """Return the inner bin edges of a transformer for one of its columns, if any."""
    steps = _steps(transformer)
    for index, step in enumerate(steps):
        if hasattr(step, "bin_edges_") and column < len(step.bin_edges_):
            return _inverse_transform(steps[:index], step.bin_edges_[column][1:-1].tolist(), column)
    return []


def _steps(transformer: Any) -> list[Any]:  # noqa: ANN401 # any transformer
    return [step for _, step in transformer.steps] if isinstance(transformer, Pipeline) else [transformer]


def _neighbouring_values(thresholds: NDArray[np.float64], feature: Feature) -> NDArray[Any]:
    column = Column.of(feature)
    if feature.is_float:
        values_nearby = [
            value for dtype in {np.dtype(np.float32), column.dtype} for value in _neighbours(thresholds, dtype)
        ]
    else:
        values_nearby = [np.floor(thresholds), np.floor(thresholds) + 1]
    values = np.unique(np.concatenate([each.astype(np.float64) for each in values_nearby] or [thresholds]))
    low = -np.inf if column.low is None else column.low
    high = np.inf if column.high is None else column.high
    return np.unique(values[(values >= low) & (values <= high)].astype(column.dtype))


def _neighbours(values: NDArray[np.float64], dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    rounded = values.astype(dtype)
    yield rounded
    for end in (dtype.type(-np.inf), dtype.type(np.inf)):
        neighbour = np.nextafter(rounded, end)
        yield neighbour
        yield np.nextafter(neighbour, end)

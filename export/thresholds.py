"""Thresholds of a model's trees and bins to the rows on either side of each: where float32 could decide otherwise."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from server.manifest import Feature
from server.signature import Column

BASES: Final = 4
"""Rows of the data that each threshold is tried in: what a split decides hangs on the splits above it."""
_TREES: Final = frozenset({"TreeEnsembleClassifier", "TreeEnsembleRegressor"})


def threshold_rows(model: bytes, pipeline: Pipeline, features: Sequence[Feature], bases: pd.DataFrame) -> pd.DataFrame:
    """Return rows around every split threshold: each row of `bases` with one feature at, just below and just above it.

    The thresholds are those of the converted model's trees, taken back through the scalers that stand before them,
    where they do, and the edges that a KBinsDiscretizer cuts a column at. The neighbours of a float are the next two in
    its own precision and in float32 (a converter may have moved the threshold itself by one); of an integer the whole
    numbers on either side. None leaves the feature's range. No rows where the model has neither.
    """
    by_column = _before(pipeline, _thresholds(model))
    parts = []
    for feature in features:
        if feature.categories is not None or feature.datatype in {"BYTES", "BOOL"}:
            continue
        values = _around(np.array(_of_feature(by_column, pipeline, feature.name)), feature)
        for row in range(len(bases)) if len(values) else ():
            part = bases.iloc[[row] * len(values)].reset_index(drop=True)
            part[feature.name] = values
            parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else bases.iloc[:0]


def _thresholds(model: bytes) -> dict[int, set[float]]:
    """Return the distinct split values of each column that the trees see."""
    found: dict[int, set[float]] = {}
    for node in onnx.load_from_string(model).graph.node:
        if node.op_type in _TREES:
            of = {each.name: each for each in node.attribute}
            nodes = zip(of["nodes_modes"].strings, of["nodes_featureids"].ints, of["nodes_values"].floats, strict=True)
            for mode, column, value in nodes:
                if mode != b"LEAF" and np.isfinite(value):
                    found.setdefault(column, set()).add(value)
    return found


def _of_feature(by_column: dict[int, set[float]], pipeline: Pipeline, name: str) -> list[float]:
    """Return the thresholds that may be a feature's own; all of them where it can't be told which are."""
    found: list[float] = []
    for transformer, names, place in _blocks(pipeline):
        if name not in names:
            continue
        found += _edges(transformer, names.index(name))
        for column in range(place.start, place.stop):
            is_own = place.stop - place.start != len(names) or names.index(name) == column - place.start
            if is_own:
                found += _back(_steps(transformer), sorted(by_column.get(column, ())), column - place.start)
    return sorted(set(found))


def _blocks(pipeline: Pipeline) -> Iterator[tuple[Any, list[str], slice]]:
    """Yield what transforms columns together: itself, the columns' names, and the columns that the trees see of it."""
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


def _before(pipeline: Pipeline, by_column: dict[int, set[float]]) -> dict[int, set[float]]:
    """Take thresholds back through what stands between the trees and a first step that gathers the columns."""
    if not isinstance(pipeline.steps[0][1], ColumnTransformer):
        return by_column  # all that stands before the trees is one of `_blocks`
    for _, step in reversed(pipeline.steps[1:-1]):
        if hasattr(step, "bin_edges_"):
            by_column = {column: {*edges[1:-1].tolist()} for column, edges in enumerate(step.bin_edges_)}
        elif hasattr(step, "get_support"):
            kept = step.get_support(indices=True)
            by_column = {int(kept[column]): values for column, values in by_column.items()}
        else:
            by_column = {column: {*_back([step], sorted(values), column)} for column, values in by_column.items()}
    return by_column


def _back(steps: list[Any], values: list[float], place: int) -> list[float]:
    """Take values of a column back through the scalers among the steps."""
    for step in reversed(steps):
        is_scaler = hasattr(step, "scale_") or hasattr(step, "lambdas_")
        if values and is_scaler and hasattr(step, "inverse_transform") and place < step.n_features_in_:
            table = np.zeros((len(values), step.n_features_in_))
            table[:, place] = values
            values = [value for value in step.inverse_transform(table)[:, place].tolist() if np.isfinite(value)]
    return values


def _edges(transformer: Any, place: int) -> list[float]:  # noqa: ANN401 # any transformer
    """Return the edges of the bins that a transformer puts its column at `place` into, none where there are no bins."""
    steps = _steps(transformer)
    for at, step in enumerate(steps):
        if hasattr(step, "bin_edges_") and place < len(step.bin_edges_):
            return _back(steps[:at], step.bin_edges_[place][1:-1].tolist(), place)
    return []


def _steps(transformer: Any) -> list[Any]:  # noqa: ANN401 # any transformer
    return [step for _, step in transformer.steps] if isinstance(transformer, Pipeline) else [transformer]


def _around(thresholds: NDArray[np.float64], feature: Feature) -> NDArray[Any]:
    column = Column.of(feature)
    if feature.is_float:
        near = [value for dtype in {np.dtype(np.float32), column.dtype} for value in _neighbours(thresholds, dtype)]
    else:
        near = [np.floor(thresholds), np.floor(thresholds) + 1]
    values = np.unique(np.concatenate([each.astype(np.float64) for each in near] or [thresholds]))
    low = -np.inf if column.low is None else column.low
    high = np.inf if column.high is None else column.high
    return np.unique(values[(values >= low) & (values <= high)].astype(column.dtype))


def _neighbours(values: NDArray[np.float64], dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    there = values.astype(dtype)
    yield there
    for end in (dtype.type(-np.inf), dtype.type(np.inf)):
        next_ = np.nextafter(there, end)
        yield next_
        yield np.nextafter(next_, end)

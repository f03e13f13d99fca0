"""Find the likely cause of a conversion that disagrees with scikit-learn."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from skl2onnx.sklapi import CastTransformer
from sklearn.pipeline import Pipeline

from server.models.manifest import Feature

_WHOLE_IN_FLOAT32: Final = 2.0**24
"""Largest number up to which float32 represents every integer."""


def likely_cause(pipeline: Pipeline, features: Sequence[Feature], worst: pd.Series) -> str:
    """Return the likely cause of a difference between onnxruntime and scikit-learn, and the fix."""
    return ignored_categories(pipeline) or _cause(pipeline, features, worst)


def _cause(pipeline: Pipeline, features: Sequence[Feature], worst: pd.Series) -> str:
    steps = [step for _, step in _steps(pipeline)]
    trees = [step for step in steps if _is_tree(step)]
    scalers = [step for step in steps if _is_scaler(step)]
    if trees and scalers:
        return (
            f"{_name(scalers[0])} comes before {_name(trees[0])}: rounding the scaled value to float32 moves rows "
            "across a split that scikit-learn decides in double precision; trees need no scaler, remove it"
        )
    bins = next((step for step in steps if _name(step) == "KBinsDiscretizer"), None)
    if bins is not None:
        return f"{_name(bins)} has bin edges in double precision, onnxruntime in float32; remove it, or use trees"
    histogram = next((step for step in trees if _name(step).startswith("HistGradientBoosting")), None)
    if histogram is not None and not any(isinstance(step, CastTransformer) for step in steps):
        return (
            f"{_name(histogram)} compares in double precision; put skl2onnx.sklapi.CastTransformer() before it, so "
            "that both compare in float32"
        )
    large = [f for f in features if f.datatype not in {"BYTES", "BOOL"} and _is_large(worst[f.name])]
    if large:
        return (
            f"{large[0].name} is {worst[large[0].name]:g}, more than float32 holds exactly; if such a value is not "
            "possible, set the feature's range (minimum, maximum)"
        )
    doubles = [f.name for f in features if f.datatype == "FP64"]
    if doubles:
        return f"{doubles[0]} is FP64 and the model computes in float32; make it FP32"
    return "unknown; to find the step whose converter differs, remove steps until the predictions agree"


def ignored_categories(pipeline: Pipeline) -> str | None:
    """Return the fix for histogram boosting with categorical features, or None without such a step."""
    for _, step in _steps(pipeline):
        if _name(step).startswith("HistGradientBoosting") and getattr(step, "is_categorical_", None) is not None:
            return (
                f"skl2onnx ignores {_name(step)}'s categorical_features and compares their codes as numbers; remove "
                "the parameter and encode those columns with OneHotEncoder"
            )
    return None


def batch_cause(pipeline: Pipeline) -> str:
    """Return why predictions depend on the batch size, and which estimators to use instead."""
    *_, (_, estimator) = _steps(pipeline)
    others = "Ridge, a random forest or gradient boosting"
    if hasattr(estimator, "classes_"):
        others = "LogisticRegression, a random forest or gradient boosting"
    return (
        f"onnxruntime rounds the sums of {_name(estimator)} differently for each number of rows, so a prediction would "
        f"depend on the other rows of its batch; use an estimator that is computed row by row: {others}"
    )


def _steps(step: Any, name: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 # any estimator
    """Yield the names and steps of a pipeline, including nested steps, in execution order."""
    if isinstance(step, Pipeline):
        for name_, each in step.steps:
            yield from _steps(each, name_)
    elif hasattr(step, "transformers_"):
        for name_, each, _ in step.transformers_:
            yield from _steps(each, name_)
    elif hasattr(step, "calibrated_classifiers_"):
        yield from _steps(step.calibrated_classifiers_[0].estimator, name)
    elif hasattr(step, "named_estimators_"):  # stacking or voting
        for each in [*step.estimators_, *([step.final_estimator_] if hasattr(step, "final_estimator_") else [])]:
            yield from _steps(each, name)
    else:
        yield name, step


def _is_tree(step: Any) -> bool:  # noqa: ANN401 # any estimator
    return any(word in _name(step) for word in ("Tree", "Forest", "GradientBoosting", "AdaBoost", "Bagging"))


def _is_scaler(step: Any) -> bool:  # noqa: ANN401 # any estimator
    return _name(step).endswith(("Scaler", "Normalizer")) or _name(step) in {"PowerTransformer", "QuantileTransformer"}


def _is_large(value: Any) -> bool:  # noqa: ANN401 # a number
    return bool(np.abs(float(value)) > _WHOLE_IN_FLOAT32)


def _name(step: Any) -> str:  # noqa: ANN401 # any estimator
    return type(step).__name__

"""A pipeline whose conversion disagrees, and the row that shows it, to what is the likely cause."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from skl2onnx.sklapi import CastTransformer
from sklearn.pipeline import Pipeline

from server.manifest import Feature

_WHOLE_IN_FLOAT32: Final = 2.0**24
"""Beyond it float32 has no longer every whole number."""


def likely_cause(pipeline: Pipeline, features: Sequence[Feature], worst: pd.Series) -> str:
    """Return what most likely makes onnxruntime answer otherwise than scikit-learn, and what to do about it."""
    steps = [step for _, step in _steps(pipeline)]
    trees = [step for step in steps if _is_tree(step)]
    scalers = [step for step in steps if _is_scaler(step)]
    if trees and scalers:
        return (
            f"{_name(scalers[0])} stands before {_name(trees[0])}: rounding the scaled value to float32 moves rows "
            "across a split that scikit-learn decides in double precision; trees need no scaler, leave it out"
        )
    bins = next((step for step in steps if _name(step) == "KBinsDiscretizer"), None)
    if bins is not None:
        return f"{_name(bins)} cuts at edges of double precision, onnxruntime at float32's; leave it out, or use trees"
    histogram = next((step for step in trees if _name(step).startswith("HistGradientBoosting")), None)
    if histogram is not None and not any(isinstance(step, CastTransformer) for step in steps):
        return (
            f"{_name(histogram)} compares in double precision; put skl2onnx.sklapi.CastTransformer() before it, so "
            "that both decide on float32"
        )
    large = [f for f in features if f.datatype not in {"BYTES", "BOOL"} and _is_large(worst[f.name])]
    if large:
        return (
            f"{large[0].name} is {worst[large[0].name]:g}, more than float32 holds exactly; where such a value is not "
            "possible, give the feature the range that is (minimum, maximum)"
        )
    doubles = [f.name for f in features if f.datatype == "FP64"]
    if doubles:
        return f"{doubles[0]} is FP64 and the model computes in float32; make it FP32"
    return "not known: fit with fewer steps until it agrees, to find the one that its converter computes otherwise"


def _steps(step: Any, name: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 # any estimator
    """Yield a pipeline's steps, those within steps too, in the order that data pass them."""
    if isinstance(step, Pipeline):
        for name_, each in step.steps:
            yield from _steps(each, name_)
    elif hasattr(step, "transformers_"):
        for name_, each, _ in step.transformers_:
            yield from _steps(each, name_)
    elif hasattr(step, "calibrated_classifiers_"):
        yield from _steps(step.calibrated_classifiers_[0].estimator, name)
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

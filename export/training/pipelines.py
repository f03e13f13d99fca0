"""Build pipelines that scikit-learn fits and skl2onnx converts to the same predictions.

Four rules keep the predictions equal. Each rule follows from an observed difference:

- No scaler before trees: float32 rounding of a scaled value would move rows across a split that scikit-learn evaluates
  in double precision.
- One block per datatype, cast to float32 first: the converter treats all columns of a block as the type of the first
  column.
- A cast before HistGradientBoosting: it would otherwise compare in double precision.
- Imputation by null value: a column may encode null as a number, such as -1.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from skl2onnx.sklapi import CastTransformer
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from export.spec import Spec, SpecError
from server.models.manifest import Feature, Scalar

LOGISTIC_REGRESSION: Final = "logistic_regression"
RIDGE: Final = "ridge"
RANDOM_FOREST: Final = "random_forest"
GRADIENT_BOOSTING: Final = "gradient_boosting"
HIST_GRADIENT_BOOSTING: Final = "hist_gradient_boosting"
CALIBRATION: Final = "sigmoid"
CALIBRATION_FOLDS: Final = 3

_ESTIMATORS: Final[Mapping[bool, Mapping[str, Callable[[int], Any]]]] = {
    False: {
        LOGISTIC_REGRESSION: lambda _seed: LogisticRegression(max_iter=2000),
        RANDOM_FOREST: lambda seed: RandomForestClassifier(100, min_samples_leaf=3, random_state=seed),
        GRADIENT_BOOSTING: lambda seed: GradientBoostingClassifier(
            n_estimators=150, learning_rate=0.05, subsample=0.7, random_state=seed
        ),
        HIST_GRADIENT_BOOSTING: lambda seed: HistGradientBoostingClassifier(
            max_iter=100, learning_rate=0.05, max_leaf_nodes=15, early_stopping=False, random_state=seed
        ),
    },
    True: {
        RIDGE: lambda _seed: Ridge(),
        RANDOM_FOREST: lambda seed: RandomForestRegressor(100, min_samples_leaf=3, random_state=seed),
        GRADIENT_BOOSTING: lambda seed: GradientBoostingRegressor(
            n_estimators=150, learning_rate=0.05, subsample=0.7, random_state=seed
        ),
        HIST_GRADIENT_BOOSTING: lambda seed: HistGradientBoostingRegressor(
            max_iter=100, learning_rate=0.05, max_leaf_nodes=15, early_stopping=False, random_state=seed
        ),
    },
}
_LINEAR: Final = (LogisticRegression, Ridge)
_HISTOGRAMS: Final = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)


def candidates(spec: Spec, seed: int) -> dict[str, Pipeline]:
    """Return the candidate pipelines by name: the spec's own, or four defaults for its kind.

    Raises SpecError if the spec's function fails, or doesn't return pipelines.
    """
    if spec.candidates is not None:
        return _spec_candidates(spec, seed)
    estimators = _ESTIMATORS[spec.kind == "regression"]
    return {name: pipeline(spec.features, make(seed)) for name, make in estimators.items()}


def _spec_candidates(spec: Spec, seed: int) -> dict[str, Pipeline]:
    assert spec.candidates is not None  # noqa: S101 # the caller has checked it
    try:
        pipelines = dict(spec.candidates(spec.features, seed))
    except Exception as error:  # the code of the spec's author: any exception is possible
        raise SpecError(f"candidates: {type(error).__name__}: {error}") from error
    if not pipelines or not all(isinstance(each, Pipeline) for each in pipelines.values()):
        raise SpecError(f"candidates: expected pipelines by name, at least one; got {pipelines}")
    return pipelines


def pipeline(features: Sequence[Feature], estimator: Any) -> Pipeline:  # noqa: ANN401 # a convertible estimator
    """Return a pipeline of encoder, imputer and `estimator`, fitted together on the same rows.

    Categories are one-hot encoded; a null or unseen category gets only zeros. Missing numbers get the median. For a
    linear estimator, numbers are scaled.
    """
    scale = isinstance(estimator, _LINEAR)
    steps: list[tuple[str, Any]] = [("encode", _encoder(features, scale=scale))]
    if isinstance(estimator, _HISTOGRAMS):
        steps.append(("cast", CastTransformer()))
    return Pipeline([*steps, ("estimate", estimator)])


def calibrated(uncalibrated: Pipeline, seed: int) -> Pipeline:
    """Return the classifier with probabilities calibrated by a sigmoid.

    The sigmoid is fitted on cross-validation folds that the estimator was not fitted on. The result holds one
    estimator, fitted on all rows, so calibration adds almost no time to a prediction.
    """
    folds = StratifiedKFold(CALIBRATION_FOLDS, shuffle=True, random_state=seed)
    *steps, (name, estimator) = uncalibrated.steps
    return Pipeline([*steps, (name, CalibratedClassifierCV(estimator, method=CALIBRATION, cv=folds, ensemble=False))])


def calibration_obstacle(uncalibrated: Pipeline) -> str | None:
    """Return why scikit-learn can't calibrate a classifier, and the fix; None if it can.

    scikit-learn requires predict_proba or decision_function on the unfitted estimator. A StackingClassifier has those
    of its final_estimator, which is None before the fit unless the spec sets it.
    """
    estimator = uncalibrated.steps[-1][1]
    if hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function"):
        return None
    reason = f"{type(estimator).__name__} has no predict_proba before it is fitted"
    if getattr(estimator, "final_estimator", estimator) is None:
        reason += "; set final_estimator=LogisticRegression(), which is its default"
    return reason


def _encoder(features: Sequence[Feature], *, scale: bool) -> ColumnTransformer:
    strings = [f for f in features if f.datatype == "BYTES" and f.categories is not None]
    words = [f for f in features if f.datatype == "BYTES" and f.categories is None]
    codes = [f for f in features if f.datatype != "BYTES" and f.categories is not None]
    steps = [
        ("strings", _one_hot([list(f.categories or ()) for f in strings]), strings),
        ("words", _one_hot("auto"), words),
        ("codes", _one_hot([list(f.categories or ()) for f in codes]), codes),
        *_numbers([f for f in features if f.datatype != "BYTES" and f.categories is None], scale=scale),
    ]
    return ColumnTransformer([(name, step, [f.name for f in each]) for name, step, each in steps if each])


def _numbers(features: Sequence[Feature], *, scale: bool) -> list[tuple[str, Any, list[Feature]]]:
    """Return one step for each pair of datatype and null value."""
    groups: dict[tuple[str, Scalar | None], list[Feature]] = {}
    for feature in features:
        groups.setdefault((feature.datatype, feature.null_value if feature.nullable else None), []).append(feature)
    steps = []
    for (datatype, null), each in groups.items():
        block: list[tuple[str, Any]] = [] if datatype == "FP32" else [("cast", CastTransformer())]
        if null is not None:
            block.append(("impute", SimpleImputer(missing_values=float(null), strategy="median")))
        if scale:
            block.append(("scale", StandardScaler()))
        name = datatype.lower() if null is None else f"{datatype}_null_{null}".lower()
        steps.append((name, Pipeline(block) if block else "passthrough", each))
    return steps


def _one_hot(categories: Any) -> OneHotEncoder:  # noqa: ANN401 # lists of values, or "auto"
    return OneHotEncoder(categories=categories, handle_unknown="ignore", sparse_output=False, dtype=np.float32)

"""Features to pipelines that scikit-learn fits and skl2onnx converts to the same answers, for every kind of model.

Three rules make that hold, each learnt from a difference that was seen:

- no scaler stands before trees: float32 rounding after it would move rows across a split that scikit-learn decides in
  double precision;
- what is no 64-bit integer or float32 already is cast to float32 before it is imputed, and everything before
  HistGradientBoosting, which would else compare in double precision;
- a null that a column writes as a number of its own (-1) is imputed by that number.
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
from server.manifest import Feature

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
    """Return the pipelines to choose from, by name: the spec's own, or the four that there are for its kind.

    Raises SpecError where the spec's own function fails, or gives none.
    """
    if spec.candidates is not None:
        return _own(spec, seed)
    estimators = _ESTIMATORS[spec.kind == "regression"]
    return {name: pipeline(spec.features, make(seed)) for name, make in estimators.items()}


def _own(spec: Spec, seed: int) -> dict[str, Pipeline]:
    assert spec.candidates is not None  # noqa: S101 # who calls this has seen to it
    try:
        made = dict(spec.candidates(spec.features, seed))
    except Exception as error:  # whatever the author's own code raises is theirs to read
        raise SpecError(f"candidates: {type(error).__name__}: {error}") from error
    if not made or not all(isinstance(each, Pipeline) for each in made.values()):
        raise SpecError(f"candidates: expected pipelines by name, at least one; got {made}")
    return made


def pipeline(features: Sequence[Feature], estimator: Any) -> Pipeline:  # noqa: ANN401 # any that skl2onnx converts
    """Return encoder, imputer and `estimator` as one: all are fitted together, on the same rows only.

    Categories are one-hot encoded, a null or unseen one as none at all; missing numbers are filled with the median; for
    a linear estimator they are scaled.
    """
    scale = isinstance(estimator, _LINEAR)
    steps: list[tuple[str, Any]] = [("encode", _encoder(features, scale=scale))]
    if isinstance(estimator, _HISTOGRAMS):
        steps.append(("cast", CastTransformer()))
    return Pipeline([*steps, ("estimate", estimator)])


def calibrated(uncalibrated: Pipeline, seed: int) -> Pipeline:
    """Return the same classifier with its probabilities corrected by a sigmoid fitted on rows it wasn't fitted on.

    One estimator is kept, fitted on all rows: the correction costs a prediction next to nothing.
    """
    folds = StratifiedKFold(CALIBRATION_FOLDS, shuffle=True, random_state=seed)
    *steps, (name, estimator) = uncalibrated.steps
    return Pipeline([*steps, (name, CalibratedClassifierCV(estimator, method=CALIBRATION, cv=folds, ensemble=False))])


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
    """Return a step for each way that a number is cast and its null is written."""
    groups: dict[tuple[bool, float], list[Feature]] = {}
    for feature in features:
        null = feature.null if feature.nullable and feature.null == feature.null else np.nan  # not a NaN
        assert null is not None  # noqa: S101 # the manifest's rule: a nullable feature has a null value
        is_cast = feature.datatype not in {"INT64", "FP32"} or null == null  # noqa: PLR0124 # the same
        groups.setdefault((is_cast, float(null)), []).append(feature)
    steps = []
    for number, ((is_cast, null), each) in enumerate(groups.items()):
        cast = [("cast", CastTransformer())] if is_cast else []
        scaler = [("scale", StandardScaler())] if scale else []
        impute = ("impute", SimpleImputer(missing_values=null, strategy="median"))
        steps.append((f"numbers{number or ''}", Pipeline([*cast, impute, *scaler]), each))
    return steps


def _one_hot(categories: Any) -> OneHotEncoder:  # noqa: ANN401 # lists of values, or "auto"
    return OneHotEncoder(categories=categories, handle_unknown="ignore", sparse_output=False, dtype=np.float32)

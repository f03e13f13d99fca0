"""Training rows to a fitted pipeline: candidates, a cross-validated choice, scores on rows never seen."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from export.data import Dataset, Spec, Split, split
from server.manifest import Feature, Metrics, Scores, Spread

BASELINE: Final = "logistic_regression"
FOLDS: Final = 5
SEEDS: Final = 20
"""Splits that the spread of the scores is taken over."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The chosen candidate, fitted on the training rows, and what every candidate scored in cross-validation."""

    estimator: str
    pipeline: Pipeline
    candidates: Mapping[str, float]


def candidates(features: Iterable[Feature], seed: int) -> dict[str, Pipeline]:
    """Return the pipelines to choose from, each whole: imputer and encoder are fitted with the model, on its rows only.

    No scaler stands before trees: float32 rounding after it would move rows across a split that scikit-learn decides in
    double precision.
    """
    features = tuple(features)
    boosting = GradientBoostingClassifier(
        n_estimators=150, learning_rate=0.05, max_depth=3, subsample=0.7, random_state=seed
    )
    forest = RandomForestClassifier(n_estimators=100, min_samples_leaf=3, max_features=0.5, random_state=seed)
    return {
        BASELINE: _pipeline(features, LogisticRegression(max_iter=2000), scale=True),
        "random_forest": _pipeline(features, forest),
        "gradient_boosting": _pipeline(features, boosting),
    }


def fit(features: Iterable[Feature], part: Split, seed: int, say: Callable[[str], None]) -> Fitted:
    """Fit the candidate with the least log loss in cross-validation on the training rows."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    pipelines = candidates(features, seed)
    losses = {}
    for name, pipeline in pipelines.items():
        scores = cross_val_score(pipeline, part.X_train, part.y_train, cv=folds, scoring="neg_log_loss")
        losses[name] = round(-float(scores.mean()), 6)
        say(f"  {name}: log loss {losses[name]:.4f} (standard deviation {scores.std():.4f} over {FOLDS} folds)")
    best = min(losses, key=lambda name: losses[name])
    return Fitted(best, pipelines[best].fit(part.X_train, part.y_train), losses)


def measure(spec: Spec, dataset: Dataset, part: Split, fitted: Fitted) -> Metrics:
    """Score the fitted pipeline and a plain logistic regression on held-out rows, and both over SEEDS other splits."""
    baseline = candidates(spec.features, 0)[BASELINE].fit(part.X_train, part.y_train)
    over = {fitted.estimator: list[Scores](), BASELINE: list[Scores]()}
    for seed in range(SEEDS):
        other = split(dataset, seed)
        pipelines = candidates(spec.features, seed)
        for name, scores in over.items():
            scores.append(score(pipelines[name].fit(other.X_train, other.y_train), other, spec.positive_class))
    return Metrics(
        held_out_rows=len(part.y_test),
        held_out=score(fitted.pipeline, part, spec.positive_class),
        baseline=score(baseline, part, spec.positive_class),
        seeds=SEEDS,
        over_seeds=_spread(over[fitted.estimator]),
        baseline_over_seeds=_spread(over[BASELINE]),
    )


def score(pipeline: Pipeline, part: Split, positive_class: str) -> Scores:
    """Score a fitted pipeline on the held-out rows."""
    probability = pipeline.predict_proba(part.X_test)[:, list(pipeline.classes_).index(positive_class)]
    truth = part.y_test == positive_class
    return Scores(
        accuracy=_round(accuracy_score(part.y_test, pipeline.predict(part.X_test))),
        roc_auc=_round(roc_auc_score(truth, probability)),
        log_loss=_round(log_loss(truth, probability)),
        brier=_round(brier_score_loss(truth, probability)),
    )


def _spread(scores: list[Scores]) -> Spread:
    table = pd.DataFrame([{name: getattr(each, name) for name in Scores.__struct_fields__} for each in scores])
    return Spread(
        mean=Scores(**{str(name): _round(value) for name, value in table.mean().items()}),
        deviation=Scores(**{str(name): _round(value) for name, value in table.std().items()}),
    )


def _round(value: float) -> float:
    return round(float(value), 6)


def _pipeline(features: tuple[Feature, ...], estimator: Any, *, scale: bool = False) -> Pipeline:  # noqa: ANN401 # any classifier
    """Encode categories (a null one as no category at all), fill missing numbers with the median, then `estimator`."""
    strings = [f for f in features if f.categories is not None and f.datatype == "BYTES"]
    codes = [f for f in features if f.categories is not None and f.datatype != "BYTES"]
    numbers = [f.name for f in features if f.categories is None]
    fill = [("impute", SimpleImputer(strategy="median"))]
    steps: list[tuple[str, Any, list[str]]] = [
        ("strings", _encoder(strings), [f.name for f in strings]),
        ("codes", _encoder(codes), [f.name for f in codes]),
        ("numbers", Pipeline([*fill, ("scale", StandardScaler())] if scale else fill), numbers),
    ]
    encode = ColumnTransformer([step for step in steps if step[2]])
    return Pipeline([("encode", encode), ("classify", estimator)])


def _encoder(features: list[Feature]) -> OneHotEncoder:
    return OneHotEncoder(
        categories=[list(f.categories or ()) for f in features],
        handle_unknown="ignore",
        sparse_output=False,
        dtype=np.float32,
    )

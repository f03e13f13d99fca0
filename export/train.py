"""Training rows to a fitted pipeline: candidates, a cross-validated choice, scores on rows never seen."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from export.console import Console
from export.data import DataError, Split, split
from export.pipelines import CALIBRATION, CALIBRATION_FOLDS, calibrated, candidates
from export.scores import intervals, scores, significant
from export.source import Source
from export.spec import Spec
from server.evidence import Candidate, Metrics, Scores, Spread

FOLDS: Final = 5
REPEATS: Final = 3
"""Times that the folds are drawn: one where there are many rows, which leave little to chance and take long to fit."""
SEEDS: Final = 20
"""Splits that the spread of the scores is taken over; a quarter of them where there are many rows."""
MANY_ROWS: Final = 20_000


class TrainError(Exception):
    """A candidate can't be fitted, or not scored; the message names it."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The chosen candidate, fitted on the training rows, and what every candidate cost in cross-validation."""

    estimator: str
    calibration: str | None
    loss: str
    pipeline: Pipeline
    candidates: Mapping[str, Candidate]


def loss_of(spec: Spec) -> str:
    """Return what the candidates are compared by."""
    return "rmse" if spec.kind == "regression" else "log_loss"


def fit(source: Source, console: Console) -> Fitted:
    """Fit the candidate with the least loss in repeated cross-validation on the training rows.

    Each fold fits encoder, imputer and estimator anew on its own rows. The least is compared once more with itself
    calibrated, on the same folds, and calibration stays where it lowers the mean. Raises DataError where a class has
    too few rows for the folds, TrainError where a candidate fails.
    """
    spec, part, seed = source.spec, source.part, source.seed
    _check_folds(part)
    pipelines = candidates(spec, seed)
    told: dict[str, Candidate] = {}
    with reproducible():
        for name in console.track([*pipelines], "cross-validation"):
            told[name] = _validate(source, name, pipelines[name])
            console.say(f"  {name}: {_show(spec, told[name], are_many=_are_many(part))}")
        best = min(told, key=lambda name: told[name].mean)
        chosen, calibration = pipelines[best], None
        if spec.kind != "regression":
            corrected = calibrated(chosen, seed)
            name = f"{best}, calibrated by {CALIBRATION}"
            told[name] = _validate(source, name, corrected)
            console.say(f"  {name}: {_show(spec, told[name], are_many=_are_many(part))}")
            if told[name].mean < told[best].mean:
                chosen, calibration = corrected, CALIBRATION
        return Fitted(best, calibration, loss_of(spec), chosen.fit(part.X_train, part.y_train), told)


def measure(source: Source, fitted: Fitted, console: Console) -> Metrics:
    """Score the fitted pipeline and the first candidate on held-out rows, and both over SEEDS other splits."""
    spec, part, seed = source.spec, source.part, source.seed
    plain = next(iter(candidates(spec, seed)))
    over: dict[bool, list[Scores]] = {True: [], False: []}
    with reproducible():
        baseline = candidates(spec, seed)[plain].fit(part.X_train, part.y_train)
        seeds = SEEDS // 4 if _are_many(part) else SEEDS
        for other in console.track([each for each in range(seeds + 1) if each != seed][:seeds], "other splits"):
            rows = split(source.data, other)
            for is_chosen, made in ((True, _again(spec, fitted, other)), (False, candidates(spec, other)[plain])):
                over[is_chosen].append(score(spec, made.fit(rows.X_train, rows.y_train), rows))
        answers = answers_of(spec, fitted.pipeline, part.X_test)
        return Metrics(
            held_out_rows=len(part.y_test),
            held_out=score(spec, fitted.pipeline, part),
            intervals=intervals(part.y_test, answers, _classes(spec, fitted.pipeline), spec.positive_class, seed),
            baseline=score(spec, baseline, part),
            seeds=seeds,
            over_seeds=_spread(over[True]),
            baseline_over_seeds=_spread(over[False]),
        )


def score(spec: Spec, pipeline: Pipeline, part: Split) -> Scores:
    """Score a fitted pipeline on the held-out rows."""
    answers = answers_of(spec, pipeline, part.X_test)
    return scores(part.y_test, answers, _classes(spec, pipeline), spec.positive_class)


def answers_of(spec: Spec, pipeline: Pipeline, X: pd.DataFrame) -> NDArray[Any]:
    """Return a fitted pipeline's probabilities, shape [rows, classes], or values, shape [rows]."""
    return np.asarray(pipeline.predict(X) if spec.kind == "regression" else pipeline.predict_proba(X))


@contextmanager
def reproducible() -> Iterator[None]:
    """Fit on one thread, so that sums are taken in one order whatever the machine has; end at what won't converge."""
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a candidate that stops early is compared as it is
        yield


def _again(spec: Spec, fitted: Fitted, seed: int) -> Pipeline:
    made = candidates(spec, seed)[fitted.estimator]
    return calibrated(made, seed) if fitted.calibration else made


def _validate(source: Source, name: str, pipeline: Pipeline) -> Candidate:
    part, is_regression = source.part, source.spec.kind == "regression"
    folds = (RepeatedKFold if is_regression else RepeatedStratifiedKFold)(
        n_splits=FOLDS, n_repeats=1 if _are_many(part) else REPEATS, random_state=source.seed
    )
    scoring = "neg_root_mean_squared_error" if is_regression else "neg_log_loss"
    try:
        each = -cross_val_score(pipeline, part.X_train, part.y_train, cv=folds, scoring=scoring, error_score="raise")
    except Exception as error:  # whatever the spec's own estimators raise is its author's to read
        raise TrainError(f"candidate {name}: {type(error).__name__}: {error}") from error
    return Candidate(mean=significant(each.mean()), deviation=significant(each.std(ddof=1)))


def _check_folds(part: Split) -> None:
    least = FOLDS * CALIBRATION_FOLDS
    if part.y_train.dtype != object:
        if len(part.y_train) < least:
            raise DataError(f"{len(part.y_train)} training rows are too few for {FOLDS} folds; expected {least}")
        return
    names, counts = np.unique(part.y_train.astype(str), return_counts=True)
    if counts.min() < least:
        name = str(names[counts.argmin()])
        raise DataError(f"{counts.min()} training rows of {name!r} are too few for {FOLDS} folds; expected {least}")


def _classes(spec: Spec, pipeline: Pipeline) -> list[str]:
    return [] if spec.kind == "regression" else [str(name) for name in pipeline.classes_]


def _are_many(part: Split) -> bool:
    return len(part.y_train) > MANY_ROWS


def _show(spec: Spec, candidate: Candidate, *, are_many: bool) -> str:
    return (
        f"{loss_of(spec)} {candidate.mean:.4f} (standard deviation {candidate.deviation:.4f} "
        f"over {'' if are_many else f'{REPEATS} times '}{FOLDS} folds)"
    )


def _spread(each: list[Scores]) -> Spread:
    table = pd.DataFrame(each)
    return Spread(
        mean={str(name): significant(value) for name, value in table.mean().items()},
        deviation={str(name): significant(value) for name, value in table.std().items()},
    )

"""Fit candidates, choose one by cross-validation, and score it on held-out rows."""

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
from export.data.dataset import DataError, Split, split
from export.data.source import Source
from export.spec import Spec
from export.training.metrics import intervals, scores, significant
from export.training.pipelines import CALIBRATION, CALIBRATION_FOLDS, calibrated, calibration_obstacle, candidates
from server.models.training_metadata import Candidate, Metrics, Scores, Spread

FOLDS: Final = 5
REPEATS: Final = 3
"""Repeats of the cross-validation; 1 above MANY_ROWS.

With many rows, chance has little effect and fits are slow.
"""
SEEDS: Final = 20
"""Number of splits for the deviation of the scores; a quarter of it above MANY_ROWS."""
MANY_ROWS: Final = 20_000


class TrainError(Exception):
    """Error for a candidate that can't be fitted or scored; the message names the candidate."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The chosen candidate, fitted on the training rows, and the cross-validation loss of every candidate."""

    estimator: str
    calibration: str | None
    loss: str
    pipeline: Pipeline
    candidates: Mapping[str, Candidate]


def loss_of(spec: Spec) -> str:
    """Return the name of the loss that compares the candidates."""
    return "rmse" if spec.kind == "regression" else "log_loss"


def fit(source: Source, console: Console) -> Fitted:
    """Fit the candidate with the lowest loss in repeated cross-validation on the training rows.

    Each fold fits encoder, imputer and estimator on its own rows. For a classifier, the best candidate is then compared
    with its calibrated variant on the same folds; the variant is chosen if its mean loss is lower.

    Raises DataError if there are too few rows, or too few rows of a class, for the folds. Raises TrainError if a
    candidate fails.
    """
    spec, part, seed = source.spec, source.part, source.seed
    _check_folds(part)
    pipelines = candidates(spec, seed)
    losses: dict[str, Candidate] = {}
    with reproducible():
        for name in console.track([*pipelines], "cross-validation"):
            losses[name] = _validate(source, name, pipelines[name])
            console.print_line(f"  {name}: {_loss_text(spec, losses[name], are_many=_are_many(part))}")
        best = min(losses, key=lambda name: losses[name].mean)
        pipeline, calibration = pipelines[best], None
        if spec.kind != "regression" and (
            calibrated_pipeline := _try_calibration(source, best, pipeline, losses, console)
        ):
            pipeline, calibration = calibrated_pipeline, CALIBRATION
        return Fitted(best, calibration, loss_of(spec), pipeline.fit(part.X_train, part.y_train), losses)


def measure(source: Source, fitted: Fitted, console: Console) -> Metrics:
    """Score the fitted pipeline and the baseline on the held-out rows and on other splits.

    The baseline is the first candidate. SEEDS is the number of other splits, or a quarter of it above MANY_ROWS.
    """
    spec, part, seed = source.spec, source.part, source.seed
    baseline_name = next(iter(candidates(spec, seed)))
    scores_over_seeds: dict[bool, list[Scores]] = {True: [], False: []}
    with reproducible():
        baseline = candidates(spec, seed)[baseline_name].fit(part.X_train, part.y_train)
        seeds = SEEDS // 4 if _are_many(part) else SEEDS
        for other_seed in console.track([each for each in range(seeds + 1) if each != seed][:seeds], "other splits"):
            other_part = split(source.data, other_seed)
            for is_model, pipeline in (
                (True, _unfitted(spec, fitted, other_seed)),
                (False, candidates(spec, other_seed)[baseline_name]),
            ):
                scores_over_seeds[is_model].append(
                    score(spec, pipeline.fit(other_part.X_train, other_part.y_train), other_part)
                )
        predictions = predict(spec, fitted.pipeline, part.X_test)
        return Metrics(
            held_out_rows=len(part.y_test),
            held_out=score(spec, fitted.pipeline, part),
            intervals=intervals(part.y_test, predictions, _classes(spec, fitted.pipeline), spec.positive_class, seed),
            baseline=score(spec, baseline, part),
            seeds=seeds,
            over_seeds=_spread(scores_over_seeds[True]),
            baseline_over_seeds=_spread(scores_over_seeds[False]),
        )


def score(spec: Spec, pipeline: Pipeline, part: Split) -> Scores:
    """Score a fitted pipeline on the held-out rows."""
    predictions = predict(spec, pipeline, part.X_test)
    return scores(part.y_test, predictions, _classes(spec, pipeline), spec.positive_class)


def predict(spec: Spec, pipeline: Pipeline, X: pd.DataFrame) -> NDArray[Any]:
    """Return the predicted probabilities, shape [rows, classes], or values, shape [rows]."""
    return np.asarray(pipeline.predict(X) if spec.kind == "regression" else pipeline.predict_proba(X))


@contextmanager
def reproducible() -> Iterator[None]:
    """Limit fits to one thread, and ignore convergence warnings.

    With one thread, the order of sums does not depend on the number of CPU cores.
    """
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a candidate that did not converge is still compared
        yield


def _try_calibration(
    source: Source, best: str, pipeline: Pipeline, losses: dict[str, Candidate], console: Console
) -> Pipeline | None:
    """Return the calibrated best candidate, or None if calibration fails or doesn't lower the loss.

    Not every estimator can be calibrated, but each works without calibration. The function therefore prints the reason
    and does not raise an error.
    """
    calibrated_pipeline = calibrated(pipeline, source.seed)
    name = f"{best}, calibrated by {CALIBRATION}"
    obstacle = calibration_obstacle(pipeline)
    if obstacle is None:
        try:
            losses[name] = _validate(source, name, calibrated_pipeline)
        except TrainError as error:
            obstacle = str(error).partition("\n")[0].removeprefix(f"candidate {name}: ")
    if obstacle is not None:
        console.print_line(f"  {best}: not calibrated: {obstacle}")
        return None
    console.print_line(f"  {name}: {_loss_text(source.spec, losses[name], are_many=_are_many(source.part))}")
    return calibrated_pipeline if losses[name].mean < losses[best].mean else None


def _unfitted(spec: Spec, fitted: Fitted, seed: int) -> Pipeline:
    pipeline = candidates(spec, seed)[fitted.estimator]
    return calibrated(pipeline, seed) if fitted.calibration else pipeline


def _validate(source: Source, name: str, pipeline: Pipeline) -> Candidate:
    part, is_regression = source.part, source.spec.kind == "regression"
    folds = (RepeatedKFold if is_regression else RepeatedStratifiedKFold)(
        n_splits=FOLDS, n_repeats=1 if _are_many(part) else REPEATS, random_state=source.seed
    )
    scoring = "neg_root_mean_squared_error" if is_regression else "neg_log_loss"
    try:
        each = -cross_val_score(pipeline, part.X_train, part.y_train, cv=folds, scoring=scoring, error_score="raise")
    except Exception as error:  # estimators of the spec's author: any exception is possible
        raise TrainError(f"candidate {name}: {type(error).__name__}: {error}") from error
    return Candidate(mean=significant(each.mean()), deviation=significant(each.std(ddof=1)))


def _check_folds(part: Split) -> None:
    min_rows = FOLDS * CALIBRATION_FOLDS
    if part.y_train.dtype != object:
        if len(part.y_train) < min_rows:
            raise DataError(f"{len(part.y_train)} training rows are too few for {FOLDS} folds; expected {min_rows}")
        return
    names, counts = np.unique(part.y_train.astype(str), return_counts=True)
    if counts.min() < min_rows:
        name = str(names[counts.argmin()])
        raise DataError(f"{counts.min()} training rows of {name!r} are too few for {FOLDS} folds; expected {min_rows}")


def _classes(spec: Spec, pipeline: Pipeline) -> list[str]:
    return [] if spec.kind == "regression" else [str(name) for name in pipeline.classes_]


def _are_many(part: Split) -> bool:
    return len(part.y_train) > MANY_ROWS


def _loss_text(spec: Spec, candidate: Candidate, *, are_many: bool) -> str:
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

"""Tests of training: comparison of candidates, choice, calibration and scores."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import GradientBoostingClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline

from export.console import Console
from export.conversion.convert import convert
from export.conversion.verify import Verifier, edge_records, edge_rows
from export.data.dataset import DataError, Dataset, Table, dataset
from export.data.source import Source
from export.spec import Spec
from export.titanic import TITANIC
from export.training.metrics import losses
from export.training.pipelines import calibrated, candidates, pipeline
from export.training.train import FOLDS, REPEATS, fit, measure, predict
from server.models.manifest import Feature
from tests.export import tiny

FEATURES = tuple(
    Feature(name=name, datatype="FP32", minimum=-100.0, maximum=100.0, description="", example=1.0) for name in "xy"
)


def _spec(**estimators: BaseEstimator) -> Spec:
    def made(features: Sequence[Feature], _seed: int) -> dict[str, Pipeline]:
        return {name: pipeline(features, estimator) for name, estimator in estimators.items()}

    return Spec(
        name="tiny",
        description="",
        kind="binary",
        target="above",
        classes={0: "below", 1: "above"},
        positive_class="above",
        features=FEATURES,
        candidates=made,
    )


def _data(spec: Spec, table: pd.DataFrame) -> Dataset:
    cells = table.astype(object).map(str)
    return dataset(Table("points", cells, "", "points"), spec)


def _source(spec: Spec, rows: int = 300, noise: float = 0.5) -> Source:
    return Source.of(spec, _data(spec, tiny.points(rows, noise=noise)), 7)


class _Seen(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn ships no types
    """Predicts one half, and stores the number of rows of each fit."""

    rows: list[int] = []  # noqa: RUF012 # clones share it on purpose

    def fit(self, X: np.ndarray, y: np.ndarray) -> "_Seen":
        self.classes_ = np.unique(y)
        self.rows.append(len(X))
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return np.full((len(X), 2), 0.5)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.full(len(X), self.classes_[0], dtype=object)


def test_the_least_loss_wins() -> None:
    """The candidate with the least log loss is chosen, with mean and deviation of each candidate."""
    source = _source(_spec(poor=LogisticRegression(C=1e-4), good=LogisticRegression()))
    fitted = fit(source, Console(json=True))
    assert fitted.estimator == "good"
    means = {name: each.mean for name, each in fitted.candidates.items()}
    assert means["good"] < means["poor"]
    assert all(each.deviation > 0 for each in fitted.candidates.values())


def test_the_loss_is_that_of_repeated_cross_validation() -> None:
    """A candidate's mean is over folds, each predicted by a model fitted on the other folds."""
    source = _source(_spec(good=LogisticRegression()))
    told = fit(source, Console(json=True)).candidates["good"]
    X, y, each = source.part.X_train, source.part.y_train, []
    for train, test in RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=REPEATS, random_state=7).split(X, y):
        fitted = candidates(source.spec, 7)["good"].fit(X.iloc[train], y[train])
        each.append(losses(y[test], fitted.predict_proba(X.iloc[test]), list(fitted.classes_), 0.0).mean())
    assert told.mean == pytest.approx(np.mean(each), abs=1e-6)
    assert told.deviation == pytest.approx(np.std(each, ddof=1), abs=1e-6)


def test_no_held_out_row_is_fitted_on() -> None:
    """Cross-validation and the final fit use training rows only."""
    _Seen.rows.clear()
    source = _source(_spec(seen=_Seen()))
    fit(source, Console(json=True))
    assert max(_Seen.rows) == len(source.part.y_train) < len(source.data.y)
    assert _Seen.rows.count(len(source.part.y_train)) == 1


def test_calibration_stays_where_it_helps() -> None:
    """Overconfident probabilities are calibrated; those of a well-calibrated model are not."""
    drawn = np.random.default_rng(0)
    table = tiny.points(600, noise=1.0)
    for copy in range(10):
        table[f"x{copy}"] = table["x"] + drawn.normal(0, 0.01, len(table))
    features = tuple(replace_name(FEATURES[0], name) for name in table.columns if name != "above")
    sure = replace(_spec(naive=GaussianNB()), features=features)
    fitted = fit(Source.of(sure, _data(sure, table), 7), Console(json=True))
    assert fitted.calibration == "sigmoid"
    assert fitted.candidates["naive, calibrated by sigmoid"].mean < fitted.candidates["naive"].mean
    right = fit(_source(_spec(good=LogisticRegression()), 2000, noise=2.0), Console(json=True))
    assert right.calibration is None


def test_a_classifier_that_can_not_be_calibrated_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """A classifier that can't be calibrated is fitted unchanged, and one line explains why."""
    members = [("linear", LogisticRegression()), ("naive", GaussianNB())]
    fitted = fit(_source(_spec(stacked=StackingClassifier(members))), Console())
    assert (fitted.estimator, fitted.calibration, list(fitted.candidates)) == ("stacked", None, ["stacked"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "not calibrated" in line]
    assert line.endswith("set final_estimator=LogisticRegression(), which is its default")
    given = fit(_source(_spec(stacked=StackingClassifier(members, LogisticRegression()))), Console())
    assert list(given.candidates) == ["stacked", "stacked, calibrated by sigmoid"]


def replace_name(feature: Feature, name: str) -> Feature:
    """Return the same feature under another name."""
    return Feature(name=name, datatype=feature.datatype, description="", example=1.0)


def test_scores_are_told_with_intervals_and_spread() -> None:
    """Each held-out score lies in its interval, and twenty other splits give mean and deviation."""
    source = _source(_spec(good=LogisticRegression()))
    metrics = measure(source, fit(source, Console(json=True)), Console(json=True))
    assert metrics.held_out_rows == len(source.part.y_test)
    for name, value in metrics.held_out.items():
        low, high = metrics.intervals[name]
        assert low <= value <= high
        assert low < high
    assert (metrics.seeds, set(metrics.over_seeds.mean)) == (20, {"accuracy", "roc_auc", "log_loss", "brier"})
    assert metrics.over_seeds.deviation["log_loss"] > 0


def test_too_few_rows_of_a_class() -> None:
    """A class with too few rows for the folds is rejected by name before any fit."""
    spec = _spec(good=LogisticRegression())
    table = tiny.points(300)
    table["above"] = 0
    table.loc[:14, "above"] = 1
    source = Source.of(spec, _data(spec, table), 7)
    with pytest.raises(DataError, match=r"\d+ training rows of 'above' are too few for 5 folds; expected 15"):
        fit(source, Console(json=True))


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_every_ready_candidate_agrees_with_its_conversion(kind: str) -> None:
    """Each built-in candidate of a kind, calibrated or not, agrees with its conversion."""
    table = tiny.points(400)
    table["level"] = np.digitize(table["y"] - table["x"], [-1, 1])
    target = {"binary": "above", "multiclass": "level", "regression": "y"}[kind]
    names = {"binary": {0: "below", 1: "above"}, "multiclass": {0: "low", 1: "mid", 2: "high"}, "regression": {}}[kind]
    spec = Spec(
        name="tiny",
        description="",
        kind=kind,  # type: ignore[arg-type] # one of the three
        target=target,
        classes=names,  # type: ignore[arg-type] # the same
        positive_class="above" if kind == "binary" else None,
        features=FEATURES[: 1 if kind == "regression" else 2],
    )
    data = _data(spec, table)
    made = candidates(spec, 7)
    assert len(made) == 4
    if kind != "regression":
        made |= {f"{name} calibrated": calibrated(each, 7) for name, each in made.items()}
    edges = edge_rows(spec.features, edge_records(spec.features, {f.name: f.example for f in spec.features}))
    rows = pd.concat([data.X, edges], ignore_index=True)
    for name, each in made.items():
        fitted = each.fit(data.X, data.y)
        verified = Verifier(fitted, convert(fitted, spec.features, len(names)), spec.features, float(table["y"].std()))
        assert verified.parity(rows).label_flips == 0, name
        assert predict(spec, fitted, rows).shape[0] == len(rows)


def test_titanic_has_the_candidates_it_says() -> None:
    """Titanic's candidates are a linear model and three tree models."""
    assert list(candidates(TITANIC, 1)) == [
        "logistic_regression",
        "random_forest",
        "gradient_boosting",
        "hist_gradient_boosting",
    ]
    assert isinstance(candidates(TITANIC, 1)["gradient_boosting"].steps[-1][1], GradientBoostingClassifier)

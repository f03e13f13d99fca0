"""Tests that scores agree with scikit-learn's, or with a direct calculation."""

import math
from itertools import product
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score

from export.training.metrics import (
    MIN_PROBABILITY,
    PERCENTILES,
    intervals,
    losses,
    mean_interval,
    scores,
    significant,
)

ROWS: Final = 120
TWO: Final = ("no", "yes")
THREE: Final = ("high", "low", "middle")


def _answers(classes: tuple[str, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return truths, and probabilities that correlate with them."""
    drawn = np.random.default_rng(3)
    places = drawn.integers(len(classes), size=ROWS)
    odds = drawn.uniform(0.1, 1.0, (ROWS, len(classes)))
    odds[np.arange(ROWS), places] += 0.4
    probabilities = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    return np.array(classes, dtype=object)[places], probabilities


def _values() -> tuple[NDArray[Any], NDArray[Any]]:
    drawn = np.random.default_rng(3)
    truths = drawn.normal(100.0, 20.0, ROWS)
    return truths, (truths + drawn.normal(3.0, 5.0, ROWS)).astype(np.float32)


def _auc(truth: NDArray[np.bool_], probability: NDArray[Any]) -> float:
    """Return the share of pairs of a true and another row in the right order."""
    pairs = list(product(probability[truth], probability[~truth]))
    return float(np.mean([(one > other) + 0.5 * (one == other) for one, other in pairs]))


def test_binary_scores() -> None:
    """For two classes, Brier score and log loss use the positive class's probability."""
    truths, answers = _answers(TWO)
    for positive in TWO:
        truth, probability = truths == positive, answers[:, TWO.index(positive)].astype(np.float64)
        right = np.where(truth, probability, 1 - probability)
        assert scores(truths, answers, TWO, positive) == pytest.approx(
            {
                "accuracy": float((np.array(TWO)[answers.argmax(axis=1)] == truths).mean()),
                "roc_auc": _auc(truth, probability),
                "log_loss": float(-np.log(right).mean()),
                "brier": float(((1 - right) ** 2).mean()),
            },
            rel=1e-5,
        )


def test_multiclass_scores() -> None:
    """For several classes ROC AUC is one against the rest, equally weighted, and Brier is a sum."""
    truths, answers = _answers(THREE)
    hits = truths[:, None] == np.array(THREE, dtype=object)
    assert scores(truths, answers, THREE) == pytest.approx(
        {
            "accuracy": float(hits[np.arange(ROWS), answers.argmax(axis=1)].mean()),
            "roc_auc": float(np.mean([_auc(hits[:, place], answers[:, place]) for place in range(3)])),
            "log_loss": float(-np.log(answers[hits].astype(np.float64)).mean()),
            "brier": float(((answers - hits) ** 2).sum(axis=1).mean()),
        },
        rel=1e-5,
    )
    one_vs_rest = roc_auc_score(truths, answers / answers.sum(axis=1, keepdims=True), multi_class="ovr")
    assert scores(truths, answers, THREE)["roc_auc"] == pytest.approx(one_vs_rest, rel=1e-5)


def test_regression_scores() -> None:
    """Regression scores are the root mean squared error, mean absolute error, and R squared."""
    truths, answers = _values()
    errors = answers.astype(np.float64) - truths
    assert scores(truths, answers) == pytest.approx(
        {
            "rmse": math.sqrt((errors**2).mean()),
            "mae": float(np.abs(errors).mean()),
            "r2": float(1 - (errors**2).sum() / ((truths - truths.mean()) ** 2).sum()),
        },
        rel=1e-5,
    )


@pytest.mark.parametrize("classes", [TWO, THREE])
def test_losses_of_a_classifier(classes: tuple[str, ...]) -> None:
    """A classifier's loss per row is the negative log probability, with scikit-learn's log loss as mean."""
    truths, answers = _answers(classes)
    each = losses(truths, answers, classes)
    assert each.shape == (ROWS,)
    exact = answers.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    assert each.mean() == pytest.approx(log_loss(truths, exact, labels=list(classes)), rel=1e-6)
    assert each[5] == pytest.approx(-math.log(answers[5, classes.index(truths[5])]))


def test_losses_of_a_regression() -> None:
    """A regression's loss per row is the squared error, with scikit-learn's as mean, in double precision."""
    truths, answers = _values()
    each = losses(truths, answers)
    assert each.shape == (ROWS,)
    assert each.mean() == pytest.approx(mean_squared_error(truths, answers), rel=1e-12)
    assert each[5] == (float(answers[5]) - truths[5]) ** 2


def test_wrong_certainty_costs_a_bounded_loss() -> None:
    """A true class with probability zero has the loss of the least probability that float32 can distinguish."""
    truths = np.array(["no", "yes"], dtype=object)
    each = losses(truths, np.array([[0.0, 1.0], [0.0, 1.0]], np.float32), TWO)
    assert each.tolist() == [pytest.approx(-math.log(MIN_PROBABILITY)), 0.0]


@pytest.mark.parametrize("classes", [TWO, THREE])
def test_intervals_of_a_classifier_hold_the_score(classes: tuple[str, ...]) -> None:
    """Each classifier score lies in its interval."""
    truths, answers = _answers(classes)
    positive = "yes" if classes == TWO else None
    whole = scores(truths, answers, classes, positive)
    found = intervals(truths, answers, classes, positive, 5)
    assert list(found) == list(whole)
    for name, (low, high) in found.items():
        assert low < whole[name] < high, name


def test_intervals_of_a_regression() -> None:
    """Each regression score lies in its interval, which depends on the seed and narrows with more rows."""

    def found(times: int, seed: int = 5) -> dict[str, list[float]]:
        truths, answers = (np.tile(each, times) for each in _values())
        return intervals(truths, answers, (), None, seed)

    once, more = found(1), found(4)
    for name, score in scores(*_values()).items():
        (low, high), (less, most) = once[name], more[name]
        assert low < less < score < most < high, name
        assert most - less == pytest.approx((high - low) / 2, rel=0.25), name
    assert found(1) == once
    assert found(1, seed=6) != once


def test_every_sample_keeps_each_class() -> None:
    """Each sample has every class, even a class with a single row."""
    truths = np.array(["yes", *["no"] * 30], dtype=object)
    sure = np.tile([0.1, 0.9], (31, 1))
    found = intervals(truths, sure, TWO, "yes", 1)
    assert found["accuracy"] == [significant(1 / 31)] * 2
    assert found["roc_auc"] == [0.5, 0.5]


@pytest.mark.parametrize("classes", [TWO, THREE, ()])
def test_samples_are_scored_as_scikit_learn_scores_them(
    classes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ends of an interval are percentiles of scikit-learn's scores for each sample."""
    monkeypatch.setattr("export.training.metrics.RESAMPLES", 40)
    truths, answers = _answers(classes) if classes else _values()
    positive = "yes" if classes == TWO else None
    drawn = np.random.default_rng(7)
    groups = [np.flatnonzero(truths == name) for name in sorted(set(truths))] if classes else [np.arange(len(truths))]
    samples = np.concatenate([drawn.choice(rows, (40, len(rows))) for rows in groups], axis=1)
    each = [scores(truths[rows], answers[rows], classes, positive) for rows in samples]
    for name, ends in intervals(truths, answers, classes, positive, 7).items():
        expected = np.percentile([told[name] for told in each], PERCENTILES)
        assert ends == pytest.approx(expected, rel=1e-4), name


def test_interval_of_a_mean() -> None:
    """The interval of a mean is about 1.96 standard errors to both sides, in any unit."""
    values = np.random.default_rng(1).normal(2.0, 3.0, 400)
    low, high = mean_interval(values, 9)
    assert low < values.mean() < high
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert mean_interval(values, 9) == [low, high]
    assert mean_interval(values * 2.0**-40, 9) == pytest.approx([low * 2.0**-40, high * 2.0**-40], rel=1e-5)


def test_significant_digits() -> None:
    """A number is rounded to six significant digits, whatever its size."""
    assert [significant(each) for each in (1234567.8, 1.23456789e-12, -0.5, 0.0)] == [1234570.0, 1.23457e-12, -0.5, 0.0]

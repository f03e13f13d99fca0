"""Tests that the card's figures agree with scikit-learn's, or with the model's predictions."""

import re

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.inspection import partial_dependence
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from export.card import card, curves
from export.card.card_data import Subject
from export.card.importance import SHUFFLED_ROWS, effect, importances
from export.data.dataset import Split
from export.training.gate import predict
from export.training.metrics import losses
from server.models.manifest import Feature
from tests.export.carded import FLAG, SIDE, Carded, X, binary, multiclass, regression
from tests.export.opened import Page, drawn

HITS = np.array([1, 0, 1, 1, 0, 0, 1, 0, 1, 1]).astype(bool)
CHANCES = np.array([0.9, 0.8, 0.7, 0.65, 0.4, 0.3, 0.35, 0.1, 0.95, 0.5])


@pytest.fixture(scope="module")
def made() -> Carded:
    """Return a binary model."""
    return binary()


def _subject(made: Carded) -> Subject:
    return Subject.of(made.manifest, made.model, made.data, made.part)


def _captions(made: Carded) -> dict[str, str]:
    return {each["h3"]: each["figcaption"] for each in Page(drawn(made)).figures}


def test_areas_are_scikit_learns() -> None:
    """The areas under both curves are scikit-learn's, and match the drawn curves."""
    roc, recall = curves.roc(HITS, CHANCES), curves.precision_recall(HITS, CHANCES)
    assert roc.area == roc_auc_score(HITS, CHANCES) == pytest.approx(np.trapezoid(roc.y, roc.x))
    assert recall.area == average_precision_score(HITS, CHANCES)
    assert recall.area == pytest.approx((np.diff(recall.x) * recall.y[1:]).sum())


def test_calibration_is_scikit_learns() -> None:
    """The points are those of calibration_curve; the error is their distance weighted by rows."""
    drawn = np.random.default_rng(0)
    chances = drawn.random(400)
    hits = drawn.random(400) < chances**2
    told = curves.reliability(hits, chances)
    came, said = calibration_curve(hits, chances, n_bins=10)
    np.testing.assert_allclose(told.observed, came)
    np.testing.assert_allclose(told.predicted, said)
    places = np.digitize(chances, np.linspace(0, 1, 11)[1:-1], right=True)
    by_hand = sum(
        abs(hits[places == each].mean() - chances[places == each].mean()) * (places == each).sum() for each in range(10)
    )
    assert told.error == pytest.approx(by_hand / 400)
    assert told.counts.sum() == 400
    assert (told.low <= told.observed).all()
    assert (told.observed <= told.high).all()


def test_interval_of_a_share_is_wilsons() -> None:
    """The Wilson interval of 8 of 10 has its published values."""
    low, high = curves.wilson(np.array([0.8]), np.array([10]))
    assert (low[0], high[0]) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_captions_tell_the_models_own_figures(made: Carded) -> None:
    """The captions' areas, base rate and counts come from the ONNX model on the held-out rows."""
    answers, hits = predict(made.model, made.part.X_test)[:, 1], made.part.y_test == "yes"
    captions = _captions(made)
    assert captions["ROC"].startswith(f"Area {roc_auc_score(hits, answers):.3f}: ")
    recall = captions["Precision and recall"]
    assert f"Average precision {average_precision_score(hits, answers):.3f}; " in recall
    assert f"the base rate of yes, {hits.mean():.3f} " in recall
    right = int(((answers > 0.5) == hits).sum())
    assert captions["Confusion"].startswith(f"{right} of 100 rows ({right}.0\u202f%) are predicted correctly")


def test_confusion_is_scikit_learns() -> None:
    """The counts are those of confusion_matrix, with true classes as rows."""
    made = multiclass()
    classes = made.manifest.classes
    labels = np.array(classes, dtype=object)[predict(made.model, made.part.X_test).argmax(axis=1)]
    told = curves.confusion(made.part.y_test, labels, classes)
    np.testing.assert_array_equal(told, confusion_matrix(made.part.y_test, labels, labels=classes))
    cells = re.findall(
        r'class="(?:right|wrong)">(\d+)<', card(made.manifest, made.model, made.data, made.part).decode()
    )
    assert [int(each) for each in cells] == told.ravel().tolist()


def test_residuals_are_true_less_predicted() -> None:
    """A regression's captions have the errors of the ONNX model's predictions."""
    made = regression()
    left = made.part.y_test - predict(made.model, made.part.X_test)
    captions = _captions(made)
    assert f"standard deviation {left.std():.3g};" in captions["Distribution of the residuals"]
    assert f"within {np.median(np.abs(left)):.3g} of the truth" in captions["Predicted and true"]


def test_importance_is_the_rise_of_the_loss(made: Carded) -> None:
    """Importance is the rise in loss for shuffled rows; a constant column has none."""
    constant = made.part.X_test.assign(flag=True)
    part = Split(made.part.X_train, constant, made.part.y_train, made.part.y_test, made.part.held_out)
    found = importances(Subject.of(made.manifest, made.model, made.data, part))
    assert found[0].feature.name == "x"
    assert {each.feature.name: each.mean for each in found}["flag"] == 0
    before = losses(made.part.y_test, predict(made.model, constant), made.manifest.classes).mean()
    rises = []
    for seed in range(30):
        order = np.random.default_rng(seed).permutation(len(constant))
        shuffled = constant.assign(x=constant["x"].to_numpy()[order])
        rises.append(losses(made.part.y_test, predict(made.model, shuffled), made.manifest.classes).mean() - before)
    assert found[0].mean == pytest.approx(np.mean(rises), abs=4 * np.std(rises) / 10**0.5)
    assert found[0].deviation > 0


def test_order_of_the_table_plays_no_part() -> None:
    """Importance on a sample doesn't depend on the order of the table."""
    made = regression(6000, 5000)
    part, order = made.part, made.part.y_test.argsort()
    in_order = Split(part.X_train, part.X_test.iloc[order], part.y_train, part.y_test[order], part.held_out)
    assert len(order) > 2 * SHUFFLED_ROWS
    drawn, of_sorted = (
        importances(Subject.of(made.manifest, made.model, made.data, each))[0].mean for each in (part, in_order)
    )
    assert of_sorted == pytest.approx(drawn, rel=0.05)


@pytest.mark.parametrize("feature", [X, FLAG, SIDE], ids=lambda feature: feature.name)
def test_partial_dependence_is_scikit_learns(made: Carded, feature: Feature) -> None:
    """The means over the grid are those of scikit-learn's partial_dependence for the pipeline."""
    told = effect(_subject(made), feature)
    assert told is not None
    expected = partial_dependence(
        made.pipeline,
        made.part.X_train,
        [feature.name],
        custom_values={feature.name: np.array(told.grid, dtype=made.part.X_train[feature.name].to_numpy().dtype)},
        response_method="predict_proba",
        categorical_features=["side"],
    )
    np.testing.assert_allclose(told.predictions.mean(axis=1)[:, 0], expected["average"][0], atol=1e-5)


def test_null_is_asked_about(made: Carded) -> None:
    """A nullable feature's mean without a value is the mean over rows with an empty cell."""
    told = effect(_subject(made), X)
    assert told is not None
    assert told.null is not None
    empty = made.part.X_train.assign(x=np.float32("nan"))
    np.testing.assert_allclose(told.null.mean(), predict(made.model, empty)[:, 1].mean(), atol=1e-6)


def test_category_of_no_training_row_is_tried_too(made: Carded) -> None:
    """Every allowed category is on the grid, even if no training row has it."""
    told = effect(_subject(made), SIDE)
    assert told is not None
    assert told.grid == ["left", "right", "none"]

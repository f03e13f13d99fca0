"""Tests of the rows around split thresholds of trees."""

import numpy as np
import onnx
import pandas as pd
import pytest
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import KBinsDiscretizer, PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from export.conversion.convert import convert
from export.conversion.threshold_rows import threshold_rows
from export.conversion.verify import ParityError, Verifier
from export.data.dataset import columns
from export.training.pipelines import pipeline
from server.models.manifest import Feature
from tests.export import tiny

X = Feature(name="x", datatype="FP32", description="", example=1.0)
COUNT = Feature(name="count", datatype="INT64", minimum=0.0, maximum=9.0, description="", example=1)
SEX = Feature(name="sex", datatype="BYTES", categories=["f", "m"], description="", example="f")
FEATURES = (X, COUNT, SEX)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Return rows of a float, a count and a category."""
    drawn = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "x": drawn.normal(size=300).astype(np.float32),
            "count": drawn.integers(0, 10, 300),
            "sex": drawn.choice(["f", "m"], 300).astype(object),
        }
    )


@pytest.fixture(scope="module")
def answers(table: pd.DataFrame) -> np.ndarray:
    """Return classes that depend on all three features."""
    return np.where(table["x"] + table["count"] / 5 + (table["sex"] == "f") > 1.3, "yes", "no").astype(object)


def _rows(fitted: Pipeline, table: pd.DataFrame, classes: int = 2) -> pd.DataFrame:
    return threshold_rows(convert(fitted, FEATURES, classes).model, fitted, FEATURES, table.iloc[:2])


def test_every_split_is_surrounded(table: pd.DataFrame, answers: np.ndarray) -> None:
    """Each threshold is surrounded: by float32 neighbours for a float, by adjacent integers for a count."""
    fitted = pipeline(FEATURES, GradientBoostingClassifier(n_estimators=20, random_state=0)).fit(table, answers)
    trees = [tree for (tree,) in fitted.steps[-1][1].estimators_]
    places = {name: place.start for name, place in fitted.steps[0][1].output_indices_.items()}
    splits = {
        name: np.concatenate([each.tree_.threshold[each.tree_.feature == places[name]] for each in trees])
        for name in ("fp32", "int64")
    }
    rows = _rows(fitted, table)
    for base in (0, 1):
        own = rows[(rows["count"] == table["count"][base]) & (rows["sex"] == table["sex"][base])]
        tried = set(own["x"].tolist())
        for split in splits["fp32"].astype(np.float32):
            near = {float(split), float(np.nextafter(split, np.float32(9))), float(np.nextafter(split, np.float32(-9)))}
            assert near <= tried
    counts = {int(side) for split in splits["int64"] for side in (np.floor(split), np.floor(split) + 1)}
    assert counts <= set(rows["count"].tolist())
    assert (rows.dtypes == table.dtypes).all()


def test_rows_stay_in_the_signature(table: pd.DataFrame, answers: np.ndarray) -> None:
    """No row is outside a feature's range, and categories don't vary."""
    fitted = pipeline(FEATURES, HistGradientBoostingClassifier(max_iter=20, random_state=0)).fit(table, answers)
    rows = _rows(fitted, table)
    assert len(rows) > 50
    assert rows["count"].between(0, 9).all()
    assert set(rows["sex"]) <= set(table["sex"][:2])


def test_a_model_without_trees_has_none(table: pd.DataFrame, answers: np.ndarray) -> None:
    """A linear model has no threshold rows."""
    fitted = pipeline(FEATURES, LogisticRegression()).fit(table, answers)
    assert len(_rows(fitted, table)) == 0


def test_regression_trees_split_too(table: pd.DataFrame) -> None:
    """The thresholds of a regression's trees are found."""
    fitted = pipeline(FEATURES, RandomForestRegressor(5, random_state=0)).fit(table, table["x"] * 2)
    assert len(_rows(fitted, table, 0)) > 50


def test_thresholds_behind_a_scaler_are_taken_back() -> None:
    """A scaler before trees is rejected by threshold rows, even if every data row agrees."""
    points = tiny.points(120).astype(np.float32)
    features = tuple(Feature(name=name, datatype="FP32", description="", example=1.0) for name in "xy")
    X, y = points[["x", "y"]], np.where(points["above"] > 0, "above", "below").astype(object)
    scaled = Pipeline([("scale", StandardScaler()), ("trees", DecisionTreeClassifier(random_state=0))]).fit(X, y)
    converted = convert(scaled, features, 2)
    around = threshold_rows(converted.model, scaled, features, X.iloc[:4])
    tree, scaler = scaled.steps[-1][1].tree_, scaled.steps[0][1]
    for place, name in enumerate("xy"):
        raw = tree.threshold[tree.feature == place] * scaler.scale_[place] + scaler.mean_[place]
        nearest = [np.abs(around[name].to_numpy(np.float64) - value).min() for value in raw]
        assert max(nearest) < 1e-6
    with pytest.raises(ParityError, match="likely cause: StandardScaler comes before DecisionTreeClassifier"):
        Verifier(scaled, converted, features).parity(pd.concat([X, around], ignore_index=True))


def test_rows_are_what_the_model_takes(table: pd.DataFrame, answers: np.ndarray) -> None:
    """The model accepts the rows unchanged."""
    fitted = pipeline(FEATURES, GradientBoostingClassifier(n_estimators=5, random_state=0)).fit(table, answers)
    converted = convert(fitted, FEATURES, 2)
    assert {each.name for each in onnx.load_from_string(converted.model).graph.input} == set(columns(table))
    verified = Verifier(fitted, converted, FEATURES)
    assert verified.parity(_rows(fitted, table)).label_flips == 0


NUMBERS = (X, Feature(name="far", datatype="FP32", description="", example=1000.0))


@pytest.mark.parametrize(
    "steps",
    [
        [ColumnTransformer([("n", "passthrough", ["x", "far"])]), StandardScaler(), DecisionTreeClassifier()],
        [
            ColumnTransformer([("n", "passthrough", ["far", "x"])]),
            SelectKBest(k=1),
            StandardScaler(),
            DecisionTreeClassifier(),
        ],
        [
            ColumnTransformer([("n", "passthrough", ["x", "far"])]),
            KBinsDiscretizer(encode="onehot-dense"),
            LogisticRegression(),
        ],
        [ColumnTransformer([("n", KBinsDiscretizer(encode="onehot-dense"), ["x", "far"])]), LogisticRegression()],
    ],
    ids=["scaler", "selector", "bins", "bins of a block"],
)
def test_what_stands_before_the_estimator_is_undone(steps: list[BaseEstimator]) -> None:
    """Thresholds are converted back to feature values through scalers, selectors and bins."""
    drawn = np.random.default_rng(0)
    table = pd.DataFrame({"x": drawn.normal(3, 2, 400), "far": drawn.normal(1000, 300, 400)}).astype(np.float32)
    truths = np.where((table["x"] - 3) / 2 + (table["far"] - 1000) / 900 + drawn.normal(size=400) > 0, "yes", "no")
    fitted = Pipeline([(f"step {place}", clone(step)) for place, step in enumerate(steps)]).fit(table, truths)
    converted = convert(fitted, NUMBERS, 2)
    rows = threshold_rows(converted.model, fitted, NUMBERS, table.iloc[:4])
    with pytest.raises(
        ParityError, match=r"likely cause: (StandardScaler comes before|KBinsDiscretizer has bin edges)"
    ):
        Verifier(fitted, converted, NUMBERS).parity(rows)


def test_columns_made_before_a_scaler(table: pd.DataFrame, answers: np.ndarray) -> None:
    """A scaler of more columns than features causes no error, and thresholds are still tried."""
    made = Pipeline([("powers", PolynomialFeatures(2)), ("scale", StandardScaler())])
    encode = ColumnTransformer([("n", made, ["x", "count"])])
    fitted = Pipeline([("encode", encode), ("tree", DecisionTreeClassifier(random_state=0))]).fit(table, answers)
    assert len(threshold_rows(_tree(fitted), fitted, FEATURES, table.iloc[:1]))


def _tree(fitted: Pipeline) -> bytes:
    columns_ = FloatTensorType([None, fitted.steps[-1][1].n_features_in_])
    made = convert_sklearn(fitted.steps[-1][1], initial_types=[("columns", columns_)], target_opset=15)
    return bytes(made.SerializeToString())

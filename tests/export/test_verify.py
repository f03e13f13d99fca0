"""Tests of parity between scikit-learn and onnxruntime."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from skl2onnx.sklapi import CastTransformer
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from export.conversion.convert import ConvertedModel, convert
from export.conversion.verify import TOLERANCE, ParityError, Verifier, edge_records, edge_rows
from export.data.dataset import Dataset, Split
from export.titanic import TITANIC
from export.training.pipelines import candidates, pipeline
from server.models.manifest import Datatype, Feature, Output, Scalar
from server.models.signature import Signature
from tests.server.support import small

EXAMPLE: dict[str, Scalar | None] = {feature.name: feature.example for feature in TITANIC.features}
NUMBERS = tuple(
    Feature(name=name, datatype="FP32", description="", example=0.0, field_number=number)
    for number, name in enumerate("abcdefg", start=1)
)
DEPENDENT = """g (float[N, 1] x) => (float[N, 1] label, float[N, 1] probabilities) <int64[1] zeroth = {0}> {
  label = Identity(x)
  shape = Shape(x)
  rows = Gather(shape, zeroth)
  extra = Cast<to = 1>(rows)
  probabilities = Add(x, extra)
}"""
"""Returns x plus the number of rows, so no batch size makes its outputs independent."""


@pytest.fixture(scope="module")
def verified(pipeline: Pipeline) -> Verifier:
    """Return the published pipeline with its conversion."""
    return Verifier(pipeline, convert(pipeline, TITANIC.features, 2), TITANIC.features)


@pytest.fixture(scope="module")
def edges() -> list[dict[str, Scalar | None]]:
    """Return the edge cases of the signature."""
    return edge_records(TITANIC.features, EXAMPLE)


def test_edges_are_within_the_signature(edges: list[dict[str, Scalar | None]]) -> None:
    """Each edge case is a valid record, since edge cases become golden rows."""
    signature = Signature(TITANIC.features)
    signature.check(signature.from_records(edges))
    assert {record["age"] for record in edges} >= {None, 0.0, 120.0}


def test_published_pipeline_agrees(verified: Verifier, dataset: Dataset, edges: list[dict[str, Scalar | None]]) -> None:
    """The published pipeline and its ONNX model agree on every row and every edge case."""
    rows = pd.concat([dataset.X, edge_rows(TITANIC.features, edges)], ignore_index=True)
    parity = verified.parity(rows)
    assert (parity.rows, parity.label_flips, parity.tolerance) == (len(rows), 0, TOLERANCE)
    assert 0 < parity.max_abs_difference <= TOLERANCE


def test_model_of_another_pipeline_disagrees(pipeline: Pipeline, dataset: Dataset, part: Split) -> None:
    """A model converted from another fit is rejected with figures and the worst row."""
    other = candidates(TITANIC, 1)["gradient_boosting"].fit(part.X_test, part.y_test)
    verified = Verifier(pipeline, convert(other, TITANIC.features, 2), TITANIC.features)
    with pytest.raises(
        ParityError,
        match=r"(?s)^\d+ labels of 1309 differ, probabilities of \d+ rows by up to 0\.\d+ .*\n  {'pclass': ",
    ):
        verified.parity(dataset.X)


def test_scaler_before_trees_disagrees(dataset: Dataset, part: Split) -> None:
    """A scaler before trees, whose float32 rounding moves rows across splits, is rejected."""
    pipeline = candidates(TITANIC, 0)["logistic_regression"]  # the candidate with a scaler
    trees = GradientBoostingClassifier(n_estimators=50, max_depth=8, random_state=0)
    pipeline.steps[-1] = ("classify", trees)
    pipeline.fit(part.X_train, part.y_train)
    verified = Verifier(pipeline, convert(pipeline, TITANIC.features, 2), TITANIC.features)
    with pytest.raises(
        ParityError, match=r"(?s)^\d+ labels .* by up to 0\..*cause: StandardScaler comes before Gradient"
    ):
        verified.parity(dataset.X)


@pytest.mark.parametrize(
    "datatypes", [("INT64", "FP32"), ("INT32", "UINT8"), ("BOOL", "UINT8"), ("FP64", "INT64", "FP32"), ("FP16", "BOOL")]
)
def test_datatypes_beside_each_other(datatypes: tuple[Datatype, ...]) -> None:
    """Columns of several datatypes, in any order, are converted with equal predictions."""
    drawn = np.random.default_rng(0)
    features = [
        Feature(name=f"x{place}", datatype=datatype, description="", example=True if datatype == "BOOL" else 1)
        for place, datatype in enumerate(datatypes)
    ]
    X = pd.DataFrame(
        {each.name: drawn.integers(0, 2 if each.datatype == "BOOL" else 99, 80) for each in features}
    ).astype({column.feature.name: column.dtype for column in Signature(features).columns})
    y = np.where(X.sum(axis=1) > X.sum(axis=1).median(), "more", "less").astype(object)
    for estimator in (LogisticRegression(max_iter=500), GradientBoostingClassifier(n_estimators=10, random_state=0)):
        fitted = pipeline(features, estimator).fit(X, y)
        assert Verifier(fitted, convert(fitted, features, 2), features).parity(X).label_flips == 0


def test_row_that_cannot_be_answered() -> None:
    """A pipeline that fails on an unknown string, which the signature allows, is rejected."""
    word = Feature(name="word", datatype="BYTES", description="", example="a", field_number=1)
    X = pd.DataFrame({"word": np.array(["a", "b"] * 20, dtype=object)})
    encode = OneHotEncoder(handle_unknown="error", sparse_output=False, dtype=np.float32)
    strict = Pipeline([("encode", encode), ("linear", LogisticRegression())]).fit(X, X["word"])
    edges = edge_rows([word], edge_records([word], {"word": "a"}))
    verified = Verifier(strict, convert(strict, [word], 2), [word])
    assert verified.parity(X).label_flips == 0
    with pytest.raises(
        ParityError, match=r"the prediction for a row that the signature allows failed: .*Unknown Category"
    ):
        verified.parity(edges)


def test_answer_that_is_no_number_disagrees(pipeline: Pipeline, dataset: Dataset) -> None:
    """A model that returns NaN is rejected."""
    inputs = ", ".join(
        f"{ {'INT64': 'int64', 'BYTES': 'string', 'FP32': 'float'}[f.datatype] }[N, 1] {f.name}"
        for f in TITANIC.features
    )
    graph = f"""g ({inputs}) => (string[N, 1] label, float[N, 2] probabilities) {{
      label = Identity(sex)
      nothing = Sub(fare, fare)
      both = Concat<axis = 1>(nothing, nothing)
      probabilities = Div(both, both)
    }}"""
    with pytest.raises(ParityError, match="probabilities of 1309 rows by up to nan"):
        Verifier(pipeline, _converted(graph), TITANIC.features).parity(dataset.X)


def _converted(graph: str) -> ConvertedModel:
    outputs = (
        Output(name="label", datatype="FP32", shape=[-1, 1], role="label"),
        Output(name="probabilities", datatype="FP32", shape=[-1, 1], role="probabilities"),
    )
    return ConvertedModel(small.onnx_bytes(graph), outputs, 8, {"ai.onnx": 17})


def test_company_never_matters_to_the_published_model(verified: Verifier, dataset: Dataset) -> None:
    """The published model may run a row alone."""
    assert verified.min_batch_rows(dataset.X.iloc[::4]) == 1


def _column_of_numbers() -> pd.DataFrame:
    return pd.DataFrame({"x": np.arange(200, dtype=np.float32)})


def test_fewest_rows_are_found() -> None:
    """A model with other outputs for fewer than four rows needs a batch of at least four."""
    graph = small.LONELY.replace("(float[N, 1] value)", "(float[N, 1] label, float[N, 1] probabilities)")
    graph = graph.replace("value = Add(x, extra)", "label = Identity(x)\n probabilities = Add(x, extra)")
    verified = Verifier(Pipeline([("nothing", "passthrough")]), _converted(graph), [small.X])
    assert verified.min_batch_rows(_column_of_numbers()) == 4


def test_answers_that_always_depend_on_company() -> None:
    """A model whose outputs depend on the batch at every size is rejected."""
    verified = Verifier(Pipeline([("nothing", "passthrough")]), _converted(DEPENDENT), [small.X])
    with pytest.raises(ParityError, match="predictions depend on the other rows of the batch"):
        verified.min_batch_rows(_column_of_numbers())


@pytest.mark.parametrize(
    ("estimator", "y", "other"),
    [
        (GaussianNB(), ["a", "b", "a", "b"], "LogisticRegression"),
        (QuadraticDiscriminantAnalysis(), ["a", "b", "a", "b"], "LogisticRegression"),
        (KNeighborsRegressor(2), [1.0, 2.0, 3.0, 4.0], "Ridge"),
    ],
)
def test_an_estimator_that_depends_on_company_is_named(estimator: BaseEstimator, y: list[Any], other: str) -> None:
    """The rejection names the estimator whose sums depend on the batch, and alternatives."""
    X = pd.DataFrame({"x": [0.0, 1.0, 2.0, 5.0]})
    verified = Verifier(Pipeline([("only", estimator.fit(X, y))]), _converted(DEPENDENT), [small.X])
    with pytest.raises(ParityError, match=f"sums of {type(estimator).__name__} .*row by row: {other}, a random forest"):
        verified.min_batch_rows(_column_of_numbers())


@pytest.mark.parametrize("is_stacked", [False, True])
@pytest.mark.parametrize("cast", [[], [("cast", CastTransformer())]], ids=["double", "cast"])
def test_categories_of_histogram_boosting_are_named(
    dataset: Dataset, part: Split, cast: list[tuple[str, Any]], *, is_stacked: bool
) -> None:
    """A difference due to categories that the converter ignores is explained by them."""
    boosting: Any = HistGradientBoostingClassifier(max_iter=20, categorical_features=[0], random_state=0)
    if is_stacked:
        boosting = StackingClassifier([("boosting", boosting)], LogisticRegression(), cv=2)
    codes = ColumnTransformer([("code", OrdinalEncoder(), ["embarked", "sex"]), ("rest", "passthrough", ["sibsp"])])
    trees = Pipeline([("encode", codes), *cast, ("estimate", boosting)]).fit(part.X_train, part.y_train)
    verified = Verifier(trees, convert(trees, TITANIC.features, 2), TITANIC.features)
    with pytest.raises(ParityError, match="cause: skl2onnx ignores HistGradientBoostingClassifier's categorical_fea"):
        verified.parity(dataset.X)


def test_linear_model_is_run_in_batches_that_settle_it() -> None:
    """In batches of the size found, a linear model returns the same bits as for all rows."""
    numbers = np.random.default_rng(0).normal(size=(200, len(NUMBERS)))
    X = pd.DataFrame(numbers.astype(np.float32), columns=[feature.name for feature in NUMBERS])
    y = np.where(X.sum(axis=1) > 0, "more", "less").astype(object)
    linear = pipeline(NUMBERS, LogisticRegression()).fit(X, y)
    verified = Verifier(linear, convert(linear, NUMBERS, 2), NUMBERS)
    least = verified.min_batch_rows(X)
    together = verified.run(X)[1]
    apart = [verified.run(X.iloc[start : start + least])[1] for start in range(0, 200 - least + 1, least)]
    assert np.array_equal(np.concatenate(apart), together[: least * len(apart)])


def test_edges_of_the_signature(edges: list[dict[str, Scalar | None]]) -> None:
    """The edge cases have every category, null and limit, and start with the example."""
    assert edges[0] == EXAMPLE
    for feature in TITANIC.features:
        values = [record[feature.name] for record in edges]
        assert set(feature.categories or ()) <= set(values)
        assert (None in values) == feature.nullable
        assert {limit for limit in (feature.minimum, feature.maximum) if limit is not None} <= set(values)
    assert any(math.copysign(1, record["age"]) < 0 for record in edges if isinstance(record["age"], float))
    assert EXAMPLE | {"age": None, "fare": None, "embarked": None} in edges


def test_golden_rows_are_what_the_model_answers(verified: Verifier, edges: list[dict[str, Scalar | None]]) -> None:
    """The golden outputs are the model's, one per record."""
    golden = verified.golden(edges)
    labels, probabilities = verified.run(edge_rows(TITANIC.features, edges))
    assert labels is not None
    assert (golden.records, golden.tolerance) == (edges, TOLERANCE)
    assert golden.outputs == {"label": labels.tolist(), "probabilities": probabilities.tolist()}

"""`POST /api/explain`: the prediction and exact feature contributions."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.models.manifest import Feature, read
from server.models.repository import Repository
from server.settings import Settings
from tests.server.support import every, explained, small
from tests.server.support.explained import Predict, Record, by_definition, by_dividends
from tests.server.support.in_process import InProcess

ROOT: Final = Path(__file__).parents[3]
EXPLAIN: Final = "/api/explain"
TITANIC: Final = read(ROOT / "models" / "titanic" / "1" / "manifest.json")
NAMES: Final = [feature.name for feature in TITANIC.features]


@pytest.fixture(scope="module")
def client() -> Iterator[InProcess]:
    """Yield the in-process app with the committed models."""
    with InProcess(Repository.load(ROOT / "models")) as app:
        yield app


brief = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)


def predicting(client: InProcess, quantities: Callable[[Record], list[float]]) -> Predict:
    """Return a function that predicts records over the REST interface; `quantities` selects the numbers."""

    def predict(records: list[Record]) -> NDArray[np.float64]:
        answers = client.post("/api/predict", {"records": records}).json()["predictions"]
        return np.array([quantities(answer) for answer in answers])

    return predict


def total(explanation: Record) -> float:
    """Return the sum of the base and all contributions."""
    return float(explanation["base"] + sum(explanation["contributions"].values()))


def test_an_explanation_is_the_answer_and_more(server: httpx.Client, passenger: Record) -> None:
    """An explanation is the prediction, bit for bit, followed by the base and the contributions."""
    answer = server.post("/api/predict", json=passenger).json()
    explanation = server.post(EXPLAIN, json=passenger).json()
    assert list(explanation) == [*answer, "base", "contributions"]
    assert {name: explanation[name] for name in answer} == answer
    assert list(explanation["contributions"]) == NAMES
    assert total(explanation) == pytest.approx(answer["probability"], abs=1e-12)


def test_several_records(server: httpx.Client, passenger: Record) -> None:
    """Several records in one request get the same explanations as each record alone."""
    records = [passenger, passenger | {"age": None, "sex": "male"}, passenger | {"embarked": None}]
    told = server.post(EXPLAIN, json={"records": records}).json()
    assert list(told) == ["model", "version", "explanations"]
    alone = [server.post(EXPLAIN, json=record).json() for record in records]
    assert [{"model": "titanic", "version": "1", **each} for each in told["explanations"]] == alone


def test_every_path(server: httpx.Client, passenger: Record) -> None:
    """Default, model, version and label are explained alike; unknown names get a prediction's 404."""
    expected = server.post(EXPLAIN, json=passenger).json()
    for below in ("", "/versions/1", "/labels/stable"):
        assert server.post(f"/api/models/titanic{below}/explain", json=passenger).json() == expected
    for path in ("/api/models/other", "/api/models/titanic/versions/9", "/api/models/titanic/labels/none"):
        refused = server.post(f"{path}/explain", json=passenger)
        assert (refused.status_code, refused.text) == (404, server.post(f"{path}/predict", json=passenger).text)
    assert server.get(EXPLAIN).headers["allow"] == "POST"


@pytest.mark.parametrize("number", [0, 5, 11])
def test_titanic_by_definition(client: InProcess, number: int) -> None:
    """Contributions equal the definition: each feature's mean effect on the probability, over all orders."""
    record = TITANIC.golden.records[number]
    predict = predicting(client, lambda answer: [answer["probability"]])
    base, contributions = by_definition(predict, NAMES, record, TITANIC.background)
    explanation = client.post(EXPLAIN, record).json()
    assert explanation["base"] == pytest.approx(base[0], abs=1e-9)
    np.testing.assert_allclose([*explanation["contributions"].values()], contributions[:, 0], rtol=0, atol=1e-9)


def test_every_golden_row_adds_up(client: InProcess) -> None:
    """For every golden row the prediction is bit-identical, and base plus contributions equal it."""
    records = TITANIC.golden.records
    answers = client.post("/api/predict", {"records": records}).json()["predictions"]
    explanations = []
    for start in range(0, len(records), 30):
        explanations += client.post(EXPLAIN, {"records": records[start : start + 30]}).json()["explanations"]
    assert len({each["base"] for each in explanations}) == 1
    for answer, explanation in zip(answers, explanations, strict=True):
        assert {name: explanation[name] for name in answer} == answer
        assert abs(total(explanation) - answer["probability"]) < 1e-6


def test_several_classes_by_definition(tmp_path: Path) -> None:
    """A multiclass model has contributions to each probability; null is a value like others."""
    explained.multiclass(tmp_path)
    names = [feature.name for feature in explained.FEATURES]
    with InProcess(Repository.load(tmp_path)) as client:
        predict = predicting(client, lambda answer: [*answer["probabilities"].values()])
        for record in explained.RECORDS:
            told = client.post(EXPLAIN, record).json()
            assert list(told) == ["model", "version", "label", "probabilities", "base", "contributions"]
            base, contributions = by_definition(predict, names, record, explained.BACKGROUND)
            for place, name in enumerate(explained.CLASSES):
                assert told["base"][name] == pytest.approx(base[place], abs=1e-9)
                shares = told["contributions"][name]
                assert list(shares) == names
                np.testing.assert_allclose([*shares.values()], contributions[:, place], rtol=0, atol=1e-9)
                assert abs(told["base"][name] + sum(shares.values()) - told["probabilities"][name]) < 1e-6


@pytest.mark.parametrize("limits", [Settings(), Settings(max_batch_rows=3)], ids=["one run", "runs of three rows"])
def test_a_value_by_definition(tmp_path: Path, limits: Settings) -> None:
    """A regression has contributions to its value, in any number of runs."""
    explained.regression(tmp_path, min_batch_rows=2)
    names = [feature.name for feature in explained.FEATURES]
    with InProcess(Repository.load(tmp_path), limits) as client:
        predict = predicting(client, lambda answer: [answer["value"]])
        for record in explained.RECORDS:
            told = client.post(EXPLAIN, record).json()
            assert list(told) == ["model", "version", "value", "base", "contributions"]
            base, contributions = by_definition(predict, names, record, explained.BACKGROUND)
            assert told["base"] == pytest.approx(base[0], abs=1e-9)
            np.testing.assert_allclose([*told["contributions"].values()], contributions[:, 0], rtol=0, atol=1e-6)


def test_few_rows_are_filled_up(tmp_path: Path) -> None:
    """Runs for an explanation are padded to `min_batch_rows`."""
    model = small.onnx_bytes(small.LONELY)
    background: Any = [{"x": 1.0}, {"x": 3.0}]
    small.write(tmp_path, model, small.manifest(model, answers=[(1.0, 1.0)], min_batch_rows=4, background=background))
    with InProcess(Repository.load(tmp_path), Settings(max_batch_rows=1)) as client:
        told = client.post(EXPLAIN, {"x": 7.5}).json()
    assert told == {"model": "small", "version": "1", "value": 7.5, "base": 2.0, "contributions": {"x": 5.5}}


def test_a_sign_of_nought_counts(tmp_path: Path) -> None:
    """-0.0 counts as a value different from the background's 0.0, as in the model."""
    model = small.onnx_bytes("g (float[N, 1] x) => (float[N, 1] value) { y = Reciprocal(x) value = Atan(y) }")
    described = small.manifest(model, answers=[(1.0, float(np.arctan(1)))], background=[{"x": 0.0}])
    small.write(tmp_path, model, described)
    with InProcess(Repository.load(tmp_path)) as client:
        told = client.post(EXPLAIN, {"x": -0.0}).json()
    assert told["contributions"]["x"] == pytest.approx(-np.pi)


def test_no_finite_value(tmp_path: Path) -> None:
    """Contributions that are not finite are null, without an error or a warning."""
    model = small.onnx_bytes("g (float[N, 1] x) => (float[N, 1] value) { value = Log(x) }")
    small.write(tmp_path, model, small.manifest(model, answers=[(1.0, 0.0)], background=[{"x": 1.0}, {"x": 0.0}]))
    with InProcess(Repository.load(tmp_path)) as client:
        for value in (-1.0, 0.0, 2.0):
            told = client.post(EXPLAIN, {"x": value}).json()
            assert (told["base"], told["contributions"]) == (None, {"x": None})


@pytest.mark.parametrize("part", [every.FEATURES[:7], every.FEATURES[7:]], ids=["first", "last"])
def test_every_datatype(tmp_path: Path, part: tuple[Feature, ...]) -> None:
    """In a sum, each feature contributes its own term minus the background's mean."""
    rows: Any = [{each.name: every.ROWS[each.name][row] for each in part} for row in range(3)]
    explained.angles(tmp_path, part, rows[1:])
    with InProcess(Repository.load(tmp_path)) as client:
        for record in rows:
            told = client.post(EXPLAIN, record).json()["contributions"]
            for each in part:
                own, *others = (explained.angle(each, row[each.name]) for row in (record, *rows[1:]))
                assert told[each.name] == pytest.approx(own - np.mean(others), abs=1e-6)


def _passengers() -> st.SearchStrategy[Record]:
    """Return a strategy for valid Titanic records."""
    nothing = st.none()
    return st.fixed_dictionaries(
        {
            "pclass": st.integers(1, 3),
            "sex": st.sampled_from(["female", "male"]),
            "age": nothing | st.floats(0, 120),
            "sibsp": st.integers(0, 20),
            "parch": st.integers(0, 20),
            "fare": nothing | st.floats(0, 1e6),
            "embarked": nothing | st.sampled_from(["C", "Q", "S"]),
        }
    )


@brief
@given(record=_passengers())
def test_shares_add_up_for_whatever_record(client: InProcess, record: Record) -> None:
    """Base plus contributions equal the prediction for any record (efficiency)."""
    answer = client.post("/api/predict", record).json()
    explanation = client.post(EXPLAIN, record).json()
    assert {name: explanation[name] for name in answer} == answer
    assert abs(total(explanation) - answer["probability"]) < 1e-6


@pytest.mark.parametrize("same", [(), (7,), (8,), (7, 8), (0, 3, 7, 8)])
def test_many_features_by_definition(tmp_path: Path, same: tuple[int, ...]) -> None:
    """With many features, whose rows are built in parts, contributions equal the definition."""
    names = [f"f{number}" for number in range(9)]
    record = {name: 1.0 + place / 4 for place, name in enumerate(names)}
    background = [
        {name: record[name] if place in same else float((row * place) % 3) for place, name in enumerate(names)}
        for row in range(5)
    ]
    background[3] = record | {"f8": 0.5} if 8 not in same else record
    explained.chain(tmp_path, len(names), background)
    with InProcess(Repository.load(tmp_path)) as client:
        predict = predicting(client, lambda answer: [answer["value"]])
        told = client.post(EXPLAIN, record).json()
        expected = by_dividends(predict, names, record, background)
    np.testing.assert_allclose([*told["contributions"].values()], expected, rtol=0, atol=1e-6)
    assert total(told) == pytest.approx(told["value"], abs=1e-9)
    assert all(told["contributions"][f"f{place}"] == 0 for place in same)


@pytest.fixture(scope="module")
def symmetric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """Yield a client of the `product` model."""
    root = tmp_path_factory.mktemp("symmetric")
    explained.product(root)
    with InProcess(Repository.load(root)) as app:
        yield app


@brief
@given(numbers=st.lists(st.floats(-100, 100, width=32), min_size=4, max_size=4))
def test_symmetry_and_dummies(symmetric: InProcess, numbers: list[float]) -> None:
    """Symmetric features have equal contributions, and an ignored feature has exactly 0."""
    left, right, added, ignored = numbers
    shares = [
        symmetric.post(EXPLAIN, {"left": one, "right": other, "added": added, "ignored": ignored}).json()
        for one, other in ((left, right), (right, left))
    ]
    first, second = (each["contributions"] for each in shares)
    assert first["left"] == pytest.approx(second["right"], rel=1e-6, abs=1e-3)
    assert first["right"] == pytest.approx(second["left"], rel=1e-6, abs=1e-3)
    assert first["added"] == pytest.approx(added - explained.MEAN_ADDED, abs=1e-2)
    assert first["ignored"] == second["ignored"] == 0

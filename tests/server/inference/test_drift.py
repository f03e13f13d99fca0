"""Drift detection: served inputs and outputs compared with the training data's distributions."""

import asyncio
import math
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd
import pytest

from export.data.dataset import Split
from server.http.message import Body
from server.inference.batcher import Limits, Waiter
from server.inference.drift.lazy import DriftConfig
from server.inference.drift.monitor import SLICES, TURN_ROWS, Drift
from server.inference.drift.psi import MIN_ROWS
from server.inference.runner import InferenceRequest, Runners
from server.models.manifest import Golden, Output
from server.models.repository import Repository
from server.models.training_metadata import Distribution, Reference
from server.rpc.proto import inference_pb2
from server.settings import Settings
from tests.passenger import DATATYPES, PASSENGER
from tests.server.http.test_fast_path import TENSORS
from tests.server.support import blobs, small
from tests.server.support.clock import Clock
from tests.server.support.in_process import InProcess
from tests.server.support.repositories import BEARER, TOKEN, label, publish
from tests.server.support.rpc import BATCH, INFER, MODELS, PREDICT, STREAM, TITANIC, enveloped

HALVES: Final = """g (float[N, 1] x) => (int64[N] label, float[N, 2] probabilities) <float[1] one = {1}> {
  other = Sub(one, x)
  probabilities = Concat<axis = 1>(other, x)
  label = ArgMax<axis = 1, keepdims = 0>(probabilities)
}"""
"""Computes label 1, as a number, if x exceeds one half."""
DRIFT: Final = "/api/models/titanic/drift"
CSV: Final = "pclass,sex,age,sibsp,parch,fare,embarked\n"
JSON: Final = {"content-type": "application/json"}


@pytest.fixture
def clock() -> Clock:
    """Return a clock that the test sets."""
    return Clock()


@pytest.fixture
def app(clock: Clock) -> Iterator[InProcess]:
    """Yield an app with the committed models and a drift window of an hour."""
    with InProcess(Repository.load(MODELS), Settings(drift_window_s=3600), clock) as served:
        yield served


def rows(app: InProcess, of: str = "requests") -> int:
    """Return the number of rows in the window."""
    counted: int = app.get(f"{DRIFT}?of={of}").json()["rows"]
    return counted


def csv(records: list[dict[str, Any]]) -> bytes:
    """Return records as a CSV file."""
    lines = (",".join("" if value is None else str(value) for value in record.values()) for record in records)
    return (CSV + "\n".join(lines) + "\n").encode()


def ask(app: InProcess, clock: Clock, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Predict records, 100 per second so that every row is counted. Returns the predictions."""
    answers = []
    for start in range(0, len(records), 100):
        asked = app.post("/api/predict", {"records": records[start : start + 100]})
        answers += asked.json()["predictions"]
        clock.go_on(1)
    return answers


CALLS: Final[list[Any]] = [
    pytest.param(lambda app: app.post("/api/predict", PASSENGER), 1, id="a record"),
    pytest.param(lambda app: app.post("/api/predict", {"records": [PASSENGER] * 3}), 3, id="records"),
    pytest.param(lambda app: app.get("/api/predict?pclass=1&sex=male&sibsp=0&parch=0"), 1, id="GET"),
    pytest.param(lambda app: app.post("/v2/models/titanic/infer", TENSORS), 1, id="tensors"),
    pytest.param(
        lambda app: app.post_bytes("/v2/models/titanic/infer", *blobs.request([PASSENGER] * 2)), 2, id="binary tensors"
    ),
    pytest.param(lambda app: app.post_bytes(PREDICT, msg({"passenger": 1}), JSON), 0, id="a call that is refused"),
    pytest.param(lambda app: app.post(PREDICT, PASSENGER), 1, id="Predict"),
    pytest.param(lambda app: app.post(BATCH, {"records": [PASSENGER] * 4}), 4, id="PredictBatch"),
    pytest.param(
        lambda app: app.post_bytes(
            STREAM, enveloped(msg({"records": [PASSENGER] * 5})), {"content-type": "application/connect+json"}
        ),
        5,
        id="PredictStream",
    ),
    pytest.param(
        lambda app: app.post_bytes(INFER, infer_message(), {"content-type": "application/proto"}), 1, id="ModelInfer"
    ),
    pytest.param(lambda app: app.post("/api/predict", PASSENGER | {"age": -1}), 0, id="what is refused"),
]


def msg(document: object) -> bytes:
    """Return a document as JSON."""
    return msgspec.json.encode(document)


def infer_message() -> bytes:
    """Return a ModelInfer request of the passenger with raw tensors."""
    message = inference_pb2.ModelInferRequest(model_name="titanic")
    for name, datatype in DATATYPES.items():
        message.inputs.add(name=name, datatype=datatype, shape=[1, 1])
        message.raw_input_contents.append(blobs.blob(datatype, [PASSENGER[name]]))
    return bytes(message.SerializeToString())


@pytest.mark.parametrize(("call", "expected"), CALLS)
def test_every_wire_counts(app: InProcess, call: Callable[[InProcess], Any], expected: int) -> None:
    """Each interface counts every predicted row and no rejected row."""
    answer = call(app)
    assert (answer.status_code == 200) == (expected > 0), answer.text
    assert rows(app) == expected
    assert rows(app, "files") == 0


def expected_psi(reference: Distribution, values: list[Any]) -> float:
    """Return the PSI by its definition, value by value; a null is None."""
    bins = Counter(_bin(reference, value) for value in values)
    counts = dict(enumerate(reference.counts))
    if reference.nulls or None in bins:
        counts[-1] = reference.nulls
        bins[-1] = bins.pop(None, 0)
    m, n = sum(counts.values()), len(values)
    index = 0.0
    for place, count in counts.items():
        e, a = (count + 0.5) / (m + 0.5 * len(counts)), (bins[place] + 0.5) / (n + 0.5 * len(counts))
        index += (a - e) * math.log(a / e)
    return index


def _bin(reference: Distribution, value: Any) -> int | None:  # noqa: ANN401
    if value is None:
        return None
    if reference.edges is None:
        return (reference.categories or []).index(value)
    return sum(float(np.float32(value)) > edge for edge in reference.edges)


def test_the_index_is_its_definition(app: InProcess, clock: Clock, passengers: list[dict[str, Any]]) -> None:
    """The PSI of each feature and of the output equals the value by definition."""
    asked = [each for each in passengers if each["sex"] == "female"]
    answers = ask(app, clock, asked)
    report = app.get(DRIFT).json()
    assert (report["model"], report["version"], report["rows"]) == ("titanic", "1", len(asked))
    assert TITANIC.reference is not None
    for name, told in report["features"].items():
        wanted = expected_psi(TITANIC.reference.features[name], [each[name] for each in asked])
        assert told["psi"] == pytest.approx(wanted, abs=1e-9), name
    wanted = expected_psi(TITANIC.reference.answer, [each["probability"] for each in answers])
    assert report["answer"]["psi"] == pytest.approx(wanted, abs=1e-9)
    assert report["features"]["sex"]["psi"] > 0.25 > report["features"]["embarked"]["psi"]
    sex = report["features"]["sex"]
    assert (sex["categories"], sex["actual"]) == (["female", "male"], [1.0, 0.0])
    age = report["features"]["age"]
    assert len(age["expected"]) == len(age["actual"]) == len(age["edges"]) + 1
    assert age["nulls"]["actual"] == pytest.approx(sum(each["age"] is None for each in asked) / len(asked), abs=1e-6)


def test_the_training_rows_are_no_drift(app: InProcess, clock: Clock, part: Split) -> None:
    """The training rows fall into the reference's bins exactly, so every feature's PSI is 0."""
    records = [
        {str(name): None if pd.isna(value) or value == "" else value for name, value in row.items()}
        for row in part.X_train.to_dict("records")
    ]
    ask(app, clock, records)
    report = app.get(DRIFT).json()
    assert report["rows"] == report["reference_rows"] == len(records)
    for name, told in report["features"].items():
        assert told["psi"] == 0.0, name
        assert told["actual"] == told["expected"]
    assert report["answer"]["psi"] < 0.001  # a row may be at an edge, and the model's numbers differ slightly


def test_too_few_rows_say_nothing(app: InProcess) -> None:
    """Below the minimum number of rows the report has shares and no PSI."""
    app.post("/api/predict", {"records": [PASSENGER] * 200})
    app.post("/api/predict", {"records": [PASSENGER] * (MIN_ROWS - 201)})
    report = app.get(DRIFT).json()
    assert {each["psi"] for each in (*report["features"].values(), report["answer"])} == {None}
    assert report["features"]["pclass"]["actual"] == [1.0, 0.0, 0.0]
    app.post("/api/predict", PASSENGER)
    assert app.get(DRIFT).json()["features"]["pclass"]["psi"] > 1


def test_the_window_slides(app: InProcess, clock: Clock) -> None:
    """Rows leave the window after its length, in steps of one sixtieth."""
    app.post("/api/predict", {"records": [PASSENGER] * 5})
    clock.go_on(1800)
    app.post("/api/predict", {"records": [PASSENGER] * 7})
    assert rows(app) == 12
    clock.go_on(1800)
    assert rows(app) == 7
    clock.go_on(1800 - 60)
    assert rows(app) == 7
    clock.go_on(60)
    assert rows(app) == 0
    clock.go_on(3600 * SLICES)
    app.post("/api/predict", PASSENGER)
    assert rows(app) == 1


def test_rows_that_nobody_looked_at_are_of_their_own_time(app: InProcess, clock: Clock) -> None:
    """A row before a pause leaves the window at its own time."""
    app.post("/api/predict", PASSENGER)
    clock.go_on(3000)
    app.post("/api/predict", PASSENGER)
    clock.go_on(700)
    assert rows(app) == 1


def test_a_model_under_load_is_looked_at_from_time_to_time(app: InProcess, clock: Clock) -> None:
    """Under load only a limited number of rows is counted per turn."""
    for _ in range(TURN_ROWS // 200 + 3):
        app.post("/api/predict", {"records": [PASSENGER] * 200})
    assert rows(app) == TURN_ROWS
    clock.go_on(10)
    app.post("/api/predict", {"records": [PASSENGER] * 200})
    assert rows(app) == TURN_ROWS + 200


def test_of_many_rows_some_are_looked_at(app: InProcess) -> None:
    """A large request contributes a limited number of evenly spread rows."""
    halves = [PASSENGER] * 600 + [PASSENGER | {"pclass": 2}] * 600
    app.post("/api/predict", {"records": halves})
    report = app.get(DRIFT).json()
    assert report["rows"] == 256
    assert report["features"]["pclass"]["actual"] == [0.5, 0.5, 0.0]


def test_files_are_counted_apart(app: InProcess, passengers: list[dict[str, Any]]) -> None:
    """Rows of files have their own window; rows that can't be scored are not counted."""
    some = passengers[:200]
    body = csv([*some, PASSENGER | {"sex": "nobody"}])
    for on_error, seen in (("skip", 200), ("null", 400)):
        answer = app.post_bytes(f"/api/batch?on_error={on_error}", body, {"content-type": "text/csv"})
        assert answer.status_code == 200
        assert (rows(app), rows(app, "files")) == (0, seen)
    assert app.post_bytes("/api/batch", csv(passengers), {"content-type": "text/csv"}).status_code == 200
    report = app.get(f"{DRIFT}?of=files").json()
    assert report["of"] == "files"
    assert report["rows"] == 400 + 256
    assert report["features"]["sex"]["psi"] < 0.25


def test_a_row_that_fails_is_not_counted(tmp_path: Path) -> None:
    """A request that fails in the model is not counted; others are counted once."""
    model = small.onnx_bytes(small.LOOK_UP)
    reference = _reference("index", Distribution(edges=[0.0, 1.0], counts=[1, 1, 1]))
    small.write(tmp_path, model, small.manifest(model, small.INDEX, answers=[(0, 10.0)], reference=reference))
    with InProcess(Repository.load(tmp_path)) as app:
        assert app.post("/api/predict", {"index": 9}).status_code == 500
        app.post("/api/predict", {"index": 2})
        assert app.get("/api/models/small/drift").json()["rows"] == 1


def _reference(name: str, of: Distribution, answer: Distribution | None = None) -> Reference:
    return Reference(rows=3, features={name: of}, answer=answer or Distribution(edges=[15.0], counts=[1, 2]))


@pytest.mark.parametrize("allowed", [None, ["no", "yes"]], ids=["any", "some"])
def test_words_that_no_category_has(tmp_path: Path, allowed: list[str | int] | None) -> None:
    """If a feature allows other strings, values outside the reference's categories have their own share."""
    model = small.onnx_bytes(small.YES, opset=19)
    reference = _reference("x", Distribution(categories=["maybe", "no"], counts=[2, 1]))
    feature = msgspec.structs.replace(small.WORD, categories=allowed)
    small.write(tmp_path, model, small.manifest(model, feature, answers=[("yes", 1.0)], reference=reference))
    with InProcess(Repository.load(tmp_path)) as app:
        for word in ("no", "yes"):
            app.post("/api/predict", {"records": [{"x": word}] * 150})
        told = app.get("/api/models/small/drift").json()["features"]["x"]
    assert told["actual"] == [0.0, 0.5]
    assert told["other"] == {"expected": 0.0, "actual": 0.5}
    assert "nulls" not in told
    assert told["psi"] > 0.25


def test_labels_are_the_answers_of_several_classes(tmp_path: Path) -> None:
    """A multiclass model's output is its label; a class without training rows counts as other."""
    answer = Distribution(categories=["above", "below"], counts=[1, 2])
    small.signs(tmp_path, reference=_reference("x", Distribution(edges=[0.0], counts=[1, 2]), answer))
    with InProcess(Repository.load(tmp_path)) as app:
        for x in (5, -5, 0):
            app.post("/api/predict", {"records": [{"x": x}] * 100})
        app.post("/api/predict", {"x": 5})
        report = app.get("/api/models/small/drift").json()
    assert report["rows"] == 301
    assert report["answer"]["actual"] == [round(101 / 301, 6), round(100 / 301, 6)]
    assert report["answer"]["other"]["actual"] == round(100 / 301, 6)
    assert report["features"]["x"]["actual"] == [round(200 / 301, 6), round(101 / 301, 6)]


def test_labels_that_are_numbers(tmp_path: Path) -> None:
    """Numeric labels fall into the bins of their class names."""
    answer = Distribution(categories=["0", "1"], counts=[1, 2])
    model = small.onnx_bytes(HALVES)
    described: dict[str, Any] = {
        "kind": "multiclass",
        "classes": ["0", "1"],
        "outputs": [
            Output(name="label", datatype="INT64", shape=[-1], role="label"),
            Output(name="probabilities", datatype="FP32", shape=[-1, 2], role="probabilities"),
        ],
        "golden": Golden(records=[{"x": 0.75}], outputs={"label": [1]}, tolerance=1e-5),
        "reference": _reference("x", Distribution(edges=[0.5], counts=[1, 2]), answer),
    }
    small.write(tmp_path, model, small.manifest(model, **described))
    with InProcess(Repository.load(tmp_path)) as app:
        for records in ([{"x": 1}], [{"x": 1}, {"x": 0}], [{"x": 0}] * 257):
            assert app.post("/api/predict", {"records": records}).status_code == 200
        report = app.get("/api/models/small/drift").json()
    assert report["answer"]["actual"] == [round(257 / 259, 6), round(2 / 259, 6)]


def test_null_of_an_integer(tmp_path: Path) -> None:
    """A null and the manifest's null value both count as null."""
    model = small.onnx_bytes(small.LOOK_UP)
    feature = msgspec.structs.replace(small.INDEX, nullable=True, null_value=1)
    reference = _reference("index", Distribution(edges=[1.0], counts=[1, 2]))
    small.write(tmp_path, model, small.manifest(model, feature, answers=[(0, 10.0)], reference=reference))
    with InProcess(Repository.load(tmp_path)) as app:
        app.post("/api/predict", {"records": [{"index": 0}, {"index": None}, {}, {"index": 1}, {"index": 2}]})
        app.post("/api/predict", {"index": None})
        report = app.get("/api/models/small/drift").json()
    assert report["features"]["index"]["actual"] == [round(1 / 6, 6), round(1 / 6, 6)]
    assert report["features"]["index"]["nulls"]["actual"] == round(4 / 6, 6)
    assert report["answer"]["actual"] == [round(1 / 6, 6), round(5 / 6, 6)]


def test_each_version_has_a_window(tmp_path: Path) -> None:
    """Each version has its own window, which survives label changes and reloads."""
    reference = _reference("x", Distribution(edges=[0.0], counts=[1, 2]))
    publish(tmp_path, 1, reference=reference)
    publish(tmp_path, 2, 3, reference=reference)
    label(tmp_path, stable=1)
    root = "/api/models/small"
    with InProcess(Repository.load(tmp_path), Settings(admin_token=TOKEN)) as app:

        def seen() -> dict[str, tuple[str, int]]:
            paths = ("", "/labels/stable", "/versions/1", "/versions/2")
            reports = {below: app.get(f"{root}{below}/drift").json() for below in paths}
            return {below: (report["version"], report["rows"]) for below, report in reports.items()}

        app.post("/api/predict", {"records": [{"x": 1}] * 3})
        assert seen() == {"": ("1", 3), "/labels/stable": ("1", 3), "/versions/1": ("1", 3), "/versions/2": ("2", 0)}
        label(tmp_path, stable=2)
        assert app.post_bytes("/v2/repository/models/small/load", b"", BEARER).status_code == 200
        app.post("/api/predict", {"x": 1})
        assert seen() == {"": ("2", 1), "/labels/stable": ("2", 1), "/versions/1": ("1", 3), "/versions/2": ("2", 1)}
        assert app.get(f"{root}/versions/3/drift").status_code == 404


@pytest.mark.parametrize("query", ["of=everything", "of=", "rows=1", "of=files&of=all"])
def test_a_query_that_is_none(app: InProcess, query: str) -> None:
    """An unknown parameter or an invalid value is rejected with the parameter's name."""
    answer = app.get(f"{DRIFT}?{query}")
    assert answer.status_code == 400
    assert answer.json()["field"] == query.partition("=")[0]


def test_nothing_is_watched(tmp_path: Path) -> None:
    """Without a window or a reference the drift path responds 501, and predictions still work."""
    small.double(tmp_path)
    with InProcess(Repository.load(MODELS), Settings(drift_window_s=0)) as app:
        assert app.post("/api/predict", PASSENGER).status_code == 200
        answer = app.get(DRIFT)
        assert (answer.status_code, answer.json()["code"]) == (501, "unimplemented")
        assert "LIFEBOAT_DRIFT_WINDOW_S" in answer.json()["error"]
    with InProcess(Repository.load(tmp_path)) as app:
        assert app.post("/api/predict", {"x": 1}).status_code == 200
        answer = app.get("/api/models/small/drift")
        assert (answer.status_code, answer.json()["field"]) == (501, "model")


def test_memory_is_bounded() -> None:
    """Memory doesn't grow with the number of windows."""
    assert TITANIC.reference is not None
    model = Repository.load(MODELS).resolve()
    clock = Clock()
    drift = Drift(TITANIC, TITANIC.reference, model.signature, 600, clock)
    outputs = model.compute(model.signature.from_records([PASSENGER] * 4))

    def watch(windows: int) -> int:
        for number in range(windows * SLICES * 20):
            columns = [[value] for value in (PASSENGER | {"fare": float(number)}).values()]
            if drift.accepts_rows(clock()):
                drift.count_request(clock(), columns, 1, outputs, 2)
            clock.go_on(600 / SLICES / 20)
        drift.count_run("files", model.signature.from_records([PASSENGER] * 4), 4, outputs)
        drift.counts("requests")
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        some = watch(8)  # fills the interpreter's free lists first
        assert watch(8) < some + 4096
    finally:
        tracemalloc.stop()
    _, answer = drift.counts("requests")
    assert answer.counts.sum() == pytest.approx(SLICES * 20, abs=20)


def test_hypothetical_rows_are_scored_and_not_counted(app: InProcess) -> None:
    """Hypothetical rows get the same predictions and are not counted."""
    asked = msg({"records": [PASSENGER] * 3})
    supposed = app.post_bytes("/api/predict", asked, JSON | {"lifeboat-drift": "none"})
    assert rows(app) == 0
    assert app.post_bytes("/api/predict", asked, JSON).content == supposed.content
    assert rows(app) == 3


def test_explanations_are_not_counted(app: InProcess) -> None:
    """Model runs for feature contributions are not counted."""
    assert app.post("/api/explain", PASSENGER).status_code == 200
    assert rows(app) == 0


def test_rows_of_requests_that_run_together() -> None:
    """Large requests that run in one batch are each counted by their own rows."""
    model = Repository.load(MODELS).resolve()

    async def main() -> list[int]:
        with ThreadPoolExecutor(1) as executor:
            runner = Runners(Limits(1000, 1000, 0.01), executor, DriftConfig(3600))[model]
            waiters = []
            for pclass in (1, 2, 3):
                columns = [[value] * 300 for value in (PASSENGER | {"pclass": pclass}).values()]
                waiters.append(Waiter[Body]())
                runner.submit(InferenceRequest(runner, columns, 300, lambda *_: b""), waiters[-1])
            for waiter in waiters:
                await waiter.result()
            assert runner.counters.runs == 1
            assert runner.drift is not None
            counted: list[int] = runner.drift.counts("requests")[0]["pclass"].counts.tolist()
            return counted

    assert asyncio.run(main()) == [256, 256, 256]

"""Tests of `diff` between two versions: signature, provenance, scores, and predictions for the same rows."""

import hashlib
import math
import shutil
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import onnxruntime
import pytest

from export.data.dataset import DataError, read_table
from export.registry import compare
from export.registry.compare import Difference, difference
from server.errors import DigestError, ModelError
from server.models.manifest import Feature, Golden, Manifest, Output
from server.models.training_metadata import Metrics, Spread
from tests.export import factors
from tests.export.factors import NAME
from tests.server.support import small

COUNT: Final = Feature(name="count", datatype="INT64", description="A count.", example=1, field_number=3)
WEIGHT: Final = Feature(
    name="weight",
    datatype="FP32",
    description="A weight.",
    example=1.0,
    field_number=2,
    nullable=True,
    null_value="NaN",
)
TYPES: Final = {"INT64": "int64", "INT32": "int32", "FP32": "float", "BYTES": "string"}
CHOICE: Final = """g (float[N, 1] x) => (string[N] label, float[N, 2] probabilities)
<string[2] names = {"no", "yes"}, float slope = {SLOPE}, float one = {1}> {
  scaled = Mul(x, slope)
  yes = Sigmoid(scaled)
  no = Sub(one, yes)
  probabilities = Concat<axis = 1>(no, yes)
  best = ArgMax<axis = 1, keepdims = 0>(probabilities)
  label = Gather(names, best)
}"""
"""Predicts "yes" with higher probability, the larger SLOPE times x is."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository whose versions 1 to 3 multiply x by their number."""
    for factor in (1, 2, 3):
        factors.publish(tmp_path, factor)
    return tmp_path


def test_difference_of_answers(root: Path, tmp_path: Path) -> None:
    """The difference of predictions agrees with onnxruntime's outputs, with the worst rows first."""
    x = np.array([0.5, -4.0, 1.0, 3.0, 2.0], np.float32).reshape(-1, 1)
    path = tmp_path / "rows.csv"
    path.write_text("other,X\n" + "".join(f"a,{value}\n" for value in x[:, 0]))
    found = difference(root, NAME, (1, 3), read_table(path))
    one, three = (_run(root / NAME / version, x)["value"][:, 0] for version in ("1", "3"))
    apart = np.abs(three - one)
    assert found.disagreement is not None
    assert (found.before, found.after, found.disagreement.rows, found.disagreement.labels) == (1, 3, 5, 0)
    assert found.disagreement.largest == pytest.approx(apart.max())
    assert found.disagreement.mean == pytest.approx(apart.mean(), abs=1e-6)
    assert found.disagreement.worst == [
        {"row": {"x": x[row, 0]}, "before": one[row], "after": three[row]} for row in np.argsort(-apart)[:3]
    ]
    assert (found.signature, found.incompatible, found.provenance, found.scores) == ([], [], [], {})


def test_difference_of_labels(tmp_path: Path) -> None:
    """For classifiers the difference is the largest one in a probability, and changed labels are counted."""
    for version, slope in ((1, 1.0), (2, -0.5)):
        _classifier(tmp_path, version, slope)
    x = np.array([-2.0, -1.0, 0.0, 1.0, 4.0], np.float32).reshape(-1, 1)
    found = _compared(tmp_path, "x\n" + "".join(f"{value}\n" for value in x[:, 0])).disagreement
    one, two = (_run(tmp_path / NAME / version, x) for version in ("1", "2"))
    apart = np.abs(two["probabilities"] - one["probabilities"]).max(axis=1)
    assert found is not None
    assert found.labels == (one["label"] != two["label"]).sum() == 4
    assert found.largest == pytest.approx(apart.max(), abs=1e-6)
    assert found.mean == pytest.approx(apart.mean(), abs=1e-6)
    assert [each["row"]["x"] for each in found.worst] == [4.0, -2.0, -1.0]
    assert found.worst[0]["before"] == pytest.approx(one["probabilities"][4], abs=1e-6)
    assert found.worst[0]["after"] == pytest.approx(two["probabilities"][4], abs=1e-6)


def test_same_answers(root: Path) -> None:
    """Versions with equal predictions have no difference and no worst row."""
    found = _compared(root, "x\n1\n2\n", (2, 2)).disagreement
    assert found is not None
    assert (found.rows, found.labels, found.largest, found.mean, found.worst) == (2, 0, 0.0, 0.0, [])


def test_worst_row_has_each_columns_own_type(tmp_path: Path) -> None:
    """A worst row has the types of a client's record, and can be encoded as JSON."""
    for version, operation in ((1, "Add"), (2, "Sub")):
        model = small.onnx_bytes(
            f"""g (int64[N, 1] count, float[N, 1] weight) => (float[N, 1] value) <float[1] none = {{0}}> {{
              number = Cast<to = 1>(count)
              missing = IsNaN(weight)
              filled = Where(missing, none, weight)
              value = {operation}(number, filled)
              }}"""
        )
        _write(tmp_path, model, version, [COUNT, WEIGHT], {"value": [[2.0 if operation == "Add" else 0.0]]})
    found = _compared(tmp_path, "count,weight\n16777217,8\n2,\n3,-1.5\n")
    worst = msgspec.json.decode(msgspec.json.encode(found))["disagreement"]["worst"]
    assert [each["row"] for each in worst] == [{"count": 16777217, "weight": 8}, {"count": 3, "weight": -1.5}]
    assert all(isinstance(each["row"]["count"], int) for each in worst)
    same = _compared(tmp_path, "count,weight\n2,\n").disagreement
    assert same is not None
    assert same.worst == []


def test_missing_value_is_null(tmp_path: Path) -> None:
    """A missing number in a row is shown as null."""
    for version, answer in ((1, 1.0), (2, 2.0)):
        graph = f"g (float[N, 1] weight) => (float[N, 1] value) <float[1] none = {{{answer}}}> {{ m = IsNaN(weight)\n"
        model = small.onnx_bytes(graph + "value = Where(m, none, weight) }")
        _write(tmp_path, model, version, [WEIGHT], {"value": [[1.0]]})
    found = _compared(tmp_path, "weight,\n1,a\n,b\n").disagreement
    assert found is not None
    assert found.worst == [{"row": {"weight": None}, "before": 1.0, "after": 2.0}]


def test_other_classes_are_not_compared(tmp_path: Path) -> None:
    """Models with other classes, or of another kind, aren't compared by their predictions."""
    _classifier(tmp_path, 1, 1.0)
    _classifier(tmp_path, 2, 1.0, classes=["no", "maybe"], positive_class="maybe")
    found = _compared(tmp_path, "x\n1\n")
    assert found.disagreement is None
    assert found.signature == [
        "classes: ['no', 'yes'] is now ['no', 'maybe']",
        "positive_class: yes is now maybe",
    ]
    small.write(tmp_path, factors.model(2), factors.describing(2)(3))
    assert _compared(tmp_path, "x\n1\n", (1, 3)).disagreement is None
    assert _compared(tmp_path, "x\n1\n", (1, 3)).incompatible == ["kind changed from binary to regression"]


def test_nothing_to_answer(root: Path) -> None:
    """Without rows predictions aren't compared; invalid rows and a table without rows are rejected."""
    assert difference(root, NAME, (1, 2), None).disagreement is None
    for text, words in (
        ("x\nmany\n", 'x: row 1: expected numbers; got "many"'),
        ("y\n1\n", 'a column "x"'),
        ("x\n", "it has none"),
    ):
        with pytest.raises(DataError, match=words):
            _compared(root, text)


def test_difference_of_signatures(tmp_path: Path) -> None:
    """Added, removed and changed features are listed by member, with incompatible changes."""
    before = small.manifest(b"", small.X, features=[small.X, COUNT, WEIGHT], api_version=2)
    changed = msgspec.structs.replace(COUNT, datatype="INT32", minimum=0.0, maximum=9.0, description="How many.")
    other = msgspec.structs.replace(small.WORD, name="word", field_number=4)
    after = small.manifest(b"", small.X, features=[changed, WEIGHT, other], api_version=3, description="Told anew.")
    found = _told(tmp_path, before, after)
    assert found.signature == [
        "api_version: 2 is now 3",
        "description:  is now Told anew.",
        "x: removed",
        "word: added, BYTES",
        "count: datatype 'INT64' is now 'INT32'",
        "count: minimum None is now 0.0",
        "count: maximum None is now 9.0",
        "count: description 'A count.' is now 'How many.'",
    ]
    assert found.incompatible == [
        "x was removed",
        "count changed from INT64 to INT32",
        "word was added and is not nullable",
    ]


def test_difference_of_what_they_were_made_from(tmp_path: Path) -> None:
    """Differences in data, estimator, seed, calibration and libraries are listed."""
    old = small.manifest(b"").provenance
    new = msgspec.structs.replace(
        old, dataset="grown.csv", dataset_rows=9, seed=7, calibration="sigmoid", versions={"onnx": "2", "numpy": "3"}
    )
    old = msgspec.structs.replace(old, versions={"onnx": "1", "python": "3.11"})
    found = _told(tmp_path, small.manifest(b"", provenance=old), small.manifest(b"", provenance=new))
    assert found.provenance == [
        "dataset: none is now grown.csv",
        "dataset rows: 0 is now 9",
        "seed: 0 is now 7",
        "calibration: None is now sigmoid",
        "numpy: None is now 3",
        "onnx: 1 is now 2",
        "python: 3.11 is now None",
    ]


def test_difference_of_scores(tmp_path: Path) -> None:
    """Scores of both versions are listed side by side; a score that one lacks is left out."""
    old, new = (small.manifest(b"", metrics=_metrics(**each)) for each in ({"rmse": 2.0, "r2": 0.5}, {"rmse": 1.0}))
    assert _told(tmp_path, old, new).scores == {"rmse": [2.0, 1.0]}
    assert _told(tmp_path, old, small.manifest(b"")).scores == {}


def test_broken_version_is_not_compared(root: Path) -> None:
    """A version that a server would reject isn't compared."""
    factors.damage(root / NAME, 2)
    with pytest.raises(DigestError):
        difference(root, NAME, (1, 2), None)
    with pytest.raises(ModelError):
        compare.read(root, NAME, 8)
    assert compare.read(root, NAME, 1).version == 1


def _metrics(**scores: float) -> Metrics:
    spread = Spread(mean={}, deviation={})
    return Metrics(
        held_out_rows=1,
        held_out=scores,
        intervals={},
        baseline={},
        seeds=0,
        over_seeds=spread,
        baseline_over_seeds=spread,
    )


def _run(folder: Path, x: Any) -> dict[str, Any]:  # noqa: ANN401 # an array
    """Return onnxruntime's outputs by name."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {"x": x}), strict=True))


def _compared(root: Path, text: str, numbers: tuple[int, int] = (1, 2)) -> Difference:
    """Return the difference of two versions, with predictions for a CSV file of this text."""
    path = root / "rows.csv"
    path.write_text(text)
    return difference(root, NAME, numbers, read_table(path))


def _told(root: Path, before: Manifest, after: Manifest) -> Difference:
    """Return the difference of two manifests, with models that always return 0."""
    for version, each in ((1, before), (2, after)):
        inputs = ", ".join(f"{TYPES[feature.datatype]}[N, 1] {feature.name}" for feature in each.features)
        first = each.features[0].name
        model = small.onnx_bytes(
            f"g ({inputs}) => (float[N, 1] value) {{ shape = Shape({first})\n value = ConstantOfShape(shape) }}"
        )
        record: dict[str, Any] = {feature.name: feature.example for feature in each.features}
        golden = Golden(records=[record], outputs={"value": [[0.0]]}, tolerance=1e-5)
        sha256 = hashlib.sha256(model).hexdigest()
        shutil.rmtree(root / NAME / str(version), ignore_errors=True)
        small.write(root, model, msgspec.structs.replace(each, version=version, golden=golden, sha256=sha256))
    return difference(root, NAME, (1, 2), None)


def _write(root: Path, model: bytes, version: int, features: list[Feature], outputs: dict[str, Any]) -> None:
    """Write a version with these outputs for its features' examples."""
    golden = Golden(records=[{each.name: each.example for each in features}], outputs=outputs, tolerance=1e-5)
    small.write(root, model, small.manifest(model, version=version, features=features, golden=golden))


def _classifier(root: Path, version: int, slope: float, **members: Any) -> None:  # noqa: ANN401 # any type
    """Write a classifier that predicts "yes" with higher probability, the larger x times the slope is."""
    model = small.onnx_bytes(CHOICE.replace("SLOPE", str(slope)))
    yes = 1 / (1 + math.exp(-slope))
    described: dict[str, Any] = {
        "kind": "binary",
        "target": "answer",
        "classes": ["no", "yes"],
        "positive_class": "yes",
        "outputs": [
            Output(name="label", datatype="BYTES", shape=[-1], role="label"),
            Output(name="probabilities", datatype="FP32", shape=[-1, 2], role="probabilities"),
        ],
        "golden": Golden(
            records=[{"x": 1.0}],
            outputs={"label": ["yes" if yes > 0.5 else "no"], "probabilities": [[1 - yes, yes]]},
            tolerance=1e-5,
        ),
    }
    small.write(root, model, small.manifest(model, version=version, **described | members))

"""What is answered for each kind of model."""

from pathlib import Path
from typing import Any

from server.manifest import Golden, Output
from server.repository import Repository
from tests.server import small
from tests.server.in_process import InProcess

SIGNS = """g (float[N, 1] x) => (string[N] label, float[N, 3] probabilities)
<string[3] names = {"below", "zero", "above"}, float[3] centres = {-1, 0, 1}> {
  offset = Sub(x, centres)
  distance = Abs(offset)
  nearness = Neg(distance)
  probabilities = Softmax<axis = 1>(nearness)
  best = ArgMax<axis = 1, keepdims = 0>(nearness)
  label = Gather(names, best)
}"""
"""Answers whether x is nearer to -1, 0 or 1."""
CLASSES = ["below", "zero", "above"]


def write_signs(root: Path, **members: Any) -> None:  # noqa: ANN401 # of any type
    """Write the model of three classes, as a manifest of these members describes it."""
    model = small.onnx_bytes(SIGNS)
    described: dict[str, Any] = {
        "kind": "multiclass",
        "classes": CLASSES,
        "outputs": [
            Output(name="label", datatype="BYTES", shape=[-1], role="label"),
            Output(name="probabilities", datatype="FP32", shape=[-1, 3], role="probabilities"),
        ],
        "golden": Golden(records=[{"x": 0.2}], outputs={"label": ["zero"]}, tolerance=1e-5),
    }
    small.write(root, model, small.manifest(model, **described | members))


def test_regression(tmp_path: Path) -> None:
    """A regression answers its value, one or a list."""
    small.double(tmp_path)
    with InProcess(Repository.load(tmp_path)) as client:
        assert client.post("/api/predict", {"x": 1.25}).json() == {"model": "small", "version": "1", "value": 2.5}
        several = client.post("/api/predict", {"records": [{"x": 3}, {"x": -1}]}).json()
    assert several["predictions"] == [{"value": 6.0}, {"value": -2.0}]


def test_multiclass(tmp_path: Path) -> None:
    """A model of several classes answers a label and the probability of each class, and no single one."""
    write_signs(tmp_path)
    with InProcess(Repository.load(tmp_path)) as client:
        answers = client.post("/api/predict", {"records": [{"x": 5}, {"x": -5}, {"x": 0}]}).json()["predictions"]
    assert [answer["label"] for answer in answers] == ["above", "below", "zero"]
    for answer in answers:
        assert list(answer) == ["label", "probabilities"]
        assert list(answer["probabilities"]) == CLASSES
        assert max(answer["probabilities"], key=answer["probabilities"].get) == answer["label"]


def test_positive_class_is_found_by_name(tmp_path: Path) -> None:
    """The probability is that of the class the manifest calls positive, wherever it stands."""
    write_signs(tmp_path, kind="binary", positive_class="zero")
    with InProcess(Repository.load(tmp_path)) as client:
        answer = client.post("/api/predict", {"x": 0.2}).json()
    assert answer["probability"] == answer["probabilities"]["zero"]
    assert answer["probability"] != answer["probabilities"]["above"]

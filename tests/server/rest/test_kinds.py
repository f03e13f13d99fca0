"""Predictions for each kind of model."""

from pathlib import Path

from server.models.repository import Repository
from tests.server.support import small
from tests.server.support.in_process import InProcess


def test_regression(tmp_path: Path) -> None:
    """A regression model's response has a value for each record."""
    small.double(tmp_path)
    with InProcess(Repository.load(tmp_path)) as client:
        assert client.post("/api/predict", {"x": 1.25}).json() == {"model": "small", "version": "1", "value": 2.5}
        several = client.post("/api/predict", {"records": [{"x": 3}, {"x": -1}]}).json()
    assert several["predictions"] == [{"value": 6.0}, {"value": -2.0}]


def test_multiclass(tmp_path: Path) -> None:
    """A multiclass model's response has a label and each class's probability, but no single probability."""
    small.signs(tmp_path)
    with InProcess(Repository.load(tmp_path)) as client:
        answers = client.post("/api/predict", {"records": [{"x": 5}, {"x": -5}, {"x": 0}]}).json()["predictions"]
    assert [answer["label"] for answer in answers] == ["above", "below", "zero"]
    for answer in answers:
        assert list(answer) == ["label", "probabilities"]
        assert list(answer["probabilities"]) == small.CLASSES
        assert max(answer["probabilities"], key=answer["probabilities"].get) == answer["label"]


def test_positive_class_is_found_by_name(tmp_path: Path) -> None:
    """The probability is that of the manifest's positive class, at any position."""
    small.signs(tmp_path, kind="binary", positive_class="zero")
    with InProcess(Repository.load(tmp_path)) as client:
        answer = client.post("/api/predict", {"x": 0.2}).json()
    assert answer["probability"] == answer["probabilities"]["zero"]
    assert answer["probability"] != answer["probabilities"]["above"]

"""Tests of `python -m export run`, from data to a published model."""

import json
from importlib.metadata import version as installed
from pathlib import Path

import numpy as np
import pytest

from export.data.dataset import Dataset, columns
from export.pipeline.fingerprint import LIBRARIES
from server.models import manifest as manifests
from server.models.repository import Repository
from server.models.session import Model
from tests.export.command import Run, export, export_run
from tests.server.support import small

DATA = Path(__file__).parents[2] / "export" / "data" / "titanic.csv"
COMMITTED = Path(__file__).parents[2] / "models" / "titanic" / "1"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a complete run with defaults, except the repository."""
    return export_run(tmp_path_factory.mktemp("models"))


def test_run_tells_every_step(done: Run) -> None:
    """A run ends with 0 and prints each step."""
    assert done.code == 0, done.complained
    for step in (
        "data: titanic.csv, 1309 rows, 269 of them held out (seed 1912)",
        "train: ",
        "convert: ",
        "verify: ",
        "publish: ",
    ):
        assert f"\n{step}" in f"\n{done.said}"


def test_run_publishes_what_serves(done: Run) -> None:
    """A run publishes version 1 and labels it stable."""
    assert json.loads((done.models / "titanic" / "labels.json").read_text()) == {"stable": 1}
    assert Repository.load(done.models).resolve().version == "1"


def test_run_reproduces_the_committed_model(done: Run, dataset: Dataset) -> None:
    """A run reproduces the committed model: the same bytes with the same libraries, otherwise the same predictions."""
    committed, again = Model.load(COMMITTED), Model.load(done.models / "titanic" / "1")
    expected, got = (model.run(columns(dataset.X))["probabilities"] for model in (committed, again))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    versions = committed.manifest.provenance.versions
    if all(installed(name) == versions[name] for name in LIBRARIES) and np.array_equal(got, expected):
        assert (done.models / "titanic" / "1" / "model.onnx").read_bytes() == (COMMITTED / "model.onnx").read_bytes()


def test_run_again_changes_nothing(done: Run) -> None:
    """A second run with the same recipe trains and publishes nothing and changes no byte."""
    before = {path: path.read_bytes() for path in done.models.rglob("*") if path.is_file()}
    again = export_run(done.models)
    assert again.code == 0, again.complained
    assert again.said.startswith(f"publish: nothing new: {done.models / 'titanic' / '1'} is the same model\n")
    assert {path: path.read_bytes() for path in done.models.rglob("*") if path.is_file()} == before


def test_first_run_tells_nothing_of_the_api(done: Run) -> None:
    """A first run has version 1 of the typed RPC API and prints no change of it."""
    assert "\napi: " not in done.said
    assert manifests.read(done.models / "titanic" / "1" / "manifest.json").api_version == 1


def test_run_tells_what_is_incompatible(models: Path) -> None:
    """A run with incompatible changes prints them and publishes a new API version."""
    path = models / "titanic" / "1" / "manifest.json"
    path.write_text(path.read_text().replace('"name": "sex"', '"name": "gender"'))
    small.digest(path.parent)
    again = export_run(models)
    assert again.code == 0, again.complained
    told = "api: version 2 of the typed RPC API: gender was removed; sex was added and is not nullable\n"
    assert told in again.said
    published = manifests.read(models / "titanic" / "2" / "manifest.json")
    assert published.api_version == 2
    assert [feature.field_number for feature in published.features] == [1, 2, 3, 4, 5, 6, 7]


def test_refused_run(tmp_path: Path) -> None:
    """A rejected run ends with 1, prints one line and publishes nothing."""
    data = tmp_path / "data.csv"
    data.write_text(DATA.read_text().replace(",female,", ",woman,", 1))
    refused = export_run(tmp_path / "models", "--data", str(data))
    assert refused.code == 1
    assert refused.complained == (f'error: {data}: sex: row 1: expected one of "female", "male"; got "woman"\n')
    assert not refused.models.exists()


@pytest.mark.parametrize("arguments", [[], ["run", "--speed"]])
def test_wrong_command(arguments: list[str]) -> None:
    """An invalid command line ends with 2 and prints the usage."""
    ended = export(*arguments)
    assert ended.returncode == 2
    assert "usage: python -m export" in ended.stderr

"""Tests of other tabular models: wine, diabetes and one with every datatype, served beside Titanic's."""

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from server.models import manifest as manifests
from tests.contract.other import NAMES, Exported, exported, start
from tests.server.support.process import ROOT, serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a repository of Titanic's model and the three exported ones."""
    folder = tmp_path_factory.mktemp("other")
    shutil.copytree(ROOT / "models", folder / "models")
    processes = [start(name, folder) for name in NAMES]
    for process in processes:
        said, complained = process.communicate()
        assert process.returncode == 0, said + complained
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    """Yield a client of a server of all four models, with only folder and default model set."""
    with serving(LIFEBOAT_MODELS=str(folder / "models"), LIFEBOAT_DEFAULT_MODEL="titanic") as client:
        yield client


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest, folder: Path) -> Exported:
    """Return each model in turn."""
    return exported(request.param, folder)


def test_all_are_served_beside_titanic(client: httpx.Client) -> None:
    """The server lists all four models with their kinds."""
    told = client.get("/api/models").json()
    kinds = {each["name"]: each["kind"] for each in told["models"]}
    assert kinds == {"titanic": "binary", "wine": "multiclass", "diabetes": "regression", "mixed": "binary"}
    assert told["default"] == "titanic"


def test_every_row_is_answered_as_scikit_learn_answers(client: httpx.Client, model: Exported) -> None:
    """Every row gets scikit-learn's label, and its probabilities or value within the tolerance."""
    answers = client.post(f"/api/models/{model.name}/predict", json={"records": model.records}).json()["predictions"]
    expected = model.pipeline.predict(model.X)
    if model.spec.kind == "regression":
        np.testing.assert_allclose([each["value"] for each in answers], expected, rtol=0, atol=1e-3)
        return
    assert [each["label"] for each in answers] == list(expected)
    assert list(answers[0]["probabilities"]) == list(model.pipeline.classes_)
    probabilities = [list(each["probabilities"].values()) for each in answers]
    np.testing.assert_allclose(probabilities, model.pipeline.predict_proba(model.X), rtol=0, atol=1e-5)
    assert ("probability" in answers[0]) == (model.spec.kind == "binary")


def test_a_file_is_scored(client: httpx.Client, model: Exported, folder: Path) -> None:
    """The training file is scored, with a prediction in every row."""
    scored = client.put(
        f"/api/models/{model.name}/batch",
        content=(folder / f"{model.name}.csv").read_bytes(),
        headers={"content-type": "text/csv"},
    )
    rows = list(csv.DictReader(io.StringIO(scored.text)))
    got = [row[f"predicted_{model.spec.target}"] for row in rows]
    expected = model.pipeline.predict(model.X)
    if model.spec.kind == "regression":
        np.testing.assert_allclose([float(value) for value in got], expected, rtol=0, atol=1e-3)
    else:
        assert got == list(expected)


def test_drift_is_watched(client: httpx.Client, model: Exported) -> None:
    """Requested values of any datatype fall into the exporter's bins, without drift."""
    for first in range(0, 300, 100):
        client.post(f"/api/models/{model.name}/predict", json={"records": (model.records * 3)[first : first + 100]})
    report = client.get(f"/api/models/{model.name}/drift").json()
    assert list(report["features"]) == [feature.name for feature in model.spec.features]
    assert report["rows"] >= report["min_rows"]
    for name, told in (report["features"] | {"answer": report["answer"]}).items():
        assert 0 <= told["psi"] < 0.25, (name, told)


def test_the_open_inference_protocol_answers(client: httpx.Client, model: Exported, folder: Path) -> None:
    """Tensors of the manifest's datatypes get the outputs of the golden rows."""
    manifest = manifests.read(folder / "models" / model.name / "1" / "manifest.json")
    records = [each for each in manifest.golden.records if None not in each.values()]
    inputs = [
        {
            "name": feature.name,
            "datatype": feature.datatype,
            "shape": [len(records), 1],
            "data": [each[feature.name] for each in records],
        }
        for feature in manifest.features
    ]
    answer = client.post(f"/v2/models/{model.name}/infer", json={"inputs": inputs}).json()
    wanted = [place for place, each in enumerate(manifest.golden.records) if None not in each.values()]
    assert len(wanted) >= 30
    for output in answer["outputs"]:
        expected = [manifest.golden.outputs[output["name"]][place] for place in wanted]
        if output["datatype"] == "BYTES":
            assert output["data"] == expected
        else:
            np.testing.assert_allclose(output["data"], np.ravel(expected), rtol=0, atol=manifest.golden.tolerance)


def test_a_typed_call_is_answered(client: httpx.Client, model: Exported) -> None:
    """The typed service accepts a record with the field names in its .proto."""
    name = model.name.capitalize()
    declared = client.get(f"/api/models/{model.name}/service.proto").text
    assert f"service {name}Service" in declared
    record = next(each for each in model.records if None not in each.values())
    typed = {
        key: value if not isinstance(value, int) or isinstance(value, bool) else str(value)
        for key, value in record.items()
    }
    called = client.post(f"/lifeboat.{model.name}.v1.{name}Service/Predict", json=typed)
    plain = client.post(f"/api/models/{model.name}/predict", json=record).json()
    assert called.status_code == 200, called.text
    assert called.json().get("label", called.json().get("value")) == plain.get("label", plain.get("value"))


def test_a_wrong_value_is_told(client: httpx.Client, model: Exported) -> None:
    """A value outside a feature's range is rejected with the feature's name."""
    feature = model.spec.features[-1]
    record = model.records[0] | {feature.name: 1e6}
    refused = client.post(f"/api/models/{model.name}/predict", json=record)
    assert (refused.status_code, refused.json()["field"]) == (400, feature.name)

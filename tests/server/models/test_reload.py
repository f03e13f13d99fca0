"""Reload through model control: unchanged versions stay, broken ones replace nothing and are reported."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server.models.repository import Repository
from server.settings import Settings
from tests.server.support import small
from tests.server.support.in_process import InProcess
from tests.server.support.repositories import BEARER, TOKEN, label, publish


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with version 1, labelled stable, which computes 2x."""
    publish(tmp_path, 1)
    label(tmp_path, stable=1)
    return tmp_path


@pytest.fixture
def app(root: Path) -> Iterator[InProcess]:
    """Yield an app of the repository with model control."""
    with InProcess(Repository.load(root), Settings(admin_token=TOKEN)) as served:
        yield served


def load(app: InProcess, name: str = "small") -> tuple[int, str]:
    """Reload a model. Returns the status and the error message."""
    response = app.post_bytes(f"/v2/repository/models/{name}/load", b"", BEARER)
    return response.status_code, response.json().get("error", "")


def states(app: InProcess) -> dict[tuple[str, str], tuple[str, str]]:
    """Return the index as a mapping from model and version to state and reason."""
    entries = app.post_bytes("/v2/repository/index", b"").json()
    return {(each["name"], each["version"]): (each["state"], each["reason"]) for each in entries}


def answer(app: InProcess, path: str = "/api/predict") -> tuple[str, float]:
    """Return the version and the value of a prediction for x = 1."""
    answered = app.post(path, {"x": 1}).json()
    return answered["version"], answered["value"]


def metrics(app: InProcess, name: str) -> list[str]:
    """Return a metric's samples without its name."""
    lines = app.get("/metrics").text.splitlines()
    return [line.removeprefix(name) for line in lines if line.startswith(name + "{")]


def test_a_moved_label_loads_nothing(app: InProcess, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A moved label changes the default version and loads nothing: both versions' counters continue."""
    publish(root, 2, 3)
    assert load(app)[0] == 200
    assert answer(app) == ("1", 2.0)
    caplog.set_level("INFO")
    caplog.clear()  # another test may have left the level, and the first load was logged too
    label(root, stable=2)
    assert load(app) == (200, "")
    assert answer(app) == ("2", 3.0)
    assert answer(app, "/api/models/small/labels/stable/predict") == ("2", 3.0)
    assert "ready in" not in caplog.text
    (old, _) = app.get("/v2/models/small/stats").json()["model_stats"]
    assert (old["version"], old["inference_count"]) == ("1", 1)
    assert metrics(app, "lifeboat_model_default") == ['{model="small",version="2"} 1.0']
    assert metrics(app, "lifeboat_model_label") == ['{label="stable",model="small",version="2"} 1.0']


def test_what_was_kept_is_not_the_answer_of_another_version(app: InProcess, root: Path) -> None:
    """After a label moves, a cached tag matches by version only, not by label."""
    publish(root, 2, 3)
    load(app)
    kept = {"if-none-match": app.get("/api/predict?x=1").headers["etag"]}
    assert app.get("/api/predict?x=1", kept).status_code == 304
    label(root, stable=2)
    load(app)
    moved = app.get("/api/predict?x=1", kept)
    assert (moved.status_code, moved.json()["value"]) == (200, 3.0)
    assert app.get("/api/models/small/versions/1/predict?x=1", kept).status_code == 304
    assert app.get("/api/models/small/versions/2/predict?x=1", kept).status_code == 200


def test_touched_files_are_not_loaded(app: InProcess, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files with new times and inodes but the same bytes are not loaded again."""
    shutil.copytree(root / "small" / "1", root / "small" / ".copy")
    shutil.rmtree(root / "small" / "1")
    (root / "small" / ".copy").rename(root / "small" / "1")
    caplog.set_level("INFO")
    assert load(app) == (200, "")
    assert "ready in" not in caplog.text
    assert metrics(app, "lifeboat_model_reloads_total") == [
        '{model="small",result="changed"} 0.0',
        '{model="small",result="unchanged"} 1.0',
        '{model="small",result="refused"} 0.0',
    ]


@pytest.mark.parametrize("changed", ["model", "manifest"])
def test_changed_bytes_are_loaded_as_new(app: InProcess, root: Path, changed: str) -> None:
    """A version whose files have changed is loaded, verified and served again."""
    if changed == "model":
        shutil.rmtree(root / "small" / "1")
        publish(root, 1, 3)
    else:
        small.edit(root / "small" / "1", description="a better word")
    assert load(app) == (200, "")
    assert answer(app) == ("1", 3.0 if changed == "model" else 2.0)
    assert app.get("/api/models/small").json()["description"] == ("" if changed == "model" else "a better word")
    assert len(app.get("/v2/models/stats").json()["model_stats"]) == 1


def test_changed_bytes_that_are_broken(app: InProcess, root: Path) -> None:
    """If changed files are invalid, the loaded version stays ready and the error is reported."""
    path = root / "small" / "1" / "model.onnx"
    good = path.read_bytes()
    path.write_bytes(b"half a file")
    status, error = load(app)
    assert (status, error[:59]) == (400, "load: model 'small' version 1: model.onnx: expected SHA-256")
    assert answer(app) == ("1", 2.0)
    assert states(app) == {("small", "1"): ("READY", error.removeprefix("load: "))}
    assert metrics(app, "lifeboat_model_ready") == ['{model="small",version="1"} 1.0']
    assert len(metrics(app, "lifeboat_model_fault")) == 1
    path.write_bytes(good)
    assert load(app) == (200, "")
    assert states(app) == {("small", "1"): ("READY", "")}
    assert metrics(app, "lifeboat_model_fault") == []


def broken_digest(folder: Path) -> None:
    """Truncate the model."""
    (folder / "model.onnx").write_bytes(b"half a file")


def broken_manifest(folder: Path) -> None:
    """Truncate the manifest."""
    (folder / "manifest.json").write_text("{")


def broken_golden(folder: Path) -> None:
    """Replace the golden outputs by other numbers."""
    small.edit(folder, golden={"records": [{"x": 1.0}], "outputs": {"value": [[7.0]]}, "tolerance": 1e-5})


def unforeseen(folder: Path) -> None:
    """Replace the golden outputs by an output that the model doesn't have."""
    small.edit(folder, golden={"records": [{"x": 1.0}], "outputs": {"other": [[7.0]]}, "tolerance": 1e-5})


def missing_model(folder: Path) -> None:
    """Delete the model."""
    (folder / "model.onnx").unlink()


@pytest.mark.parametrize("breaks", [broken_digest, broken_manifest, broken_golden, unforeseen, missing_model])
def test_a_broken_new_version(app: InProcess, root: Path, caplog: pytest.LogCaptureFixture, breaks: Any) -> None:  # noqa: ANN401
    """A broken version replaces nothing; log, metrics, index and response have the reason."""
    breaks(publish(root, 2, 3))
    label(root, stable=2, canary=1)
    status, error = load(app)
    assert (status, error[:41]) == (400, "load: small/labels.json: label 'stable': ")
    reason = error[41:]
    assert reason.startswith("model 'small' version 2: ")
    assert answer(app) == ("1", 2.0)
    assert app.post("/api/models/small/labels/canary/predict", {"x": 1}).status_code == 404
    assert states(app) == {
        ("small", "1"): ("READY", ""),
        ("small", "2"): ("UNAVAILABLE", reason),
        ("small", ""): ("UNAVAILABLE", error.removeprefix("load: ")),
    }
    assert reason in caplog.text
    assert metrics(app, "lifeboat_model_ready") == [
        '{model="small",version="1"} 1.0',
        '{model="small",version="2"} 0.0',
        '{model="small",version=""} 0.0',
    ]
    assert len(metrics(app, "lifeboat_model_fault")) == 2
    assert metrics(app, "lifeboat_model_reloads_total")[2] == '{model="small",result="refused"} 1.0'
    assert str(root) not in app.get("/metrics").text
    shutil.rmtree(root / "small" / "2")
    publish(root, 2, 3)
    assert load(app) == (200, "")
    assert answer(app) == ("2", 3.0)
    assert states(app) == {("small", "1"): ("READY", ""), ("small", "2"): ("READY", "")}
    assert metrics(app, "lifeboat_model_fault") == []


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("{", "small/labels.json: Input data was truncated"),
        ('{"stable":3}', "small/labels.json: label 'stable' points at version 3, which does not exist"),
        ('{"stable":"2"}', "small/labels.json: Expected `int`, got `str`"),
    ],
)
def test_broken_labels(app: InProcess, root: Path, caplog: pytest.LogCaptureFixture, labels: str, words: str) -> None:
    """Invalid labels change nothing, and are reported in the log, metrics and index."""
    publish(root, 2, 3)
    (root / "small" / "labels.json").write_text(labels)
    status, error = load(app)
    assert (status, error.startswith(f"load: {words}")) == (400, True)
    assert answer(app) == ("1", 2.0)
    assert states(app) == {
        ("small", "1"): ("READY", ""),
        ("small", ""): ("UNAVAILABLE", error.removeprefix("load: ")),
    }
    assert words in caplog.text
    assert words in metrics(app, "lifeboat_model_fault")[0]
    label(root, stable=2)
    assert load(app) == (200, "")
    assert answer(app) == ("2", 3.0)
    assert states(app) == {("small", "1"): ("READY", ""), ("small", "2"): ("READY", "")}


def test_a_broken_version_that_nobody_asks_for(app: InProcess, root: Path) -> None:
    """A broken version without a label doesn't stop other versions, as at startup."""
    broken_digest(publish(root, 2))
    publish(root, 3, 3)
    label(root, stable=3)
    assert load(app) == (200, "")
    assert answer(app) == ("3", 3.0)
    assert [state for state, _ in states(app).values()] == ["READY", "READY", "UNAVAILABLE"]


def test_a_broken_highest_version(app: InProcess, root: Path) -> None:
    """Without labels the highest valid version is served, and the load reports the broken one."""
    (root / "small" / "labels.json").unlink()
    publish(root, 2, 3)
    broken_digest(publish(root, 3))
    status, error = load(app)
    assert (status, error[:30]) == (400, "load: model 'small' version 3:")
    assert answer(app) == ("2", 3.0)


def test_a_removed_version(app: InProcess, root: Path) -> None:
    """A version whose folder is removed is unloaded, unless it has a label."""
    publish(root, 2, 3)
    assert load(app) == (200, "")
    shutil.rmtree(root / "small" / "1")
    assert load(app)[1] == "load: small/labels.json: label 'stable' points at version 1, which does not exist"
    assert answer(app) == ("1", 2.0)
    label(root, stable=2)
    assert load(app) == (200, "")
    assert app.post("/api/models/small/versions/1/predict", {"x": 1}).status_code == 404
    assert states(app) == {("small", "2"): ("READY", "")}
    assert 'version="1"' not in app.get("/metrics").text


def test_a_removed_model(app: InProcess, root: Path) -> None:
    """A load of a removed model is rejected, and the loaded versions stay served."""
    shutil.rmtree(root / "small")
    assert load(app) == (400, "load: small: there is no such model")
    assert answer(app) == ("1", 2.0)
    assert states(app)["small", ""] == ("UNAVAILABLE", "small: there is no such model")


def test_a_model_of_which_nothing_can_be_served(app: InProcess, root: Path) -> None:
    """A broken new model is rejected with its reason, and loaded after its repair."""
    broken_manifest(publish(root, 1, name="other"))
    status, error = load(app, "other")
    assert (status, error[:30]) == (400, "load: model 'other' version 1:")
    assert states(app)["other", ""] == ("UNAVAILABLE", error.removeprefix("load: "))
    assert answer(app) == ("1", 2.0)
    shutil.rmtree(root / "other")
    publish(root, 1, 3, name="other")
    assert load(app, "other") == (200, "")
    assert answer(app, "/api/models/other/predict") == ("1", 3.0)


def test_every_description_follows(app: InProcess, root: Path) -> None:
    """Descriptions, the OpenAPI document and the typed service always match the served versions."""
    folder = publish(root, 2, 3)
    small.edit(folder, api_version=2)
    label(root, stable=2, old=1)
    assert load(app) == (200, "")
    assert app.get("/api/models/small").json()["labels"] == {"stable": "2", "old": "1"}
    assert "/api/models/small/labels/old/predict" in app.get("/api/openapi.json").json()["paths"]
    assert "package lifeboat.small.v2;" in app.get("/api/models/small/service.proto").text
    called = app.post("/lifeboat.small.v2.SmallService/Predict", {"x": 1.0})
    assert called.json()["value"] == 3.0
    label(root, stable=1)
    assert load(app) == (200, "")
    assert app.post("/lifeboat.small.v1.SmallService/Predict", {"x": 1.0}).json()["value"] == 2.0
    tensor = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}
    assert app.post("/v2/models/small/infer", tensor).json()["model_version"] == "1"
    assert "/api/models/small/labels/old/predict" not in app.get("/api/openapi.json").json()["paths"]


def test_the_time_of_a_load_is_told(app: InProcess) -> None:
    """The metrics include the load time and the time of the last reload."""
    (took,) = metrics(app, "lifeboat_model_load_seconds")
    assert 0 < float(took.split()[1]) < 60
    assert metrics(app, "lifeboat_model_last_reload_timestamp_seconds") == []
    load(app)
    (last,) = metrics(app, "lifeboat_model_last_reload_timestamp_seconds")
    assert float(last.split()[1]) > 1e9


def test_a_version_without_an_interface(app: InProcess, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A valid version for which no decoder can be created is rejected."""
    feature = msgspec.structs.replace(small.INDEX, categories=[0, 2**63])  # more than a JSON type can distinguish
    model = small.onnx_bytes(small.LOOK_UP)
    small.write(root, model, small.manifest(model, feature, ((0, 10.0),), version=2))
    label(root, stable=2)
    assert load(app) == (400, "load: small: its typed service can't be created; see the server's log")
    assert "NotImplementedError" in caplog.text
    assert answer(app) == ("1", 2.0)
    assert states(app) == {
        ("small", "1"): ("READY", ""),
        ("small", ""): ("UNAVAILABLE", "small: its typed service can't be created; see the server's log"),
    }
    shutil.rmtree(root / "small" / "2")
    label(root, stable=1)
    assert load(app) == (200, "")
    assert states(app) == {("small", "1"): ("READY", "")}

"""The repository watcher: changes are served without a load request, and errors are reported once."""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.support.process import HUNG_S, ServerProcess
from tests.server.support.repositories import BEARER, TOKEN, index, label, load, publish, until

INDEX = "/v2/repository/index"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with version 1, labelled stable, which computes 2x."""
    folder = tmp_path / "models"
    publish(folder, 1)
    label(folder, stable=1)
    return folder


@pytest.fixture
def process(root: Path) -> Iterator[ServerProcess]:
    """Yield a server that polls the repository every second; SIGTERM must end it."""
    settings = {"LIFEBOAT_REPOSITORY_POLL_S": "1", "LIFEBOAT_ADMIN_TOKEN": TOKEN, "LIFEBOAT_DEFAULT_MODEL": "small"}
    with ServerProcess(LIFEBOAT_MODELS=str(root), **settings) as started:
        yield started
        started.signal(signal.SIGTERM)
        assert started.end() == 0, started.text
        assert "Traceback" not in started.text


def answers(client: httpx.Client, path: str = "/api/predict") -> tuple[str, float]:
    """Return the version and the value of a prediction for x = 1."""
    answer = client.post(path, json={"x": 1}).json()
    return answer["version"], answer["value"]


def pass_looks(client: httpx.Client, root: Path, name: str) -> None:
    """Wait for one poll of the watcher: publish a new model until it is served."""
    publish(root, 1, name=name)
    until(client, f"/api/models/{name}", lambda answer: answer.status_code == 200)


def test_a_new_version_and_its_label(client: httpx.Client, root: Path) -> None:
    """A published version is served, becomes the default by label, and is unloaded when removed."""
    publish(root, 2, 3)
    until(client, "/v2/models/small/versions/2/ready", lambda answer: answer.status_code == 200)
    assert answers(client) == ("1", 2.0)
    label(root, stable=2)
    until(client, "/api/models/small", lambda answer: answer.json()["version"] == "2")
    assert answers(client) == ("2", 3.0)
    label(root, stable=1)
    until(client, "/api/models/small", lambda answer: answer.json()["version"] == "1")
    assert answers(client) == ("1", 2.0)
    shutil.rmtree(root / "small" / "2")
    until(client, "/v2/models/small/versions/2/ready", lambda answer: answer.status_code == 404)
    assert answers(client, "/api/models/small/versions/1/predict") == ("1", 2.0)


def test_a_broken_version_is_told_once(process: ServerProcess, client: httpx.Client, root: Path) -> None:
    """A broken labelled version replaces nothing; its reason stays in the index until its repair."""
    refused = 'lifeboat_model_reloads_total{{model="small",result="refused"}} {}.0'
    publish(root, 2, 3, is_broken=True)
    label(root, stable=2)
    until(client, "/metrics", lambda answer: refused.format(1) in answer.text)
    (_, told, model) = index(client)
    assert (told["version"], told["state"], model["version"]) == ("2", "UNAVAILABLE", "")
    assert told["reason"].startswith("model 'small' version 2: model.onnx: expected SHA-256")
    assert answers(client) == ("1", 2.0)
    pass_looks(client, root, "other")
    pass_looks(client, root, "another")
    assert refused.format(1) in client.get("/metrics").text
    label(root, stable=2, canary=1)  # another change causes a reload, which logs nothing new
    until(client, "/metrics", lambda answer: refused.format(2) in answer.text)
    shutil.rmtree(root / "small" / "2")
    publish(root, 2, 3)
    until(client, "/api/models/small", lambda answer: answer.json()["version"] == "2")
    assert answers(client) == ("2", 3.0)
    assert {each["reason"] for each in index(client)} == {""}
    process.read_until("loaded small: versions 1, 2; stable is 2, canary is 1")
    assert (
        process.text.count(f"{told['reason']}; the versions loaded before are still served") == 2
    )  # the version and the label


def test_models_come_and_go(client: httpx.Client, root: Path) -> None:
    """A new model is served, a removed one is unloaded; the default model stays."""
    pass_looks(client, root, "other")
    shutil.rmtree(root / "other")
    until(client, "/api/models/other", lambda answer: answer.status_code == 404)
    assert [each["name"] for each in index(client)] == ["small"]
    assert "other" not in client.get("/metrics").text
    pass_looks(client, root, "another")
    shutil.rmtree(root / "small")
    until(client, INDEX, lambda answer: "small: there is no such model" in answer.text)
    assert answers(client) == ("1", 2.0)
    publish(root, 1)
    until(client, INDEX, lambda answer: "there is no such model" not in answer.text)


def test_a_repository_that_is_not_there_for_a_while(client: httpx.Client, root: Path) -> None:
    """If the whole repository is missing or empty, nothing is unloaded, and that is reported."""
    pass_looks(client, root, "other")
    elsewhere = root.rename(root.with_name("elsewhere"))
    until(client, INDEX, lambda answer: answer.text.count("models: there is no such folder") == 2)
    root.mkdir()
    assert answers(client) == ("1", 2.0)
    assert answers(client, "/api/models/other/predict") == ("1", 2.0)
    root.rmdir()
    elsewhere.rename(root)
    until(client, INDEX, lambda answer: "UNAVAILABLE" not in answer.text)


def test_an_unloaded_model_stays_so(client: httpx.Client, root: Path) -> None:
    """An unloaded model loads again by model control or when its folder changes."""
    for again in (1, 2):
        assert client.post("/v2/repository/models/small/unload", headers=BEARER).status_code == 200
        pass_looks(client, root, f"other{again}")
        pass_looks(client, root, f"another{again}")
        assert client.post("/api/predict", json={"x": 1}).status_code == 404
        if again == 1:
            assert load(client).status_code == 200
    publish(root, 2, 3)
    until(client, "/v2/models/small/versions/2/ready", lambda answer: answer.status_code == 200)
    assert answers(client) == ("1", 2.0)


def test_half_written_folders_are_not_touched(process: ServerProcess, client: httpx.Client, root: Path) -> None:
    """Hidden folders are ignored, whatever they contain."""
    for folder in (root / "small" / ".2", root / ".other" / "1"):
        shutil.copytree(root / "small" / "1", folder)
        (folder / "model.onnx").write_bytes(b"half a file")
    pass_looks(client, root, "other")
    pass_looks(client, root, "another")
    assert {each["name"] for each in index(client)} == {"small", "other", "another"}
    process.read_until("loaded another")
    assert "half" not in process.text
    assert "ERROR" not in process.text


def test_swapped_links(client: httpx.Client, root: Path) -> None:
    """A model folder that is a link is followed when the link is replaced."""
    data = root.with_name("data")
    for number, factor in enumerate((2, 3), 1):
        publish(data / str(number), 1, factor, name="linked")
    (root / "linked").symlink_to(data / "1" / "linked")
    until(client, "/api/models/linked", lambda answer: answer.status_code == 200)
    assert answers(client, "/api/models/linked/predict") == ("1", 2.0)
    (root / ".linked").symlink_to(data / "2" / "linked")
    (root / ".linked").rename(root / "linked")
    until(client, "/metrics", lambda answer: 'reloads_total{model="linked",result="changed"} 2.0' in answer.text)
    assert answers(client, "/api/models/linked/predict") == ("1", 3.0)


def test_files_written_over(client: httpx.Client, root: Path) -> None:
    """A version whose files are overwritten in place with the same size is loaded again."""
    publish(root.with_name("new"), 1, 3)
    for name in ("model.onnx", "manifest.json"):
        there = root / "small" / "1" / name
        there.write_bytes((root.with_name("new") / "small" / "1" / name).read_bytes())
    until(client, "/metrics", lambda answer: 'result="changed"} 1.0' in answer.text)
    assert answers(client) == ("1", 3.0)


def test_a_folder_that_may_not_be_read(client: httpx.Client, root: Path) -> None:
    """Unreadable labels are reported, and used when they become readable."""
    path = root / "small" / "labels.json"
    path.unlink()
    path.mkdir()
    until(client, INDEX, lambda answer: "labels.json: " in answer.text)
    assert answers(client) == ("1", 2.0)
    path.rmdir()
    path.write_text(json.dumps({"stable": 1}))
    until(client, INDEX, lambda answer: "labels.json" not in answer.text)


def test_without_the_setting_nothing_is_followed(root: Path) -> None:
    """Without LIFEBOAT_REPOSITORY_POLL_S the repository is never polled."""
    with ServerProcess(LIFEBOAT_MODELS=str(root)) as process:
        host, port = process.address()
        assert "startup" not in process.text
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as client:
            assert answers(client) == ("1", 2.0)

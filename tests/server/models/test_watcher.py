"""The folder is watched: what changes there is served without being asked, and what is broken there is told once."""

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
    """Return a repository of one model: version 1, labelled stable, answers twice x."""
    folder = tmp_path / "models"
    publish(folder, 1)
    label(folder, stable=1)
    return folder


@pytest.fixture
def process(root: Path) -> Iterator[ServerProcess]:
    """Yield a server that looks at it every second; it must end when it is asked to."""
    settings = {"LIFEBOAT_REPOSITORY_POLL_S": "1", "LIFEBOAT_ADMIN_TOKEN": TOKEN, "LIFEBOAT_DEFAULT_MODEL": "small"}
    with ServerProcess(LIFEBOAT_MODELS=str(root), **settings) as started:
        yield started
        started.signal(signal.SIGTERM)
        assert started.end() == 0, started.text
        assert "Traceback" not in started.text


def answers(client: httpx.Client, path: str = "/api/predict") -> tuple[str, float]:
    """Return the version that answers for 1, and what."""
    answer = client.post(path, json={"x": 1}).json()
    return answer["version"], answer["value"]


def pass_looks(client: httpx.Client, root: Path, name: str) -> None:
    """Let a look pass: return when a model of this name, which is new, is served."""
    publish(root, 1, name=name)
    until(client, f"/api/models/{name}", lambda answer: answer.status_code == 200)


def test_a_new_version_and_its_label(client: httpx.Client, root: Path) -> None:
    """A version that is published is served, and answers when the label moves; a version that is removed is not."""
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
    """A broken version that the label points at replaces nothing; its reason is in the index until it is mended."""
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
    label(root, stable=2, canary=1)  # something else has changed: it is read again, and there is nothing new to tell
    until(client, "/metrics", lambda answer: refused.format(2) in answer.text)
    shutil.rmtree(root / "small" / "2")
    publish(root, 2, 3)
    until(client, "/api/models/small", lambda answer: answer.json()["version"] == "2")
    assert answers(client) == ("2", 3.0)
    assert {each["reason"] for each in index(client)} == {""}
    process.read_until("loaded small: versions 1, 2; stable is 2, canary is 1")
    assert process.text.count(f"{told['reason']}; what was loaded before is served") == 2  # the version's, the label's


def test_models_come_and_go(client: httpx.Client, root: Path) -> None:
    """A model whose folder appears is served, and no longer when it is gone; the default one stays, which is told."""
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
    """Where all of the folder is gone, or empty, nothing is unloaded: it is told until the folder is back."""
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
    """A model that was unloaded by hand is loaded again by hand, or when something in its folder changes."""
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
    """Folders whose names begin with a dot are no versions and no models, whatever is in them."""
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
    """A folder that is a link to where the files are is followed when the link is swapped, as volumes do."""
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
    """A version whose files are written over in place, of one size, is loaded as new."""
    publish(root.with_name("new"), 1, 3)
    for name in ("model.onnx", "manifest.json"):
        there = root / "small" / "1" / name
        there.write_bytes((root.with_name("new") / "small" / "1" / name).read_bytes())
    until(client, "/metrics", lambda answer: 'result="changed"} 1.0' in answer.text)
    assert answers(client) == ("1", 3.0)


def test_a_folder_that_may_not_be_read(client: httpx.Client, root: Path) -> None:
    """Labels that can't be read are told, and followed when they can be."""
    path = root / "small" / "labels.json"
    path.unlink()
    path.mkdir()
    until(client, INDEX, lambda answer: "labels.json: " in answer.text)
    assert answers(client) == ("1", 2.0)
    path.rmdir()
    path.write_text(json.dumps({"stable": 1}))
    until(client, INDEX, lambda answer: "labels.json" not in answer.text)


def test_without_the_setting_nothing_is_followed(root: Path) -> None:
    """A server that isn't asked to never looks: it has no lifespan in which it could."""
    with ServerProcess(LIFEBOAT_MODELS=str(root)) as process:
        host, port = process.address()
        assert "startup" not in process.text
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as client:
            assert answers(client) == ("1", 2.0)

"""Triton's extensions: statistics, configuration, repository index, loading and unloading of models."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from server.models.repository import Repository
from server.settings import Settings
from tests.server.support import small
from tests.server.support.in_process import InProcess
from tests.server.support.process import serving

TOKEN: Final = "let me in"  # noqa: S105 # used only by these tests
BEARER: Final = {"authorization": f"Bearer {TOKEN}"}
CONTROL: Final = "/v2/repository/models/small"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository of one model that doubles x."""
    small.double(tmp_path)
    return tmp_path


@pytest.fixture
def app(root: Path) -> Iterator[InProcess]:
    """Yield a server of the repository, with model control."""
    with InProcess(Repository.load(root), Settings(admin_token=TOKEN)) as served:
        yield served


def index(app: InProcess, body: bytes = b"") -> Any:  # noqa: ANN401 # JSON
    """Return the repository index."""
    return app.post_bytes("/v2/repository/index", body).json()


def test_statistics_count(app: InProcess) -> None:
    """Statistics count requests, rows, runs and failures for each version, with durations."""
    app.post("/api/predict", {"x": 1})
    app.post("/api/predict", {"records": [{"x": 1}] * 3})
    app.post("/api/predict", {"y": 1})
    for path in ("/v2/models/stats", "/v2/models/small/stats", "/v2/models/small/versions/1/stats"):
        (seen,) = app.get(path).json()["model_stats"]
        assert (seen["name"], seen["version"], seen["inference_count"], seen["execution_count"]) == ("small", "1", 4, 2)
        counts = {name: each["count"] for name, each in seen["inference_stats"].items()}
        assert counts["success"] == counts["queue"] == counts["compute_infer"] == 2
        assert (counts["fail"], counts["cache_hit"]) == (1, 0)
        assert seen["inference_stats"]["success"]["ns"] > seen["inference_stats"]["compute_infer"]["ns"] > 0
        assert seen["last_inference"] > 1e12


@pytest.mark.parametrize("path", ["/v2/models/titanic/config", "/v2/models/titanic/versions/1/config"])
def test_configuration(server: httpx.Client, path: str) -> None:
    """The configuration names every input and output with Triton's types."""
    told = server.get(path).json()
    assert (told["name"], told["backend"], told["max_batch_size"]) == ("titanic", "onnxruntime", 10_000)
    types = {each["name"]: (each["data_type"], each["dims"], each["optional"]) for each in told["input"]}
    assert types["sex"] == ("TYPE_STRING", [1], False)
    assert types["age"] == ("TYPE_FP32", [1], True)
    assert {each["name"]: each["dims"] for each in told["output"]} == {"label": [], "probabilities": [2]}


def test_unknown_models(server: httpx.Client) -> None:
    """Requests for statistics or configuration of an unknown model or version are rejected with 404."""
    for path in ("nothing/stats", "nothing/config", "titanic/versions/9/stats", "titanic/versions/9/config"):
        assert server.get(f"/v2/models/{path}").status_code == 404


def test_index(root: Path) -> None:
    """The index has every version with its state, and the reason if unavailable."""
    small.double(root, version=2)
    (root / "small" / "2" / "model.onnx").unlink()
    small.double(root, "other")
    (root / "other" / "1" / "manifest.json").write_text("{")
    with InProcess(Repository.load(root, "small")) as app:
        entries = index(app)
        assert [(each["name"], each["version"], each["state"]) for each in entries] == [
            ("small", "1", "READY"),
            ("small", "2", "UNAVAILABLE"),
            ("other", "", "UNAVAILABLE"),
        ]
        assert "No such file" in entries[1]["reason"]
        assert "manifest.json" in entries[2]["reason"]
        assert str(root) not in json.dumps(entries)
        assert [each["version"] for each in index(app, b'{"ready":true}')] == ["1"]
        assert app.post_bytes("/v2/repository/index", b"[").status_code == 400


def test_a_new_version_is_loaded(app: InProcess, root: Path) -> None:
    """After a load the new version is the default; the old one is still served."""
    small.double(root, version=2)
    assert app.get("/v2/models/small/versions/2").status_code == 404
    assert app.post_bytes(f"{CONTROL}/load", b"{}", BEARER).json() == {}
    assert app.post("/api/predict", {"x": 2}).json() == {"model": "small", "version": "2", "value": 4.0}
    assert app.post("/api/models/small/versions/1/predict", {"x": 2}).json()["version"] == "1"


def test_a_load_that_fails_keeps_the_old(app: InProcess, root: Path) -> None:
    """A rejected load responds with the reason, and the old version stays served."""
    (root / "small" / "1" / "model.onnx").write_bytes(b"half a file")
    response = app.post_bytes(f"{CONTROL}/load", b"{}", BEARER)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_argument")
    assert response.json()["error"].startswith("load: model 'small' version 1: model.onnx: expected SHA-256")
    assert app.post("/api/predict", {"x": 2}).json()["value"] == 4.0
    assert index(app)[0]["state"] == "READY"


def test_unload_and_load(app: InProcess) -> None:
    """An unloaded model is rejected with 404 on every path until its next load."""
    assert app.post_bytes(f"{CONTROL}/unload", b'{"parameters":{"unload_dependents":true}}', BEARER).json() == {}
    for path in ("/api/predict", "/api/models/small/predict", "/v2/models/small/infer"):
        assert app.post(path, {"x": 1}).status_code == 404
    assert app.get("/v2/models/small/ready").status_code == 404
    assert index(app) == [{"name": "small", "version": "", "state": "UNAVAILABLE", "reason": "unloaded"}]
    assert app.get("/api/models").status_code == 200
    assert "nv_inference_count{" not in app.get("/metrics").text
    assert app.post_bytes(f"{CONTROL}/unload", b"", BEARER).status_code == 404
    assert app.post_bytes(f"{CONTROL}/load", b"", BEARER).status_code == 200
    assert app.post("/api/predict", {"x": 1}).json()["value"] == 2.0


@pytest.mark.parametrize("action", ["load", "unload"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Basic abc"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": "Bearer no"}, 403),
    ],
)
def test_control_takes_the_token(app: InProcess, action: str, headers: dict[str, str], status: int) -> None:
    """Loads and unloads without the right bearer token are rejected."""
    response = app.post_bytes(f"{CONTROL}/{action}", b"", headers)
    assert response.status_code == status
    assert ("www-authenticate" in response.headers) == (status == 401)
    assert app.post("/api/predict", {"x": 1}).status_code == 200


def test_control_is_off_without_a_token(root: Path) -> None:
    """A server without a configured token rejects model control with any token."""
    with InProcess(Repository.load(root)) as app:
        for header in ("Bearer ", "Bearer x"):
            response = app.post_bytes(f"{CONTROL}/unload", b"", {"authorization": header})
            assert (response.status_code, response.json()["code"]) == (403, "permission_denied")


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"[", 400), (b'{"parameters":{"config":"{}"}}', 501), (b'{"parameters":{"file:1/model.onnx":"AA=="}}', 501)],
)
def test_what_a_load_does_not_take(app: InProcess, body: bytes, status: int) -> None:
    """A load that carries a config or files is rejected."""
    assert app.post_bytes(f"{CONTROL}/load", body, BEARER).status_code == status


@pytest.mark.parametrize("name", ["nothing", "..", ".draft", "%2e%2e"])
def test_a_load_of_what_is_not_there(app: InProcess, name: str) -> None:
    """A load of a missing model, or of names like `..`, is rejected."""
    response = app.post_bytes(f"/v2/repository/models/{name}/load", b"", BEARER)
    assert response.status_code in {400, 404}
    assert app.post("/api/predict", {"x": 1}).status_code == 200


def test_answers_never_stop_while_a_model_is_loaded(root: Path) -> None:
    """All requests get 200 while the model is reloaded repeatedly."""
    with serving(LIFEBOAT_MODELS=str(root), LIFEBOAT_ADMIN_TOKEN=TOKEN) as client:

        async def main() -> None:
            async with httpx.AsyncClient(base_url=client.base_url, trust_env=False, timeout=60) as caller:

                async def ask() -> set[int]:
                    return {(await caller.post("/api/predict", json={"x": 1})).status_code for _ in range(60)}

                async def load() -> set[int]:
                    loads = [await caller.post(f"{CONTROL}/load", headers=BEARER) for _ in range(6)]
                    return {each.status_code for each in loads}

                assert set().union(*await asyncio.gather(ask(), ask(), load())) == {200}

        asyncio.run(main())

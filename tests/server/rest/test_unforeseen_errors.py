"""Unforeseen errors: a model that fails while it runs."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from server.models.repository import Repository
from tests.server.support import small
from tests.server.support.in_process import InProcess
from tests.server.support.process import HUNG_S, ServerProcess

MODELS = Path(__file__).parents[3] / "models"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "indices element out of data bounds"  # noqa: S105 # part of onnxruntime's message


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, httpx.Client]]:
    """Yield a server whose model fails in onnxruntime, and a client of it.

    The model fails for an index outside its table.
    """
    models = tmp_path_factory.mktemp("models")
    model = small.onnx_bytes(small.LOOK_UP)
    small.write(models, model, small.manifest(model, small.INDEX, answers=[(0, 10.0), (2, 30.0)]))
    with ServerProcess(LIFEBOAT_MODELS=str(models)) as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as client:
            yield process, client


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/predict", {"index": 9}),
        (
            "/v2/models/small/infer",
            {"inputs": [{"name": "index", "shape": [1, 1], "datatype": "INT64", "data": [9]}]},
        ),
    ],
)
def test_failure_is_opaque_and_logged(
    failing: tuple[ServerProcess, httpx.Client], path: str, body: dict[str, object]
) -> None:
    """An unforeseen error's response has only the request id; the log has the traceback.

    Neither has the exception's message, because it may quote the input. The server goes on.
    """
    process, client = failing
    response = client.post(path, json=body)
    request_id = response.headers["x-request-id"]
    assert response.status_code == 500
    assert response.json() == {"error": f"internal error; request id {request_id}", "code": "internal"}
    assert SECRET not in response.text
    assert client.post("/api/predict", json={"index": 1}).json()["value"] == 20.0
    line = json.loads(process.read_until(f"request {request_id} failed"))
    assert line["request_id"] == request_id
    assert line["exception"].startswith("Traceback (most recent call last)")
    assert "onnxruntime_pybind11_state.InvalidArgument" in line["exception"]
    assert SECRET not in process.text


def test_request_id_of_the_caller(failing: tuple[ServerProcess, httpx.Client]) -> None:
    """The response has the request's own id, for tracing across proxies."""
    response = failing[1].post("/api/predict", json={"index": 9}, headers={"x-request-id": "edge:4f.1/a-b"})
    assert response.headers["x-request-id"] == "edge:4f.1/a-b"


@pytest.mark.parametrize(
    ("trace", "logged"),
    [
        (TRACE, f"request traced failed, traceparent {TRACE}"),
        (f"{TRACE} forged", "request traced failed"),
        (f"ff{TRACE[2:]}", "request traced failed"),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", "request traced failed"),
        (f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01", "request traced failed"),
        ("", "request traced failed"),
    ],
)
def test_the_trace_of_a_failure(failing: tuple[ServerProcess, httpx.Client], trace: str, logged: str) -> None:
    """The log line of a failure has the trace id of a valid traceparent."""
    process, client = failing
    client.post("/api/predict", json={"index": 9}, headers={"x-request-id": "traced", "traceparent": trace})
    line = json.loads(process.read_until("request traced failed"))
    assert line["message"] == logged
    assert line.get("trace_id") == (trace.split("-")[1] if trace in logged and trace else None)


@pytest.mark.parametrize("request_id", ["", "two words", "x" * 129, "<script>", "a\u00e9b"])
def test_unsound_request_id(failing: tuple[ServerProcess, httpx.Client], request_id: str) -> None:
    """A request id that could forge a log line is replaced."""
    headers = [(b"x-request-id", request_id.encode("latin-1"))]
    response = failing[1].post("/api/predict", json={"index": 9}, headers=headers)
    assert response.status_code == 500
    assert response.headers["x-request-id"] not in {request_id, ""}
    assert response.headers["x-request-id"].isalnum()


def test_a_failure_on_any_path_is_opaque(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An unforeseen error on a path without predictions has only the request id too."""

    def broken(*_: object) -> None:
        raise KeyError("a secret")

    monkeypatch.setattr("server.rest.catalog._summary", broken)
    with InProcess(Repository.load(MODELS)) as app:
        response = app.get("/api/models", {"x-request-id": "abc"})
    assert (response.status_code, response.headers["x-request-id"]) == (500, "abc")
    assert response.json() == {"error": "internal error; request id abc", "code": "internal"}
    assert "a secret" in caplog.text

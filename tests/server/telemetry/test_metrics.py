"""/metrics: for Prometheus, with Triton's metric names."""

import json
import os
import platform
import sys
from typing import Any

import httpx
import onnxruntime
import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.models.repository import Repository
from tests.passenger import PASSENGER
from tests.server.support.process import HUNG_S, ServerProcess, serving
from tests.server.support.rpc import MODELS, TITANIC
from tests.server.support.wire import post, wire

Samples = dict[str, float]


def read(client: httpx.Client) -> Samples:
    """Return the samples of the single model by name; failures by name and reason.

    The parser appends `_total` to every counter; another test checks the server's own text.
    """
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            name = sample.name.removesuffix("_total") if family.name.startswith("nv_") else sample.name
            reason = sample.labels.get("reason")
            samples[f"{name} {reason}" if reason else name] = sample.value
            if sample.name.startswith("nv_"):
                assert {name: sample.labels[name] for name in ("model", "version")} == {
                    "model": "titanic",
                    "version": "1",
                }
    return samples


@pytest.fixture
def client() -> Any:  # noqa: ANN401 # an iterator of a client
    """Yield a client of a new server."""
    with serving() as fresh:
        yield fresh


def test_requests_rows_and_runs(client: httpx.Client, passenger: dict[str, Any]) -> None:
    """Requests, rows and runs are counted, with durations in microseconds."""
    before = read(client)
    assert before["nv_inference_request_success"] == 0
    client.post("/api/predict", json=passenger)
    client.post("/api/predict", json={"records": [passenger] * 300})
    pclass = {"name": "pclass", "shape": [2, 1], "datatype": "INT64", "data": [1, 2]}
    client.post("/v2/models/titanic/infer", json={"inputs": [pclass]})
    after = read(client)
    assert after["nv_inference_request_success"] == 2
    assert after["nv_inference_count"] == 301
    assert after["nv_inference_exec_count"] == 2
    assert after["nv_inference_pending_request_count"] == 0
    assert after["nv_inference_request_failure invalid_argument"] == 1
    total, infer = after["nv_inference_request_duration_us"], after["nv_inference_compute_infer_duration_us"]
    assert 0 < infer < total
    for part in ("queue", "compute_input", "compute_output"):
        assert 0 <= after[f"nv_inference_{part}_duration_us"] < total


@pytest.mark.parametrize(
    ("path", "content", "headers", "reason"),
    [
        ("/api/predict", b"{", {}, "invalid_argument"),
        ("/api/predict", b"{}", {"content-type": "text/csv"}, "unsupported_media_type"),
        ("/v2/models/titanic/infer", b"{}", {"inference-header-content-length": "3"}, "invalid_argument"),
        (
            "/api/predict",
            b'{"pclass":3,"sex":"male","sibsp":0,"parch":0}',
            {"x-request-timeout-ms": "0"},
            "deadline_exceeded",
        ),
    ],
)
def test_failures_by_reason(
    client: httpx.Client, path: str, content: bytes, headers: dict[str, str], reason: str
) -> None:
    """A failed request counts once, by its error code."""
    client.post(path, content=content, headers=headers)
    samples = read(client)
    assert samples[f"nv_inference_request_failure {reason}"] == 1
    assert samples["nv_inference_request_success"] == 0


def test_counters_are_called_counters(client: httpx.Client) -> None:
    """Names and types are Triton's: counters have no `_total` suffix."""
    text = client.get("/metrics").text
    assert "# TYPE nv_inference_count counter\n" in text
    assert "# TYPE nv_inference_pending_request_count gauge\n" in text
    assert "nv_inference_count_total" not in text
    assert "untyped" not in text


def test_the_process_is_told(client: httpx.Client) -> None:
    """The metrics have the process's CPU time and memory."""
    samples = read(client)
    assert samples["process_cpu_seconds_total"] > 0
    assert samples["process_resident_memory_bytes"] > 1e6


def families(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return the samples of each name by their labels, without model and version."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(pair for pair in sample.labels.items() if pair[0] not in {"model", "version"}))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_rows_that_run_together(client: httpx.Client, passenger: dict[str, Any]) -> None:
    """The batch histogram counts batches by size, those in a thread too."""
    sizes = [1, 1, 2, 3, 256, 257, 300]
    for size in sizes:
        client.post("/api/predict", json={"records": [passenger] * size})
    told = families(client.get("/metrics").text)
    assert told["lifeboat_batch_rows_sum"] == {(): sum(sizes)}
    assert told["lifeboat_batch_rows_count"] == {(): len(sizes)}
    buckets = {dict(labels)["le"]: value for labels, value in told["lifeboat_batch_rows_bucket"].items()}
    wanted = {"1.0": 2, "2.0": 3, "4.0": 4, "128.0": 4, "256.0": 5, "512.0": 7, "16384.0": 7, "+Inf": 7}
    assert {edge: buckets[edge] for edge in wanted} == wanted


def test_files(client: httpx.Client, passenger: dict[str, Any]) -> None:
    """Files and their rows are counted, failed rows separately; files don't count as batches."""
    lines = "".join(json.dumps(each) + "\n" for each in (passenger, passenger, passenger | {"age": -1}))
    answer = client.put("/api/batch?on_error=skip", content=lines, headers={"content-type": "application/x-ndjson"})
    assert len(answer.text.splitlines()) == 2
    told = families(client.get("/metrics").text)
    assert told["lifeboat_files_total"] == {(): 1}
    assert told["lifeboat_file_rows_total"] == {(("result", "scored"),): 2, (("result", "failed"),): 1}
    assert told["lifeboat_batch_rows_count"] == {(): 0}


def test_what_the_process_is(client: httpx.Client) -> None:
    """The metrics have the build, the model, the CPU limit and the queue limit."""
    told = families(client.get("/metrics").text)
    [build] = told["lifeboat_build_info"]
    assert dict(build) == {"onnxruntime": onnxruntime.__version__, "python": platform.python_version()}
    [info] = told["lifeboat_model_info"]
    assert dict(info) == {
        "kind": TITANIC.kind,
        "target": TITANIC.target,
        "estimator": TITANIC.provenance.estimator,
        "sha256": TITANIC.sha256,
    }
    assert 0 < told["lifeboat_cpu_limit_cores"][()] <= (os.cpu_count() or 1)
    assert told["lifeboat_queue_limit_rows"] == {(): 100_000}


@pytest.mark.skipif(sys.platform != "linux", reason="when a process began, as Linux tells it")
def test_the_start(process: ServerProcess) -> None:
    """The metrics have the duration of the start, always the same value."""
    host, port = process.address()
    with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S, trust_env=False) as client:
        first = families(client.get("/metrics").text)["lifeboat_start_seconds"]
        again = families(client.get("/metrics").text)["lifeboat_start_seconds"]
    assert first == again
    assert first[()] > 0


def test_rows_that_wait() -> None:
    """The queue metric has the number of waiting rows."""
    served_after_us = HUNG_S * 1_000_000
    with (
        wire(Repository.load(MODELS), queue_delay_us=served_after_us) as served,
        served.connect() as waiting,
        served.connect() as asking,
    ):
        ask = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
        told = []
        for records in (0, 3):
            if records:
                waiting.sendall(post("/api/predict", {"records": [PASSENGER] * records}))
                served.turn()
            asking.sendall(ask)
            [(_, _, text)] = served.read(asking)
            told.append(families(text.decode())["lifeboat_queue_rows"][()])
        assert told == [0, 3]


def test_drift_is_told(client: httpx.Client, passenger: dict[str, Any]) -> None:
    """The drift metrics equal the drift report, once there are enough rows."""
    rows = (("of", "requests"),)
    for size in (200, 200):
        before = families(client.get("/metrics").text)
        client.post("/api/predict", json={"records": [passenger] * size})
    assert before["lifeboat_drift_rows"][rows] == 200
    assert "lifeboat_drift_psi" not in before
    told, report = families(client.get("/metrics").text), client.get("/api/models/titanic/drift").json()
    assert told["lifeboat_drift_rows"] == {rows: 400, (("of", "files"),): 0}
    indices = {(("feature", name), *rows): each["psi"] for name, each in report["features"].items()}
    assert told["lifeboat_drift_psi"] == pytest.approx(indices)
    assert told["lifeboat_drift_answer_psi"] == pytest.approx({rows: report["answer"]["psi"]})

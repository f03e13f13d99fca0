"""/metrics: what Prometheus reads, under the names that Triton's users know."""

from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server.process import serving

Samples = dict[str, float]


def read(client: httpx.Client) -> Samples:
    """Return the samples of the one model, by name, failures by name and reason.

    The reader appends `_total` to every counter: what the server's own text says is another test's.
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
    """Yield a client of a server that has answered nothing yet."""
    with serving() as fresh:
        yield fresh


def test_requests_rows_and_runs(client: httpx.Client, passenger: dict[str, Any]) -> None:
    """Requests, rows and runs are counted, and time is told in microseconds; in the end nothing is pending."""
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
    """A request that fails is counted once, by its error's code."""
    client.post(path, content=content, headers=headers)
    samples = read(client)
    assert samples[f"nv_inference_request_failure {reason}"] == 1
    assert samples["nv_inference_request_success"] == 0


def test_counters_are_called_counters(client: httpx.Client) -> None:
    """Names and types are Triton's: a counter is one, without the `_total` that the library would append."""
    text = client.get("/metrics").text
    assert "# TYPE nv_inference_count counter\n" in text
    assert "# TYPE nv_inference_pending_request_count gauge\n" in text
    assert "nv_inference_count_total" not in text
    assert "untyped" not in text


def test_the_process_is_told(client: httpx.Client) -> None:
    """CPU and memory of the process are among them."""
    samples = read(client)
    assert samples["process_cpu_seconds_total"] > 0
    assert samples["process_resident_memory_bytes"] > 1e6

"""Responses that report the server's load on request."""

import json
import re
from typing import Final

import pytest

from server.models.repository import Repository
from tests.passenger import PASSENGER
from tests.server.http.test_fast_path import LONG_WAY, TENSORS
from tests.server.support.rpc import (
    INFER,
    MODELS,
    PREDICT,
    SERVICE,
    Http2,
    counted,
    enveloped,
    envelopes,
    get,
    http1,
    request,
    tensors,
)
from tests.server.support.wire import Wire, post, wire

ASKS: Final = "x-lifeboat-report: 1"
QUERY: Final = "/api/predict?pclass=1&sex=female&age=29&sibsp=0&parch=0&fare=211.3375&embarked=S"
_TIMING: Final = re.compile(r"model;dur=(\d+\.\d{3})")
REPORTS: Final = {"server-timing", "x-lifeboat-load"}


@pytest.mark.parametrize("header", ["content-type: application/json", LONG_WAY], ids=["short", "long"])
@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/api/predict", PASSENGER),
        ("/api/predict", {"records": [PASSENGER] * 3}),
        ("/v2/models/titanic/infer", TENSORS),
        (PREDICT, PASSENGER),
    ],
)
def test_who_asks_is_told(served: Wire, path: str, document: object, header: str) -> None:
    """The report header adds only the model's time and the load, on both paths."""
    body = json.dumps(document).encode()
    plain = http1(served, path, body, header)
    before_ns = counted(served).infer_ns
    reported = http1(served, path, body, header, ASKS)
    model_ms = (counted(served).infer_ns - before_ns) / 1e6
    assert (reported.status, reported.body) == (200, plain.body)
    assert {name: value for name, value in reported.headers.items() if name not in REPORTS} == plain.headers
    timing = _TIMING.fullmatch(reported.headers["server-timing"])
    assert timing is not None
    assert float(timing[1]) == pytest.approx(model_ms, abs=0.001)
    assert model_ms > 0
    rows = len(document["records"]) if isinstance(document, dict) and "records" in document else 1
    assert reported.headers["x-lifeboat-load"] == f"1/{rows}"


def test_on_every_other_wire(served: Wire) -> None:
    """Calls by gRPC, gRPC-Web and GET, and GET queries, also report in headers."""
    message = enveloped(request(**PASSENGER).SerializeToString())
    with Http2(served) as connection:
        grpc = [("content-type", "application/grpc"), ("te", "trailers"), ("x-lifeboat-report", "1")]
        calls = [
            connection.post(PREDICT, message, *grpc),
            connection.post(INFER, enveloped(tensors(raw=True).SerializeToString()), *grpc),
            connection.post(PREDICT, message, *grpc, ("grpc-timeout", "5S")),
            connection.post("/api/predict", json.dumps(PASSENGER).encode(), ("x-lifeboat-report", "1")),
        ]
    calls += [
        http1(served, f"{SERVICE}/Predict", message, "content-type: application/grpc-web", ASKS),
        get(served, QUERY, ASKS),
        get(served, f"{PREDICT}?encoding=json&message={json.dumps(PASSENGER).replace(' ', '')}", ASKS),
    ]
    for call in calls:
        assert call.status == 200
        assert _TIMING.fullmatch(call.headers["server-timing"])
        assert call.headers["x-lifeboat-load"] == "1/1"


@pytest.mark.parametrize("value", ["0", "", "yes"])
def test_who_asks_for_something_else_is_not(served: Wire, value: str) -> None:
    """Only the value 1 requests a report."""
    answer = http1(served, "/api/predict", json.dumps(PASSENGER).encode(), f"x-lifeboat-report: {value}")
    assert answer.status == 200
    assert not REPORTS & set(answer.headers)


def test_a_report_is_of_all_that_is_under_way() -> None:
    """The load counts all queued and running requests, with their rows."""
    with wire(Repository.load(MODELS)) as served:
        connections = [served.connect() for _ in range(4)]
        for connection, rows in zip(connections, (1, 2, 3, 1), strict=True):
            connection.sendall(post("/api/predict", {"records": [PASSENGER] * rows}, ASKS))
        answers = served.read(*connections)
        assert [headers["x-lifeboat-load"] for _, headers, _ in answers] == ["4/7"] * 4
        assert counted(served).runs == 1
        for connection in connections:
            connection.close()


def test_a_large_request_reports_too() -> None:
    """A request that runs in a thread reports its own model time and its rows."""
    with wire(Repository.load(MODELS), max_batch_rows=8) as served:
        body = json.dumps({"records": [PASSENGER] * 500}).encode()
        large = http1(served, "/api/predict", body, ASKS)
    assert large.headers["x-lifeboat-load"] == "1/500"
    assert _TIMING.fullmatch(large.headers["server-timing"])


def test_a_stream_reports_nothing(served: Wire) -> None:
    """A streaming call reports nothing, because its headers are sent before its results exist."""
    body = enveloped(tensors(raw=True).SerializeToString()) * 3
    path = "/inference.GRPCInferenceService/ModelStreamInfer"
    streamed = http1(served, path, body, "content-type: application/grpc-web", ASKS)
    assert [flags for flags, _ in envelopes(streamed.body)] == [0, 0, 0, 0x80]
    assert not REPORTS & set(streamed.headers)


def test_a_failure_reports_nothing(served: Wire) -> None:
    """A rejected request reports nothing."""
    refused = http1(served, "/api/predict", b"{}", ASKS)
    assert refused.status == 400
    assert not REPORTS & set(refused.headers)

"""Spans of requests, as a collector receives them."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.passenger import PASSENGER
from tests.server.support import small
from tests.server.support.collector import Collector, attributes, collecting
from tests.server.support.process import HUNG_S, ROOT, ServerProcess
from tests.server.support.rpc import PREDICT, Http2, enveloped, request

TRACE_ID: Final = "0af7651916cd43dd8448eb211c80319c"
PARENT: Final = "b7ad6b7169203331"
SAMPLED: Final = {"traceparent": f"00-{TRACE_ID}-{PARENT}-01", "tracestate": "vendor=opaque"}
UNSAMPLED: Final = {"traceparent": f"00-{TRACE_ID}-{PARENT}-00"}
RECORD: Final = {**PASSENGER, "age": 61.4375, "fare": 233.8125}
WRONG: Final = {**RECORD, "sex": "femail"}
SECRETS: Final = ("61.4375", "233.8125", "femail")


@contextmanager
def traced(collector: Collector, **settings: str) -> Iterator[tuple[ServerProcess, httpx.Client]]:
    """Start a server with traces on; after its end the collector has every span."""
    of_traces = {"LIFEBOAT_TRACE": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    with ServerProcess(**of_traces | settings) as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as client:
            yield process, client
        process.signal(signal.SIGTERM)
        assert process.end() == 0, process.text


class Remote:
    """The server process in the form that the HTTP/2 test client expects."""

    def __init__(self, client: httpx.Client) -> None:
        self._address = (client.base_url.host, client.base_url.port or 80)

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(self._address, timeout=HUNG_S)

    def during(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Call `work`; the server runs in its own process."""
        return work()


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8"], ids=["short", "long"])
def test_a_request_is_a_span_below_its_callers(kind: str) -> None:
    """A prediction is a span in its client's trace, with queue and run below.

    The response names the span.
    """
    with collecting() as collector, traced(collector) as (_, client):
        body = json.dumps({"records": [RECORD, RECORD]})
        answer = client.post("/api/predict", content=body, headers=SAMPLED | {"content-type": kind})
    (span,) = collector.servers()
    queue, run = collector.below(span)
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.trace_state) == (TRACE_ID, PARENT, "vendor=opaque")
    assert answer.headers["traceresponse"].split("-")[1:3] == [TRACE_ID, span.span_id.hex()]
    assert (span.name, queue.name, run.name) == ("POST /api/predict", "queue", "run")
    assert span.status.code == Status.STATUS_CODE_UNSET
    said = attributes(span)
    assert said.pop("lifeboat.request_id") == answer.headers["x-request-id"]
    assert said == {
        "http.request.method": "POST",
        "http.route": "/api/predict",
        "url.path": "/api/predict",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
        "http.request.body.size": len(body),
        "http.response.body.size": len(answer.content),
        "lifeboat.model": "titanic",
        "lifeboat.model.version": "1",
        "lifeboat.rows": 2,
    }
    assert attributes(run) == {"lifeboat.batch.rows": 2, "lifeboat.batch.requests": 1}
    times = [(each.start_time_unix_nano, each.end_time_unix_nano) for each in (span, queue, run)]
    assert times[0][0] <= times[1][0] <= times[1][1] <= times[2][0] <= times[2][1] <= times[0][1]
    assert collector.paths == {"/v1/traces"}
    (resource,) = {str(attributes(each.resource)["service.name"]) for each in collector.requests[0].resource_spans}
    assert resource == "lifeboat"


def test_every_interface_has_spans() -> None:
    """Each call is a span named by its route or method, without its input."""
    wrong = request(**WRONG).SerializeToString()
    grpc = [("content-type", "application/grpc+proto"), ("te", "trailers")]
    settings = {"LIFEBOAT_HTTP2": "1", "LIFEBOAT_LOG_REQUESTS": "all"}
    with collecting() as collector, traced(collector, **settings) as (process, client):
        client.get("/api/models/titanic/versions/1/predict", params={"sex": "femail"})
        client.get("/api/predict", params={name: str(value) for name, value in RECORD.items()})
        client.get("/api/models/nobody")
        client.post(PREDICT, json=RECORD)
        client.post(PREDICT, json=WRONG)
        client.post("/no.v1.Nothing/Nothing", json=RECORD)
        with Http2(Remote(client)) as connection:
            connection.post(PREDICT, enveloped(request(**RECORD).SerializeToString()), *grpc, *SAMPLED.items())
            answer = connection.post(PREDICT, enveloped(wrong), *grpc)
        csv = ",".join(RECORD) + "\n" + ",".join(map(str, RECORD.values())) + "\n"
        client.put("/api/batch", content=csv)
        client.get("/v2/health/ready")
        client.get("/metrics")
    spans = collector.servers()
    said = [attributes(span) for span in spans]
    method = PREDICT.removeprefix("/")
    assert [span.name for span in spans] == [
        "GET /api/models/{model}/versions/{version}/predict",
        "GET /api/predict",
        "GET",
        method,
        method,
        "connectrpc",
        method,
        method,
        "PUT /api/batch",
    ]
    assert [each.get("http.response.status_code") for each in said[:3]] == [400, 200, 404]
    assert [each.get("rpc.system.name") for each in said[3:8]] == ["connectrpc"] * 3 + ["grpc"] * 2
    ended = [each.get("rpc.response.status_code") for each in said[3:8]]
    assert ended == [None, "invalid_argument", "not_found", "OK", "INVALID_ARGUMENT"]
    assert [each.get("lifeboat.error.code") for each in said[:2]] == ["invalid_argument", None]
    assert said[5]["rpc.method"] == "_OTHER"
    assert said[8]["lifeboat.rows"] == 1
    assert spans[6].trace_id.hex() == TRACE_ID
    assert [child.name for child in collector.below(spans[6])] == ["queue", "run"]
    assert answer.headers["traceresponse"].split("-")[2] == spans[7].span_id.hex()
    for secret in SECRETS:
        assert secret not in collector.text
    logged = [json.loads(line) for line in process.log]
    assert [line["span_id"] for line in logged if line.get("path", "").startswith("/api/predict")] == [
        spans[1].span_id.hex()
    ]


def test_a_fault_of_the_server_is_an_error(tmp_path: Path) -> None:
    """A span has status ERROR for a server error only.

    The log line of an unforeseen error has the span's ids.
    """
    model = small.onnx_bytes(small.LOOK_UP)
    small.write(tmp_path, model, small.manifest(model, small.INDEX, answers=[(0, 10.0), (2, 30.0)]))
    settings = {"LIFEBOAT_MODELS": str(tmp_path), "LIFEBOAT_MAX_BATCHES": "0"}
    with collecting() as collector, traced(collector, **settings) as (process, client):
        client.put("/api/batch", content=b"index\n1\n", headers=SAMPLED)
        client.post("/api/predict", json={"index": 9}, headers=SAMPLED)
        client.post("/api/predict", json={"index": 1}, headers=SAMPLED | {"x-request-timeout-ms": "0"})
    refused, failed, late = collector.servers()
    assert [attributes(span)["http.response.status_code"] for span in (refused, failed, late)] == [429, 500, 504]
    assert "error.type" not in attributes(refused)
    assert [attributes(span)["error.type"] for span in (failed, late)] == ["internal", "deadline_exceeded"]
    codes = [span.status.code for span in (refused, failed, late)]
    assert codes == [Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR, Status.STATUS_CODE_ERROR]
    (line,) = [line for line in map(json.loads, process.log) if line["logger"] == "lifeboat.app"]
    assert (line["trace_id"], line["span_id"]) == (TRACE_ID, failed.span_id.hex())


def test_the_callers_sampling_is_kept() -> None:
    """The client's sampling decision is followed; without one the sampler decides."""
    with collecting() as collector:
        settings = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
        with traced(collector, **settings) as (_, client):
            client.post("/api/predict", json=RECORD, headers=UNSAMPLED)
            client.post("/api/predict", json=RECORD)
            client.post("/api/predict", json=RECORD, headers=SAMPLED)
    assert [span.parent_span_id.hex() for span in collector.servers()] == [PARENT]


@pytest.mark.parametrize("given", ["00-xyz-b7ad6b7169203331-01", f"00-{'0' * 32}-{PARENT}-01"])
def test_an_unsound_parent_is_none(given: str) -> None:
    """An invalid trace context begins a new trace."""
    with collecting() as collector, traced(collector) as (_, client):
        assert client.post("/api/predict", json=RECORD, headers={"traceparent": given}).status_code == 200
    (span,) = collector.servers()
    assert span.parent_span_id == b""
    assert span.trace_id.hex() != TRACE_ID


def test_a_collector_that_is_down_costs_no_answer() -> None:
    """Without a reachable collector requests succeed, and the server exits with 0."""
    with socket.create_server(("127.0.0.1", 0)) as unanswered:
        down = Collector(unanswered.getsockname()[1])
        settings = {"LIFEBOAT_DRAIN_S": "2", "OTEL_BSP_SCHEDULE_DELAY": "10"}
        with traced(down, **settings) as (_, client):
            answers = [client.post("/api/predict", json=RECORD, headers=SAMPLED) for _ in range(50)]
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", 'expected http/protobuf; got "grpc"'),
        ("OTEL_TRACES_EXPORTER", "zipkin", 'expected otlp; got "zipkin"'),
    ],
)
def test_what_is_not_there_is_refused(variable: str, value: str, words: str) -> None:
    """An unsupported exporter or protocol stops the start with the variable's name."""
    with ServerProcess(**{"LIFEBOAT_TRACE": "1", variable: value}) as process:
        assert process.end() == 1
    assert json.loads(process.log[-1])["message"] == f"{variable}: {words}"


def test_traces_without_the_extra_are_refused() -> None:
    """Without OpenTelemetry installed the start is rejected with the setting and the extra."""
    code = (
        "import sys; sys.modules['opentelemetry'] = None; sys.argv = ['server'];"
        "import os; os.environ['LIFEBOAT_TRACE'] = '1'; from server.__main__ import main; main([])"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "LIFEBOAT_TRACE: expected the extra `trace` to be installed" in json.loads(line)["message"]

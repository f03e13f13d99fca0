"""The request log: its content, its formats, and the data it never contains."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.passenger import PASSENGER
from tests.server.http.test_fast_path import LONG_WAY
from tests.server.support import small
from tests.server.support.process import HUNG_S, ROOT, ServerProcess, connect, read_response
from tests.server.support.rpc import PREDICT, enveloped, request

TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
AGE: Final = 61.4375
FARE: Final = 233.8125
SECRETS: Final = ("61.4375", "233.8125", "femail", "-7.25", "zzyzx")
"""Input values of the calls below; no other text in a line equals them."""
RECORD: Final = {**PASSENGER, "age": AGE, "fare": FARE}
WRONG: Final = {**RECORD, "sex": "femail"}


@contextmanager
def logging_server(**settings: str) -> Iterator[tuple[ServerProcess, httpx.Client]]:
    """Start a server with these settings; at the end its log is complete."""
    with ServerProcess(**settings) as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as client:
            yield process, client
        process.signal(signal.SIGTERM)
        assert process.end() == 0, process.text


def lines(process: ServerProcess, logger: str = "lifeboat.request") -> list[dict[str, Any]]:
    """Return the lines of a logger, and check that every line is JSON."""
    every = [json.loads(line) for line in process.log]
    for line in every:
        assert {"time", "level", "logger", "message"} <= line.keys()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    return [line for line in every if line["logger"] == logger]


def write_failing(models: Path) -> None:
    """Write a model that fails in onnxruntime for an index outside its table."""
    model = small.onnx_bytes(small.LOOK_UP)
    small.write(models, model, small.manifest(model, small.INDEX, answers=[(0, 10.0), (2, 30.0)]))


def call_everything(client: httpx.Client) -> list[httpx.Response]:
    """Send valid and invalid requests of every kind, and return the responses."""
    query = {name: str(value) for name, value in RECORD.items()}
    infer = {
        "inputs": [
            {
                "name": name,
                "shape": [1, 1],
                "datatype": "BYTES" if isinstance(value, str) else "FP32" if isinstance(value, float) else "INT64",
                "data": [value],
            }
            for name, value in RECORD.items()
        ]
    }
    wrong_infer = {
        "inputs": [each | {"data": ["femail"]} if each["name"] == "sex" else each for each in infer["inputs"]]
    }
    csv = ",".join(RECORD) + "\n" + ",".join(map(str, RECORD.values())) + "\n"
    grpc_web = {"content-type": "application/grpc-web+proto"}
    long_way = {"content-type": "application/json; charset=utf-8"}
    return [
        client.post("/api/predict", json=RECORD),
        client.post("/api/predict", json=RECORD, headers=long_way),
        client.post("/api/predict", json={"records": [RECORD, RECORD]}),
        client.post("/api/predict", json=WRONG),
        client.post("/api/predict", json=WRONG, headers=long_way),
        client.post("/api/predict", json={**RECORD, "age": -7.25}),
        client.post("/api/predict", json={**RECORD, "sex": "zzyzx" * 20}),
        client.post("/api/predict", content=b'{"age": 61.4375, "zzyzx'),
        client.get("/api/predict", params=query),
        client.get("/api/predict", params={**query, "sex": "femail"}),
        client.post("/v2/models/titanic/infer", json=infer),
        client.post("/v2/models/titanic/infer", json=wrong_infer),
        client.post(PREDICT, json=RECORD),
        client.post(PREDICT, json=WRONG),
        client.get(PREDICT, params={"message": json.dumps(WRONG), "encoding": "json"}),
        client.post(PREDICT, content=enveloped(request(**RECORD).SerializeToString()), headers=grpc_web),
        client.post(PREDICT, content=enveloped(request(**WRONG).SerializeToString()), headers=grpc_web),
        client.put("/api/batch", content=csv),
        client.put("/api/batch", content=csv.replace("female", "femail")),
        client.put("/api/batch", content=csv.replace("age", "zzyzx")),
        *call_with_names_of_ones_own(client, csv),
    ]


def call_with_names_of_ones_own(client: httpx.Client, csv: str) -> list[httpx.Response]:
    """Send requests with a value as a name, as in a file without a header."""
    named = {"name": "zzyzx", "shape": [1, 1], "datatype": "FP32", "data": [1]}
    header, _, row = csv.partition("\n")
    return [
        client.post("/api/predict", json={**RECORD, "zzyzx": 1}),
        client.post("/api/predict", json={"records": [{**RECORD, "zzyzx": 1}]}),
        client.post("/api/explain", json={**RECORD, "zzyzx": 1}),
        client.get("/api/predict", params={"zzyzx": 1}),
        client.post("/v2/models/titanic/infer", json={"inputs": [named]}),
        client.post(PREDICT, json={**RECORD, "zzyzx": 1}),
        client.put("/api/batch", content=f"{header},zzyzx,zzyzx\n{row}"),
        client.put("/api/batch", content=csv, params={"zzyzx": "1"}),
        client.get("/api/models/titanic/drift", params={"zzyzx": "1"}),
    ]


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_input_is_logged_unasked(form: str) -> None:
    """By default no log line has an input value, on any interface."""
    with logging_server(LIFEBOAT_LOG_REQUESTS="all", LIFEBOAT_LOG_FORMAT=form, LIFEBOAT_LOG_LEVEL="debug") as (
        process,
        client,
    ):
        answers = call_everything(client)
    assert {answer.status_code for answer in answers} == {200, 400}
    assert "lifeboat.request" in process.text
    for secret in SECRETS:
        assert secret not in process.text
    if form == "json":
        logged = lines(process)
        assert [line["status"] for line in logged] == [answer.status_code for answer in answers]
        assert [line["request_id"] for line in logged] == [answer.headers["x-request-id"] for answer in answers]


def test_inputs_are_logged_where_asked_for() -> None:
    """With LIFEBOAT_LOG_INPUTS each line has the request's values and full error."""
    with logging_server(LIFEBOAT_LOG_REQUESTS="all", LIFEBOAT_LOG_INPUTS="1") as (process, client):
        client.post("/api/predict", json=RECORD)
        client.get("/api/predict", params={"sex": "femail"})
        client.put("/api/batch", content=b"\xff\xfe\xfd")
    record, query, file = lines(process)
    assert json.loads(record["input"]) == RECORD
    assert query["input"] == "sex=femail"
    assert "femail" in query["error"]
    assert file["input_base64"] == "//79"


def test_what_a_line_says() -> None:
    """A line has method, path, status, model, sizes and trace of its request."""
    with logging_server(LIFEBOAT_LOG_REQUESTS="all") as (process, client):
        headers = {"x-request-id": "edge-1", "traceparent": TRACE}
        answer = client.post("/api/predict", json={"records": [RECORD, RECORD]}, headers=headers)
        client.post("/api/predict", json=WRONG)
        client.get("/api/predict", headers={"x-request-id": "edge-2"})
        client.get("/nothing")
    done, wrong, query, nothing = lines(process)
    assert answer.headers["x-request-id"] == "edge-1"
    assert done.pop("duration_ms") > 0
    del done["time"]
    assert done == {
        "level": "info",
        "logger": "lifeboat.request",
        "message": "POST /api/predict 200",
        "method": "POST",
        "path": "/api/predict",
        "status": 200,
        "request_bytes": len(answer.request.content),
        "response_bytes": len(answer.content),
        "model": "titanic",
        "version": "1",
        "rows": 2,
        "request_id": "edge-1",
        "trace_id": TRACE.split("-")[1],
        "span_id": TRACE.split("-")[2],
    }
    assert (wrong["level"], wrong["status"], wrong["code"], wrong["field"]) == (
        "warning",
        400,
        "invalid_argument",
        "sex",
    )
    assert (query["method"], query["status"], query["request_id"]) == ("GET", 400, "edge-2")
    assert (nothing["status"], nothing["code"]) == (404, "not_found")


def test_what_a_line_says_of_explanations() -> None:
    """The line of an explanation has its model, version and rows, like a prediction's."""
    with logging_server(LIFEBOAT_LOG_REQUESTS="all") as (process, client):
        client.post("/api/explain", json=RECORD)
        client.post("/api/explain", json={"records": [RECORD, RECORD]})
    told = [(line["status"], line["model"], line["version"], line["rows"]) for line in lines(process)]
    assert told == [(200, "titanic", "1", 1), (200, "titanic", "1", 2)]


def test_a_log_of_errors_alone() -> None:
    """With `errors` only failed requests have a line, whatever their HTTP status."""
    with logging_server(LIFEBOAT_LOG_REQUESTS="errors") as (process, client):
        call_everything(client)
        grpc_web = {"content-type": "application/grpc-web+proto"}
        wrong = client.post(PREDICT, content=enveloped(request(**WRONG).SerializeToString()), headers=grpc_web)
    assert wrong.status_code == 200
    logged = lines(process)
    assert len(logged) == 21
    assert [line.get("field") for line in logged[:2]] == ["sex", "sex"]
    assert {line["code"] for line in logged} == {"invalid_argument"}
    assert logged[-1]["path"] == PREDICT


def test_no_request_is_logged_unasked(process: ServerProcess, client: httpx.Client) -> None:
    """By default no request has a line, and responses have no additional headers."""
    headers = {"x-request-id": "mine"}
    assert "x-request-id" not in client.post("/api/predict", json=RECORD, headers=headers).headers
    client.post("/api/predict", json=WRONG)
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert lines(process) == []


def test_a_deadline_before_the_request_is_whole_is_logged() -> None:
    """A call whose deadline passes before its request is complete has a line."""
    with logging_server(LIFEBOAT_LOG_REQUESTS="errors") as (process, client), connect(client) as connection:
        head = ["connect-timeout-ms: 20", "content-type: application/json", "content-length: 50"]
        client.post(PREDICT, json=RECORD)  # the first call loads the fast path handlers for the later calls
        connection.sendall("\r\n".join([f"POST {PREDICT} HTTP/1.1", "host: x", *head]).encode() + b"\r\n\r\n{")
        status, headers, _ = read_response(connection)
    (line,) = lines(process)
    assert (status, line["status"], line["code"]) == (504, 504, "deadline_exceeded")
    assert line["request_id"] == headers["x-request-id"]


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8"], ids=["short", "long"])
def test_a_request_that_waits_past_the_drain_is_logged(kind: str) -> None:
    """A request that is rejected at the end of the drain has a line."""
    settings = {"LIFEBOAT_LOG_REQUESTS": "errors", "LIFEBOAT_DRAIN_S": "0", "LIFEBOAT_QUEUE_DELAY_US": "1000000"}
    with logging_server(**settings) as (process, client), connect(client) as connection:
        body = json.dumps(RECORD).encode()
        head = ["POST /api/predict HTTP/1.1", "host: x", f"content-type: {kind}", f"content-length: {len(body)}"]
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        while 'pending_request_count{model="titanic",version="1"} 1' not in client.get("/metrics").text:
            pass
        process.signal(signal.SIGTERM)
        status, headers, _ = read_response(connection)
        process.end()  # a second signal would end it earlier
    (line,) = lines(process)  # every line has the log's format, even at a forced end
    assert (status, line["status"], line["code"]) == (503, 503, "unavailable")
    assert line["request_id"] == headers["x-request-id"]


def test_requests_that_run_together_have_lines_of_their_own(tmp_path: Path) -> None:
    """Each request in a batch has its own line, even if another request fails."""
    write_failing(tmp_path)
    bodies = [json.dumps(each).encode() for each in ({"index": 1}, {"index": 9}, {"records": [{"index": 2}] * 3})]
    settings = {"LIFEBOAT_MODELS": str(tmp_path), "LIFEBOAT_LOG_REQUESTS": "all", "LIFEBOAT_QUEUE_DELAY_US": "100000"}
    with logging_server(**settings) as (process, client):
        connections = [connect(client) for _ in bodies]
        for number, (connection, body) in enumerate(zip(connections, bodies, strict=True)):
            head = ["POST /api/predict HTTP/1.1", "host: x", f"x-request-id: r{number}", f"content-length: {len(body)}"]
            head += [LONG_WAY] * (number == 0)  # its task ends after its neighbours have their responses
            connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        answers = [read_response(connection) for connection in connections]
        for connection in connections:
            connection.close()
    logged = {line["request_id"]: line for line in lines(process)}
    assert [headers["x-request-id"] for _, headers, _ in answers] == ["r0", "r1", "r2"]
    assert [logged[f"r{number}"]["status"] for number in range(3)] == [200, 500, 200]
    assert [logged[f"r{number}"]["rows"] for number in range(3)] == [1, 1, 3]
    assert [logged[f"r{number}"].get("code") for number in range(3)] == [None, "internal", None]
    (failed,) = lines(process, "lifeboat.app")
    assert failed["request_id"] == "r1"


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_line_cannot_be_forged(form: str) -> None:
    """Line ends in a path or a request id can't forge a log line."""
    forged = 'x\r\n{"level":"error","message":"forged"}\x1b[2J\u2028\u0085'
    with logging_server(LIFEBOAT_LOG_REQUESTS="all", LIFEBOAT_LOG_FORMAT=form) as (process, client):
        client.get(httpx.URL("/api/models/" + forged.encode().hex(" ").replace(" ", "%").join(["%", ""])))
        client.get("/api/models", headers={"x-request-id": "a b\tc"})
    logged = [line for line in process.log if "lifeboat.request" in line]
    assert len(logged) == 2
    assert not any(line.startswith('{"level"') for line in process.log)
    if form == "json":
        assert lines(process)[0]["path"] == f"/api/models/{forged}"
    else:
        assert all(line.rstrip("\n").isprintable() for line in logged)
    assert "a b" not in logged[1]


def test_an_exception_is_one_line(tmp_path: Path) -> None:
    """A traceback is one string in its line.

    The exception's message is included only if inputs are logged.
    """
    write_failing(tmp_path)
    for inputs, is_told in (("0", False), ("1", True)):
        with logging_server(LIFEBOAT_MODELS=str(tmp_path), LIFEBOAT_LOG_INPUTS=inputs) as (process, client):
            client.post("/api/predict", json={"index": 9}, headers={"traceparent": TRACE})
        (line,) = lines(process, "lifeboat.app")
        assert line["trace_id"] == TRACE.split("-")[1]
        assert "\n" in line["exception"]
        assert ("idx=9" in line["exception"]) is is_told


@pytest.mark.parametrize(
    "fails",
    [
        "1 / 0",
        "import threading; thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()",
        "type('Gone', (), {'__del__': lambda self: 1 / 0})()",
    ],
    ids=["process", "thread", "unraisable"],
)
def test_what_ends_by_an_exception_is_logged(fails: str) -> None:
    """An exception that ends the process or a thread is a log line.

    So is an exception that can't be caught.
    """
    code = f"from server.telemetry import logs; logs.configure('json', inputs=False); {fails}"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    (line,) = map(json.loads, ended.stderr.splitlines())
    assert line["level"] in {"critical", "error"}
    assert "builtins.ZeroDivisionError" in line["exception"]


@pytest.mark.parametrize(("inputs", "is_told"), [(False, False), (True, True)])
def test_what_asyncio_tells_of_a_task(*, inputs: bool, is_told: bool) -> None:
    """A task that fails unobserved is a log line.

    Its message is included only if inputs are logged.
    """
    code = f"""
import asyncio
from server.telemetry import logs

async def fail():
    raise ValueError("zzyzx")

async def main():
    await asyncio.wait([asyncio.create_task(fail())])

logs.configure("json", inputs={inputs})
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    (line,) = map(json.loads, ended.stderr.splitlines())
    assert line["message"].startswith("Task exception was never retrieved")
    assert ("zzyzx" in ended.stderr) is is_told


def test_a_terminal_is_written_text() -> None:
    """Without a setting the log is text on a terminal, and JSON otherwise."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIFEBOAT_")}
    command = [sys.executable, "-m", "server"]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment | {"PORT": "eighty"}, stderr=theirs, timeout=HUNG_S, check=False
    )
    os.close(theirs)
    with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123 # a file descriptor
        written = terminal.read(4096)
    assert ended.returncode == 1
    assert b"ERROR lifeboat: PORT: expected a whole number" in written

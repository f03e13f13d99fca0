"""Small predictions over a socket: the fast path and ASGI give the same responses."""

import json
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from server.inference.statistics import Counters
from server.models.repository import Repository
from server.rest.handler import RestHandler
from tests.passenger import PASSENGER
from tests.server.support import small
from tests.server.support.wire import Wire, post, wire

MODELS: Final = Path(__file__).parents[3] / "models"
PREDICT: Final = "/api/predict"
RPC: Final = "/lifeboat.titanic.v1.TitanicService/Predict"
TENSORS: Final = {
    "id": "7",
    "inputs": [
        {"name": "pclass", "shape": [1, 1], "datatype": "INT64", "data": [1]},
        {"name": "sex", "shape": [1, 1], "datatype": "BYTES", "data": ["female"]},
        {"name": "age", "shape": [1, 1], "datatype": "FP32", "data": [29]},
        {"name": "sibsp", "shape": [1, 1], "datatype": "INT64", "data": [0]},
        {"name": "parch", "shape": [1, 1], "datatype": "INT64", "data": [0]},
        {"name": "fare", "shape": [1, 1], "datatype": "FP32", "data": [211.3375]},
        {"name": "embarked", "shape": [1, 1], "datatype": "BYTES", "data": ["S"]},
    ],
}
LONG_WAY: Final = "content-type: application/json; charset=utf-8"
"""A header that bypasses the fast path and changes nothing in the response."""


@pytest.fixture(scope="module")
def repository() -> Repository:
    """Return the repository of the committed models."""
    return Repository.load(MODELS)


def counted(served: Wire) -> Counters:
    """Return the counters of the Titanic model."""
    prediction = served.app.fast_path_handlers[PREDICT]
    assert isinstance(prediction, RestHandler)
    return prediction.runner.counters


def runs(served: Wire) -> int:
    """Return the number of runs of the Titanic model."""
    return counted(served).runs


@pytest.mark.parametrize(
    ("path", "document"),
    [
        (PREDICT, PASSENGER),
        (PREDICT, {"records": [PASSENGER] * 3}),
        ("/api/models/titanic/predict", PASSENGER),
        ("/api/models/titanic/versions/1/predict", PASSENGER),
        ("/api/models/titanic/labels/stable/predict", PASSENGER),
        ("/v2/models/titanic/infer", TENSORS),
        ("/v2/models/titanic/versions/1/infer", TENSORS),
        (PREDICT, PASSENGER | {"age": -1}),
        (PREDICT, ["no", "object"]),
        (PREDICT, {"records": []}),
        ("/v2/models/titanic/infer", {"inputs": []}),
    ],
)
def test_both_ways_answer_alike(repository: Repository, path: str, document: object) -> None:
    """Status, headers and body are the same on both paths, for valid and invalid requests."""
    with wire(repository) as served:
        answers = []
        for header in ("content-type: application/json", LONG_WAY):
            with served.connect() as connection:
                connection.sendall(post(path, document, header))
                answers += served.read(connection)
        assert answers[0] == answers[1]
        assert answers[0][1]["content-type"] == "application/json"


@pytest.mark.parametrize("at", [1, 20, -90, -1], ids=["request line", "headers", "between", "body"])
def test_a_request_in_pieces(repository: Repository, at: int) -> None:
    """A request that arrives in two pieces gets a 200, wherever it is split."""
    request = post(PREDICT, PASSENGER)
    with wire(repository) as served, served.connect() as connection:
        connection.sendall(request[:at])
        served.turn()
        connection.sendall(request[at:])
        assert [status for status, _, _ in served.read(connection)] == [200]


def test_a_body_that_grows_past_the_fast_path(repository: Repository) -> None:
    """A chunked body above the fast path's limit continues through ASGI and gets its response."""
    body = json.dumps({"records": [PASSENGER] * 900}).encode()
    assert len(body) > 64 * 1024
    with wire(repository) as served, served.connect() as connection:
        connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for start in range(0, len(body), 16 * 1024):
            piece = body[start : start + 16 * 1024]
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            served.turn()
        connection.sendall(b"0\r\n\r\n")
        [(status, _, answer)] = served.read(connection)
        assert (status, len(json.loads(answer)["predictions"])) == (200, 900)


def test_pipelined_requests_are_answered_in_order(repository: Repository) -> None:
    """Pipelined requests get their responses in order, valid and invalid ones."""
    with wire(repository) as served, served.connect() as connection:
        documents: list[dict[str, Any]] = [PASSENGER, PASSENGER | {"age": -1}, PASSENGER | {"pclass": 3}, PASSENGER]
        connection.sendall(b"".join(post(PREDICT, document) for document in documents))
        with connection.makefile("rb") as file:
            seen = served.during(lambda: [_next(file) for _ in documents])
    assert [status for status, _ in seen] == [200, 400, 200, 200]
    assert seen[0] == seen[3] != seen[2]


def _next(file: Any) -> tuple[int, bytes]:  # noqa: ANN401 # a socket's file
    status = int(file.readline().split()[1])
    length = 0
    while line := file.readline().strip():
        name, _, value = line.partition(b":")
        length = int(value) if name == b"content-length" else length
    return status, file.read(length)


def test_a_caller_that_never_reads_is_held_back(repository: Repository) -> None:
    """The server stops reading a connection whose client sends requests and never reads responses."""
    with wire(repository) as served, served.connect() as connection:
        connection.setblocking(False)
        requests = post(PREDICT, PASSENGER) * 200
        sent = 0
        for _ in range(400):
            try:
                sent += connection.send(requests)
            except BlockingIOError:
                served.turn()
        assert sent < 10e6
        with pytest.raises(BlockingIOError):
            connection.send(requests)


def test_a_caller_that_leaves_in_the_middle_is_counted(repository: Repository) -> None:
    """A connection that closes in the middle of a request counts as a disconnect."""
    with wire(repository) as served:
        with served.connect() as connection:
            connection.sendall(post(PREDICT, PASSENGER)[:-5])
            served.turn()
        served.turn()
        assert counted(served).failures == {"canceled": 1}


def test_a_connection_is_kept_or_closed_as_asked(repository: Repository) -> None:
    """A connection stays open until a request says `connection: close`; that response says it too."""
    with wire(repository) as served, served.connect() as connection:
        for _ in range(3):
            connection.sendall(post(PREDICT, PASSENGER))
            [(status, headers, _)] = served.read(connection)
            assert (status, headers.get("connection")) == (200, None)
        connection.sendall(post(PREDICT, PASSENGER, "connection: close"))
        [(status, headers, _)] = served.read(connection)
        assert (status, headers["connection"]) == (200, "close")
        assert connection.recv(1) == b""


def test_a_body_that_waits_to_be_asked_for(repository: Repository) -> None:
    """A client that sends `expect: 100-continue` gets 100, then sends its body and gets 200."""
    with wire(repository) as served, served.connect() as connection:
        head, _, body = post(PREDICT, PASSENGER, "expect: 100-continue").partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\n\r\n")
        assert served.read(connection)[0][0] == 100
        connection.sendall(body)
        assert served.read(connection)[0][0] == 200


def test_http_1_0(repository: Repository) -> None:
    """An HTTP/1.0 client gets its response, and the connection closes."""
    with wire(repository) as served, served.connect() as connection:
        connection.sendall(post(PREDICT, PASSENGER).replace(b"HTTP/1.1", b"HTTP/1.0"))
        [(status, _, _)] = served.read(connection)
        assert (status, connection.recv(1)) == (200, b"")


def test_what_arrives_together_runs_together(repository: Repository) -> None:
    """Requests in one event loop iteration run as one batch, across connections and interfaces."""
    with wire(repository) as served:
        connections = [served.connect() for _ in range(10)]
        for number, connection in enumerate(connections):
            is_tensors = number % 2
            connection.sendall(post("/v2/models/titanic/infer", TENSORS) if is_tensors else post(PREDICT, PASSENGER))
        answers = served.read(*connections)
        assert {status for status, _, _ in answers} == {200}
        assert len({body for _, _, body in answers}) == 2
        assert runs(served) == 1
        for connection in connections:
            connection.close()


def test_a_full_queue_is_told_at_once(repository: Repository) -> None:
    """A request to a full queue gets 429 with Retry-After; its connection stays usable."""
    with wire(repository, max_queue_rows=2) as served:
        connections = [served.connect() for _ in range(3)]
        for connection in connections:
            connection.sendall(post(PREDICT, {"records": [PASSENGER] * 2}))
        answers = served.read(*connections)
        assert sorted(status for status, _, _ in answers) == [200, 429, 429]
        for (status, headers, body), connection in zip(answers, connections, strict=True):
            if status == 429:
                words = "the queue is full: 2 rows wait; try again"
                assert json.loads(body) == {"error": words, "code": "resource_exhausted"}
                assert int(headers["retry-after"]) > 0
                connection.sendall(post(PREDICT, PASSENGER))
                assert served.read(connection)[0][0] == 200
            connection.close()


@pytest.mark.parametrize("header", ["content-type: application/json", LONG_WAY], ids=["short", "long"])
def test_who_left_is_not_run_for(repository: Repository, header: str) -> None:
    """A request of a disconnected client is dropped before the run and counted as canceled."""
    with wire(repository, queue_delay_us=1_000_000, max_batch_rows=4) as served:
        leaver, stayer = served.connect(), served.connect()
        leaver.sendall(post(PREDICT, PASSENGER, header))
        served.turn()
        leaver.close()
        served.turn()
        stayer.sendall(post(PREDICT, {"records": [PASSENGER] * 3}))
        assert served.read(stayer)[0][0] == 200
        counters = counted(served)
        assert (counters.requests, counters.rows, counters.pending) == (1, 3, 0)
        assert counters.failures == {"canceled": 1}
        stayer.close()


def test_one_bad_request_fails_alone(tmp_path: Path) -> None:
    """A request that fails in the model gets 500; its batch's other requests succeed."""
    model = small.onnx_bytes(small.LOOK_UP)
    small.write(tmp_path, model, small.manifest(model, small.INDEX, answers=[(0, 10.0), (2, 30.0)]))
    with wire(Repository.load(tmp_path)) as served:
        connections = [served.connect() for _ in range(3)]
        for connection, index in zip(connections, (0, 9, 2), strict=True):
            connection.sendall(post(PREDICT, {"index": index}))
        answers = served.read(*connections)
        assert [status for status, _, _ in answers] == [200, 500, 200]
        assert [json.loads(answers[number][2])["value"] for number in (0, 2)] == [10.0, 30.0]
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("together", [1, 2, 3, 9])
def test_a_batch_is_filled_up_to_the_least(tmp_path: Path, together: int) -> None:
    """A batch below `min_batch_rows` is padded, and the padding changes no response."""
    model = small.onnx_bytes(small.LONELY)
    small.write(
        tmp_path, model, small.manifest(model, answers=[(x, x) for x in (1.0, 2.0, 3.0, 4.0)], min_batch_rows=4)
    )
    with wire(Repository.load(tmp_path)) as served:
        connections = [served.connect() for _ in range(together)]
        for number, connection in enumerate(connections):
            connection.sendall(post(PREDICT, {"x": number}))
        assert [json.loads(body)["value"] for _, _, body in served.read(*connections)] == [*range(together)]
        for connection in connections:
            connection.close()


def test_a_lone_string_is_filled_up_too(tmp_path: Path) -> None:
    """A single row of a string model is padded to `min_batch_rows`."""
    model = small.onnx_bytes(small.YES, opset=19)
    small.write(
        tmp_path, model, small.manifest(model, small.WORD, answers=[("yes", 1.0), ("no", 0.0)], min_batch_rows=3)
    )
    with wire(Repository.load(tmp_path)) as served, served.connect() as connection:
        connection.sendall(post(PREDICT, {"x": "yes"}))
        [(status, _, body)] = served.read(connection)
        assert (status, json.loads(body)["value"]) == (200, 1.0)


def test_null_is_what_the_manifest_says(tmp_path: Path) -> None:
    """A null reaches the model as the manifest's null value."""
    model = small.onnx_bytes(small.LOOK_UP)
    feature = msgspec.structs.replace(small.INDEX, nullable=True, null_value=1)
    small.write(tmp_path, model, small.manifest(model, feature, answers=[(0, 10.0), (2, 30.0)]))
    with wire(Repository.load(tmp_path)) as served, served.connect() as connection:
        connection.sendall(post(PREDICT, {"index": None}))
        assert json.loads(served.read(connection)[0][2])["value"] == 20.0
        connection.sendall(post(PREDICT, {"records": [{"index": 0}, {"index": None}, {}]}))
        predictions = json.loads(served.read(connection)[0][2])["predictions"]
        assert [each["value"] for each in predictions] == [10.0, 20.0, 20.0]


def test_an_idle_connection_is_closed(repository: Repository) -> None:
    """An idle connection is closed after the keep-alive time."""
    with wire(repository, keep_alive_s=1) as served, served.connect() as connection:
        connection.sendall(post(PREDICT, PASSENGER))
        assert served.read(connection)[0][0] == 200
        assert served.during(lambda: connection.recv(1)) == b""


def test_the_date_is_told(repository: Repository) -> None:
    """A response has uvicorn's default headers with their values at the time it is written."""
    with wire(repository) as served, served.connect() as connection:
        for date in (b"Thu, 01 Jan 1970 00:00:00 GMT", b"Thu, 01 Jan 1970 00:00:01 GMT"):
            served.state.default_headers = [(b"date", date)]
            connection.sendall(post(PREDICT, PASSENGER))
            assert served.read(connection)[0][1]["date"] == date.decode()


def test_a_deadline_before_the_body_loses_no_response(served: Wire) -> None:
    """A client that is still sending its body can read the 504 before the close."""
    body = json.dumps(PASSENGER).encode()
    fields = "\r\n".join(
        [
            "host: x",
            "content-type: application/json",
            "connect-protocol-version: 1",
            "connect-timeout-ms: 1",
            f"content-length: {len(body)}",
        ]
    )
    with served.connect() as connection:
        connection.sendall(f"POST {RPC} HTTP/1.1\r\n{fields}\r\n\r\n".encode())
        ((status, headers, answer),) = served.read(connection)
        assert (status, json.loads(answer)["code"], headers["connection"]) == (504, "deadline_exceeded", "close")
        served.turn()
        connection.sendall(body)
        assert served.during(lambda: connection.recv(1)) == b""

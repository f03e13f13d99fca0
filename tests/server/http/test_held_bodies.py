"""Incomplete HTTP/1.1 bodies: limits of bytes and of time."""

import json
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.passenger import PASSENGER
from tests.server.support.process import HUNG_S, connect, read_response, serving

BODY = json.dumps(PASSENGER).encode().ljust(50_000)
MAX_HELD_BYTES = 120_000
JSON = b"content-type: application/json\r\n"
PATHS = {
    "fast path": (b"/api/predict", JSON),
    "uvicorn": (b"/api/predict", b"content-type: application/json; charset=utf-8\r\n"),
    "explain": (b"/api/explain", JSON),
    "tensors": (b"/v2/models/titanic/infer", JSON),
    "call": (b"/lifeboat.titanic.v1.TitanicService/Predict", JSON),
    "large call": (b"/lifeboat.titanic.v1.TitanicService/Predict", JSON + b"connect-timeout-ms: 60000\r\n"),
}
STREAM = (b"/lifeboat.titanic.v1.TitanicService/PredictStream", b"content-type: application/connect+json\r\n")


@pytest.fixture(scope="module")
def narrow() -> Iterator[httpx.Client]:
    """Yield a client of a server whose held bytes limit fits two bodies."""
    with serving(LIFEBOAT_MAX_HELD_BYTES=str(MAX_HELD_BYTES)) as client:
        yield client


@pytest.fixture(scope="module")
def hasty() -> Iterator[httpx.Client]:
    """Yield a client of a server with a body timeout of one second."""
    with serving(LIFEBOAT_BODY_TIMEOUT_S="1") as client:
        yield client


def _begin(connection: socket.socket, name: str, body: bytes = BODY, *, chunked: bool = False) -> None:
    """Send all of a request except its last byte or chunk."""
    path, kind = PATHS.get(name, STREAM)
    length = b"transfer-encoding: chunked\r\n" if chunked else b"content-length: %d\r\n" % len(body)
    connection.sendall(b"POST %b HTTP/1.1\r\nhost: x\r\n%b%b\r\n" % (path, kind, length))
    connection.sendall(b"%x\r\n%b\r\n" % (len(body), body) if chunked else body[:-1])


def _rejected(connections: list[socket.socket], number: int) -> list[socket.socket]:
    """Return the first `number` connections that have a response; each must be 429 with Retry-After."""
    found: list[socket.socket] = []
    while len(found) < number:
        readable, _, _ = select.select([each for each in connections if each not in found], [], [], HUNG_S)
        assert readable
        for connection in readable:
            status, headers, body = read_response(connection)
            assert (status, json.loads(body)["code"]) == (429, "resource_exhausted")
            assert int(headers["retry-after"]) > 0
        found += readable
    return found


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("name", PATHS)
def test_bodies_over_the_limit(narrow: httpx.Client, name: str, chunked: bool) -> None:
    """A body above the held bytes limit gets 429 early; held bodies get their responses."""
    end = b"0\r\n\r\n" if chunked else b" "
    with ExitStack() as stack:
        for _ in range(2):  # the second round needs the bytes that the first one released
            connections = [stack.enter_context(connect(narrow)) for _ in range(5)]
            for connection in connections:
                _begin(connection, name, chunked=chunked)
            rejected = _rejected(connections, 3)
            for connection in connections:
                connection.sendall(end)
            held = [connection for connection in connections if connection not in rejected]
            assert {read_response(connection)[0] for connection in held} <= {200, 400}  # 400: tensors are not a record
            for connection in rejected:  # the connection still serves requests: the rest of the body is dropped
                connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
                assert read_response(connection)[0] == 200


@pytest.mark.parametrize("name", PATHS)
def test_bodies_whose_clients_leave(narrow: httpx.Client, name: str) -> None:
    """The bytes of a body are released when its client disconnects."""
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(narrow)) for _ in range(5)]
        for connection in connections:
            _begin(connection, name)
        _rejected(connections, 3)
    with ExitStack() as stack:
        while True:
            connection = stack.enter_context(connect(narrow))
            _begin(connection, name)
            connection.sendall(b" ")
            if read_response(connection)[0] != 429:
                break  # the server has noticed the disconnected clients


def test_a_large_body_alone(narrow: httpx.Client) -> None:
    """A body above the limit is accepted alone: a low limit never blocks all requests."""
    large = json.dumps(PASSENGER).encode().ljust(5 * MAX_HELD_BYTES)
    while (answered := narrow.post("/api/predict", content=large)).status_code == 429:
        pass  # until the bodies of the previous tests are dropped
    assert answered.status_code == 200


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("name", PATHS)
def test_a_body_that_takes_too_long(hasty: httpx.Client, name: str, chunked: bool) -> None:
    """A body still incomplete after the timeout gets 408 or 504, and the connection closes."""
    with connect(hasty) as connection:
        _begin(connection, name, b"{" * 100, chunked=chunked)
        status, headers, body = read_response(connection)
        assert connection.recv(1) == b""
    assert (status, json.loads(body)["code"]) == (504 if "call" in name else 408, "deadline_exceeded")
    assert headers["connection"] == "close"


def test_a_message_that_takes_too_long(hasty: httpx.Client) -> None:
    """In a stream the body timeout applies to each message, not to the stream."""
    with connect(hasty) as connection:
        _begin(connection, "stream", b"\x00\x00\x00\x00\x64" + b"{" * 100)
        received = b""
        while b'"deadline_exceeded"' not in received:
            data = connection.recv(65_536)
            assert data, received
            received += data


@pytest.mark.parametrize("head", [b"P", b"POST /api/predict HTTP/1.1\r\nhost: x\r\nx-slow: ", b"\r\n\r\nGET / HTTP"])
def test_a_head_that_takes_too_long(hasty: httpx.Client, head: bytes) -> None:
    """A request head still incomplete after the timeout gets 408, also on a reused connection."""
    for before in (b"", b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"):
        with connect(hasty) as connection:
            connection.sendall(before + head)
            if before:
                assert read_response(connection)[0] == 200
            status, headers, body = read_response(connection)
            assert connection.recv(1) == b""
        assert (status, json.loads(body)["code"], headers["connection"]) == (408, "deadline_exceeded", "close")


def test_a_connection_that_says_nothing(hasty: httpx.Client) -> None:
    """A connection without any request bytes closes without a response."""
    with connect(hasty) as connection:
        assert connection.recv(1) == b""


@pytest.mark.parametrize("name", ["fast path", "uvicorn"])
def test_a_dripping_body(hasty: httpx.Client, name: str) -> None:
    """Single bytes don't extend the body timeout; a sending client can read the 408."""
    path, kind = PATHS[name]
    with connect(hasty) as connection:
        connection.sendall(b"POST %b HTTP/1.1\r\nhost: x\r\n%bcontent-length: 10000\r\n\r\n" % (path, kind))
        for _ in range(10_000):
            connection.sendall(b"{")
            if select.select([connection], [], [], 0.1)[0]:
                break
        connection.sendall(b"{")
        status, _, body = read_response(connection)
    assert (status, json.loads(body)["code"]) == (408, "deadline_exceeded")


def test_a_response_that_is_not_read(hasty: httpx.Client) -> None:
    """A connection closes if its client reads none of the data that waits for it."""

    def descriptors() -> int:
        return int(float(hasty.get("/metrics").text.partition("\nprocess_open_fds ")[2].partition("\n")[0]))

    hasty.get("/api/openapi.json")
    before = descriptors()
    with connect(hasty) as connection:
        connection.settimeout(0.2)
        try:
            while True:
                connection.sendall(b"GET /api/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 100)
        except (TimeoutError, ConnectionError):  # the server has stopped reading
            pass
        while descriptors() > before:
            pass

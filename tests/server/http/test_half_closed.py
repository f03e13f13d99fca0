"""HTTP/1.1 clients that close their sending side after the last request, as `nc -N` does."""

import gzip
import json
import re
import socket
import time
from typing import Final

import pytest

from tests.passenger import PASSENGER
from tests.server.support.process import HUNG_S, read_response
from tests.server.support.wire import Wire, post

CARD: Final = "/api/models/titanic/card"
PACKED: Final = gzip.compress(json.dumps({"records": [PASSENGER] * 5000}).encode())
LARGE: Final = (
    f"POST /api/predict HTTP/1.1\r\nhost: x\r\ncontent-encoding: gzip\r\ncontent-length: {len(PACKED)}\r\n\r\n".encode()
    + PACKED
)
"""A request that the server decompresses and runs in a thread."""


def get(path: str) -> bytes:
    """Return the bytes of a GET request."""
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


def half_closed(served: Wire, sent: bytes) -> socket.socket:
    """Return a connection whose client sent `sent` and closed its side before the server reads."""
    connection = served.connect()
    connection.sendall(sent)
    connection.shutdown(socket.SHUT_WR)
    return connection


@pytest.mark.parametrize(
    "request_bytes",
    [
        get("/v2/health/live"),
        get(CARD),
        get("/metrics"),
        get("/api/openapi.json"),
        get("/?model=titanic"),
        post("/api/predict", PASSENGER),
        post("/api/predict", PASSENGER, "content-type: application/json; charset=utf-8"),
        post("/v2/repository/index", {}),
    ],
    ids=lambda sent: sent.split()[1].decode(),
)
def test_a_response_after_the_end_of_requests(served: Wire, request_bytes: bytes) -> None:
    """The last request gets its response on both paths; then the connection closes."""
    with half_closed(served, request_bytes) as connection:
        assert served.read(connection)[0][0] == 200
        assert served.during(lambda: connection.recv(1)) == b""


def test_all_requests_before_the_end_are_answered(served: Wire) -> None:
    """Pipelined requests all get their responses, in order."""
    with half_closed(served, get(CARD) + get("/nothing") + post("/api/predict", PASSENGER)) as connection:
        received = served.during(lambda: b"".join(iter(lambda: connection.recv(65_536), b"")))
    assert re.findall(rb"HTTP/1\.1 (\d+)", received) == [b"200", b"404", b"200"]


@pytest.mark.parametrize("sent", [b"", b"GET /v2", post("/api/explain", PASSENGER)[:-1]], ids=["none", "head", "body"])
def test_requests_that_never_become_whole(served: Wire, sent: bytes) -> None:
    """A connection without a complete request is closed at once."""
    with half_closed(served, sent) as connection:
        assert served.during(lambda: connection.recv(1)) == b""


@pytest.mark.parametrize("request_bytes", [post("/api/explain", PASSENGER), LARGE], ids=["explain", "large"])
def test_work_that_ends_when_a_client_leaves(served: Wire, request_bytes: bytes) -> None:
    """Long-running requests end with 499, because a half-closed connection looks like a disconnect."""
    with half_closed(served, request_bytes) as connection:
        status, _, body = served.read(connection)[0]
        assert (status, json.loads(body)["code"]) == (499, "canceled")
        assert served.during(lambda: connection.recv(1)) == b""


def test_a_client_that_has_left_for_good(served: Wire) -> None:
    """A client that closed the whole connection leaves no connection or task behind."""
    for path in (CARD, "/metrics", "/nothing"):
        half_closed(served, get(path)).close()
    with served.connect() as connection:
        connection.sendall(get("/v2/health/live"))
        assert served.during(lambda: read_response(connection))[0] == 200
    end_s = time.monotonic() + HUNG_S
    while (served.state.connections or served.state.tasks) and time.monotonic() < end_s:
        served.turn()  # a thread reads the model card
    assert not served.state.connections
    assert not served.state.tasks

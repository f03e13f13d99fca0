"""Tests of API keys, rate limits, CORS, size limits, and settings for the server."""

import json
import socket
from collections.abc import Iterator
from http.client import HTTPResponse

import pytest

from tests.edge import doors
from tests.edge.conftest import running
from tests.edge.doors import HASHES, KEY, OTHER, RATE
from tests.edge.stack import CALL_S, Edge, Local, options
from tests.passenger import PASSENGER


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """Run the Worker with authentication, rate limits and CORS."""
    folder = tmp_path_factory.mktemp("guarded")
    origins = "https://app.example"
    given = options(
        API_KEYS=HASHES, CORS_ORIGINS=origins, LIFEBOAT_MAX_ROWS=7, LOG_REQUESTS="all", BODY_TIMEOUT_MS=1000
    )
    yield from running(folder, *doors.configuration(folder), *given)


def _exchanged(edge: Edge, head: str, body: bytes) -> tuple[int, bytes]:
    """Send a POST with a head that client libraries reject; return the response's status and body."""
    url = edge.http.base_url
    with socket.create_connection((url.host, url.port), timeout=CALL_S) as connection:
        start = f"POST /api/predict HTTP/1.1\r\nhost: edge\r\nx-api-key: {OTHER}\r\nconnection: close\r\n{head}\r\n"
        connection.sendall(start.encode() + body)
        response = HTTPResponse(connection)
        response.begin()
        return response.status, response.read()


def test_a_key_is_needed(guarded: Local) -> None:
    """A request without a key, or with a wrong one, is rejected and starts no container."""
    doors.a_key_is_needed(guarded.edge, guarded.engine)


def test_each_key_passes(guarded: Local) -> None:
    """Each configured key is accepted, and the log has the key's name but not the key."""
    mark = len(guarded.edge.log.lines)
    for headers in ({"x-api-key": OTHER}, {"authorization": f"Bearer {KEY}"}):
        assert guarded.edge.predict(headers=headers).status_code == 200
    guarded.edge.log.wait_for(r'"instance":"inference-0".*"key":"mobile"', after=mark)
    assert KEY not in "".join(guarded.edge.log.lines[mark:])


def test_a_kept_answer_needs_a_key_too(guarded: Local) -> None:
    """A cached response needs a key too, and is marked `private`."""
    query = {name: str(value) for name, value in PASSENGER.items()}
    answers = [guarded.edge.http.get("/api/predict", params=query, headers={"x-api-key": OTHER}) for _ in range(2)]
    assert [each.headers["lifeboat-cache"] for each in answers] == ["miss", "hit"]
    for each in answers:
        assert each.headers["cache-control"].split(", ")[0] == "private"
    assert guarded.edge.http.get("/api/predict", params=query).status_code == 401


def test_other_origins_are_let_in_by_name(guarded: Local) -> None:
    """A preflight from a configured origin succeeds without a key; another origin gets no CORS headers."""
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "connect-protocol-version"}
    for origin, leave in (("https://app.example", "https://app.example"), ("https://evil.example", None)):
        response = guarded.edge.http.options("/api/predict", headers=asks | {"origin": origin})
        assert response.headers.get("access-control-allow-origin") == leave
    answer = guarded.edge.predict(headers={"x-api-key": OTHER, "origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"


def test_settings_reach_the_server(guarded: Local) -> None:
    """A server setting among the Worker's variables or secrets reaches the server's environment."""
    response = guarded.edge.predict({"records": [PASSENGER] * 8}, headers={"x-api-key": OTHER})
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


def test_a_large_body_is_refused_by_its_length(guarded: Local) -> None:
    """The Worker rejects a body above the limit with the server's own error code."""
    response = guarded.edge.http.post("/api/predict", content=b" " * 4_194_305, headers={"x-api-key": OTHER})
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize(
    "name", ["content-length", "inference-header-content-length", "x-request-timeout-ms", "grpc-timeout"]
)
def test_a_number_of_thousands_of_digits_is_refused(guarded: Local, name: str) -> None:
    """A header with a number of thousands of digits is rejected with 4xx."""
    head = f"{name}: {'9' * 5000}\r\n" + ("" if name == "content-length" else "content-length: 2\r\n")
    status, _ = _exchanged(guarded.edge, head, b"{}")
    assert 400 <= status < 500
    assert guarded.edge.predict(headers={"x-api-key": OTHER}).status_code == 200


def test_a_body_that_stalls_is_refused_in_time(guarded: Local) -> None:
    """A body that stalls is rejected with 408 and blocks no instance."""
    status, body = _exchanged(guarded.edge, "content-length: 100\r\n", b"{")
    assert (status, json.loads(body)["code"]) == (408, "deadline_exceeded")
    assert guarded.edge.predict(headers={"x-api-key": OTHER}).status_code == 200


def test_a_log_line_is_of_bounded_length(guarded: Local) -> None:
    """A request's log line stays short, however long its headers and path are."""
    mark = len(guarded.edge.log.lines)
    names = ("traceparent", "tracestate", "user-agent", "x-request-id", "cf-ray")
    long = dict.fromkeys(names, "x" * 5000)
    path = f"/api/models/{'x' * 5000}"
    assert guarded.edge.http.get(path, headers=long | {"x-api-key": OTHER}).status_code == 404
    line = guarded.edge.log.wait_for(r'\{"id":.*"path":"/api/models/xxx.*\}', after=mark)[0]
    assert len(line) < 700


def test_a_key_is_held_to_its_rate(guarded: Local) -> None:
    """A client above the rate limit gets 429 with Retry-After; a client with another key does not."""
    answers = [guarded.edge.predict(headers={"x-api-key": KEY}) for _ in range(RATE + 1)]
    refused = [each for each in answers if each.status_code == 429]
    assert refused
    assert (refused[0].json()["code"], int(refused[0].headers["retry-after"]) > 0) == ("resource_exhausted", True)
    assert guarded.edge.predict(headers={"x-api-key": OTHER}).status_code == 200

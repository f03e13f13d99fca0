"""Where a request ends: upgrades, trailers, chunk extensions and ambiguous request heads."""

import json
import re
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.passenger import PASSENGER
from tests.server.support.process import connect, read_response, serving

BODY = json.dumps(PASSENGER).encode()
INNER = b"GET /api/models HTTP/1.1\r\nhost: victim\r\n\r\n"
SHORT, LONG = b"content-type: application/json\r\n", b"content-type: application/json; charset=utf-8\r\n"
MAX_HEADER_BYTES = 2_000
TOKEN = "s3cret"  # noqa: S105 # of the server that these tests start


@pytest.fixture(scope="module", params=["0", "1"], ids=["http1", "http2"])
def framed(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """Yield a client of an HTTP/1.1 server, with and without HTTP/2 enabled."""
    with serving(
        LIFEBOAT_HTTP2=request.param, LIFEBOAT_ADMIN_TOKEN=TOKEN, LIFEBOAT_MAX_HEADER_BYTES=str(MAX_HEADER_BYTES)
    ) as client:
        yield client


def _chunked(body: bytes, trailers: bytes = b"", extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n0\r\n%b\r\n" % (len(body), extension, body, trailers)


def _head(*fields: bytes, path: bytes = b"/api/predict") -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: x\r\n%b\r\n" % (path, b"".join(fields))


def _until_closed(connection: socket.socket) -> bytes:
    """Return all bytes until the server closes the connection."""
    received = b""
    while data := connection.recv(65_536):
        received += data
    return received


def _statuses(connection: socket.socket, *segments: bytes) -> list[int]:
    """Send segments and one more request with `connection: close`; return the statuses of all responses."""
    for segment in segments:
        connection.sendall(segment)
    connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", _until_closed(connection))]


@pytest.mark.parametrize("token", [b"websocket", b"h2c", b"TLS/1.0, anything"])
@pytest.mark.parametrize("kind", [SHORT, LONG], ids=["fast path", "uvicorn"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("apart", [True, False], ids=["two segments", "one segment"])
def test_an_upgrade_is_ignored(framed: httpx.Client, token: bytes, kind: bytes, framing: str, apart: bool) -> None:
    """An upgrade offer is ignored; the body is never read as a request."""
    offer = b"Connection: keep-alive, UPGRADE\r\nuPgrade: " + token + b"\r\n"
    statuses = []
    for body in (BODY, INNER):
        whole = framing == "length"
        length = b"content-length: %d\r\n" % len(body) if whole else b"transfer-encoding: chunked\r\n"
        head, sent = _head(kind, offer, length), body if whole else _chunked(body)
        with connect(framed) as connection:
            if apart:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.sendall(head)
                assert framed.get("/v2/health/live").status_code == 200  # the server has read the head by now
                statuses += _statuses(connection, sent[:7], sent[7:], head + sent)
            else:
                statuses += _statuses(connection, (head + sent) * 2)
    assert statuses == [200, 200, 200, 400, 400, 200]


def test_every_path_ignores_an_upgrade(framed: httpx.Client) -> None:
    """Requests without a body and file uploads also ignore an upgrade offer."""
    offer = {"connection": "upgrade", "upgrade": "h2c"}
    assert framed.get("/api/models", headers=offer).status_code == 200
    assert framed.get("/", headers=offer | {"upgrade": "websocket"}).status_code == 200
    rows = b"pclass,sex,sibsp,parch\n1,female,0,0\n"
    scored = framed.post("/api/batch", content=rows, headers=offer | {"content-type": "text/csv"})
    assert (scored.status_code, scored.text.count("\n")) == (200, 2)


def test_connect_is_rejected(framed: httpx.Client) -> None:
    """CONNECT gets 501, the bytes after it are not read, and the connection closes."""
    with connect(framed) as connection:
        connection.sendall(b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n" + INNER)
        received = _until_closed(connection)
    assert received.startswith(b"HTTP/1.1 501 ")
    assert received.count(b"HTTP/1.1 ") == 1
    assert b'"unimplemented"' in received


@pytest.mark.parametrize("kind", [SHORT, LONG], ids=["fast path", "uvicorn"])
@pytest.mark.parametrize(
    "trailer",
    [b"x-request-timeout-ms: 0", b"content-encoding: gzip", b"inference-header-content-length: 3", b"host: y"],
)
def test_trailers_are_dropped(framed: httpx.Client, kind: bytes, trailer: bytes) -> None:
    """Trailers never act as headers, neither of their request nor of the next one."""
    request = _head(kind, b"transfer-encoding: chunked\r\n") + _chunked(BODY, trailer + b"\r\n")
    with connect(framed) as connection:
        assert _statuses(connection, request, request) == [200, 200, 200]


def test_a_token_in_a_trailer_opens_nothing(framed: httpx.Client) -> None:
    """Model control ignores a token in a trailer."""
    head = _head(b"transfer-encoding: chunked\r\n", path=b"/v2/repository/models/titanic/load")
    with connect(framed) as connection:
        connection.sendall(head + _chunked(b"{}", b"authorization: Bearer " + TOKEN.encode() + b"\r\n"))
        assert read_response(connection)[0] == 401


@pytest.mark.parametrize("kind", [SHORT, LONG], ids=["fast path", "uvicorn"])
@pytest.mark.parametrize(
    "last",
    [
        b"0\r\n" + b"a: b\r\n" * 400 + b"\r\n",
        b"0\r\na: " + b"b" * 70_000,
        b"0\r\n" + b"b" * 70_000,
        b"1;" + b"b" * 70_000,
    ],
    ids=["many trailers", "a long value", "a long name", "a long chunk extension"],
)
@pytest.mark.parametrize("apart", [True, False], ids=["apart", "at once"])
def test_what_frames_a_chunked_body_is_limited(framed: httpx.Client, kind: bytes, last: bytes, apart: bool) -> None:
    """Trailers and chunk extensions above the header limit get 413, and the connection closes."""
    begin = _head(kind, b"transfer-encoding: chunked\r\n") + b"1\r\n{\r\n"
    with connect(framed) as connection:
        for piece in (begin, last) if apart else (begin + last,):
            connection.sendall(piece)
        status, headers, body = read_response(connection)
    assert (status, headers["connection"], json.loads(body)["field"]) == (413, "close", "headers")


def test_chunk_extensions_within_the_limit(framed: httpx.Client) -> None:
    """A chunk extension within the limit has no effect."""
    request = _head(b"transfer-encoding: chunked\r\n") + _chunked(BODY, b"a: b\r\n" * 10, b";name=value")
    with connect(framed) as connection:
        assert _statuses(connection, request) == [200, 200]


@pytest.mark.parametrize(
    ("head", "status", "field"),
    [
        (b"POST /api/predict HTTP/1.1\r\ncontent-length: 2\r\n", 400, "host"),
        (b"POST /api/predict HTTP/1.1\r\nhost: x\r\nhost: x\r\ncontent-length: 2\r\n", 400, "host"),
        (b"GET /api/models HTTP/1.0\r\nhost: x\r\nhost: y\r\n", 400, "host"),
        (_head(b"transfer-encoding: gzip, chunked\r\n")[:-2], 501, "transfer-encoding"),
        (_head(b"transfer-encoding: gzip\r\n")[:-2], 501, "transfer-encoding"),
        (_head(b"transfer-encoding: identity\r\n")[:-2], 501, "transfer-encoding"),
        (b"POST /api/predict HTTP/1.0\r\ntransfer-encoding: chunked\r\n", 400, "transfer-encoding"),
        (_head(b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n")[:-2], 400, None),
        (_head(b"transfer-encoding: chunked\r\ncontent-length: 2\r\n")[:-2], 400, None),
        (_head(b"content-length: 2\r\ntransfer-encoding: chunked\r\n")[:-2], 400, None),
        (_head(b"content-length: 2\r\ncontent-length: 3\r\n")[:-2], 400, None),
        (_head(b"content-length: 2, 2\r\n")[:-2], 400, None),
        (_head(b"content-length : 2\r\n")[:-2], 400, None),
        (_head(b"content-length: +2\r\n")[:-2], 400, None),
        (b"GET /api/models HTTP/2.0\r\nhost: x\r\n", 400, None),
    ],
)
def test_a_head_that_can_be_read_in_two_ways(framed: httpx.Client, head: bytes, status: int, field: str | None) -> None:
    """An ambiguous request head is rejected, and the connection closes without reading more."""
    with connect(framed) as connection:
        connection.sendall(head + b"\r\n{}" + INNER)
        received = _until_closed(connection)
    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert received.count(b"HTTP/1.1 ") == 1
    assert json.loads(received.partition(b"\r\n\r\n")[2]).get("field") == field


def test_a_rejection_waits_for_its_turn(framed: httpx.Client) -> None:
    """The rejection of a pipelined request is sent after the responses to earlier requests."""
    request = _head(LONG, b"content-length: %d\r\n" % len(BODY)) + BODY
    for rejected, status in ((b"nonsense\r\n\r\n", b"400"), (b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n", b"501")):
        with connect(framed) as connection:
            connection.sendall(request * 2 + rejected)
            received = _until_closed(connection)
        assert re.findall(rb"HTTP/1\.1 (\d+)", received) == [b"200", b"200", status]


def test_http_1_0_needs_no_host(framed: httpx.Client) -> None:
    """An HTTP/1.0 request without a Host header is accepted."""
    with connect(framed) as connection:
        connection.sendall(b"GET /v2/health/live HTTP/1.0\r\n\r\n")
        assert read_response(connection)[0] == 200


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/v2/models/titanic/infer", "inference-header-content-length"),
        ("/api/predict", "x-request-timeout-ms"),
        ("/api/explain", "x-request-timeout-ms"),
        ("/inference.GRPCInferenceService/ModelReady", "connect-timeout-ms"),
    ],
)
@pytest.mark.parametrize("digits", [b"9" * 4_301, b"0" * 4_301, b"\xb2", b"1_0", b"-1", b""])
def test_numbers_in_headers(server: httpx.Client, path: str, header: str, digits: bytes) -> None:
    """A header number with too many or non-ASCII digits is rejected with 400."""
    kind = {b"content-type": b"application/json"}
    answered = server.post(path, content=b"{}", headers=kind | {header.encode(): digits})
    assert (answered.status_code, answered.json()["code"]) == (400, "invalid_argument")


@pytest.mark.parametrize("path", [b"/api/predict", b"/api/explain", b"/v2/models/titanic/infer"])
def test_a_length_of_many_zeros(server: httpx.Client, path: bytes) -> None:
    """A content-length with more digits than Python parses is rejected with 400 by every handler."""
    length = b"content-length: " + b"0" * 4_300 + b"%d\r\n" % len(BODY)
    with connect(server) as connection:
        connection.sendall(_head(length, path=path) + BODY)
        status, _, body = read_response(connection)
    assert (status, json.loads(body)["field"]) == (400, "content-length")

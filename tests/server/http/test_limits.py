"""Limits and content types: requests that are rejected before or without reading them."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.models.repository import Repository
from server.settings import Settings
from tests.server.support import small
from tests.server.support.in_process import InProcess
from tests.server.support.process import connect, read_response, serving

PREDICT = "/api/predict"
INFER = "/v2/models/titanic/infer"
MAX_BODY_BYTES = 2000


@pytest.fixture(scope="module")
def small_server() -> Iterator[httpx.Client]:
    """Yield a client of a server with limits of three rows and 2000 bytes."""
    with serving(LIFEBOAT_MAX_ROWS="3", LIFEBOAT_MAX_BODY_BYTES=str(MAX_BODY_BYTES)) as client:
        yield client


def test_rows_up_to_the_limit(small_server: httpx.Client, passenger: dict[str, Any]) -> None:
    """A request with exactly the maximum number of records gets its predictions."""
    assert len(small_server.post(PREDICT, json={"records": [passenger] * 3}).json()["predictions"]) == 3


def test_too_many_records(small_server: httpx.Client, passenger: dict[str, Any]) -> None:
    """One record above the limit is rejected with 413."""
    response = small_server.post(PREDICT, json={"records": [passenger] * 4})
    assert response.status_code == 413
    words = "records: expected at most 3, got 4"
    assert response.json() == {"error": words, "code": "payload_too_large", "field": "records"}


def test_too_many_tensor_rows(small_server: httpx.Client) -> None:
    """One tensor row above the limit is rejected with 413."""
    pclass = {"name": "pclass", "shape": [4, 1], "datatype": "INT64", "data": [1] * 4}
    response = small_server.post(INFER, json={"inputs": [pclass]})
    assert response.status_code == 413
    words = "inputs: expected at most 3 rows, got 4"
    assert response.json() == {"error": words, "code": "payload_too_large", "field": "inputs"}


def test_body_up_to_the_limit(small_server: httpx.Client, passenger: dict[str, Any]) -> None:
    """A body of exactly the maximum size is accepted."""
    body = json.dumps(passenger).encode().ljust(MAX_BODY_BYTES)
    assert small_server.post(PREDICT, content=body).status_code == 200


@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_stated_length_over_the_limit(small_server: httpx.Client, path: str) -> None:
    """A content-length above the limit is rejected with 413 before any body byte is sent."""
    with connect(small_server) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
        connection.sendall(head.encode())
        status, _, body = read_response(connection)
    assert status == 413
    words = f"body: expected at most {MAX_BODY_BYTES} bytes"
    assert json.loads(body) == {"error": words, "code": "payload_too_large"}


@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_chunked_body_over_the_limit(small_server: httpx.Client, path: str) -> None:
    """A chunked body is rejected with 413 as soon as it exceeds the limit."""
    with connect(small_server) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(3):
            connection.sendall(b"400\r\n" + b" " * 0x400 + b"\r\n")
        status, _, body = read_response(connection)
    assert status == 413
    assert json.loads(body)["code"] == "payload_too_large"


def test_chunked_body_within_the_limit(small_server: httpx.Client, passenger: dict[str, Any]) -> None:
    """A chunked body within the limit is accepted."""
    pieces = (bytes([byte]) for byte in json.dumps(passenger).encode())
    assert small_server.post(PREDICT, content=pieces).status_code == 200


@pytest.mark.parametrize("length", ["-1", "1e3", "ten"])
def test_length_that_is_no_number(small_server: httpx.Client, passenger: dict[str, Any], length: str) -> None:
    """A content-length that isn't a number is rejected with 400, and the server keeps serving."""
    with connect(small_server) as connection:
        connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
        assert read_response(connection)[0] == 400
    assert small_server.post(PREDICT, json=passenger).status_code == 200


@pytest.mark.parametrize(
    "stated",
    [
        None,
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/x-www-form-urlencoded",
    ],
)
def test_content_types_taken(server: httpx.Client, passenger: dict[str, Any], stated: str | None) -> None:
    """JSON is accepted with a JSON content type, with none, and with curl's default."""
    headers = {} if stated is None else {"content-type": stated}
    assert server.post(PREDICT, content=json.dumps(passenger), headers=headers).status_code == 200


@pytest.mark.parametrize("path", [PREDICT, INFER])
@pytest.mark.parametrize("stated", ["text/csv", "application/xml", "multipart/form-data; boundary=x"])
def test_content_types_refused(server: httpx.Client, path: str, stated: str) -> None:
    """A content type unsupported by the path gets 415 and the expected type."""
    response = server.post(path, content=b"{}", headers={"content-type": stated})
    assert response.status_code == 415
    expected = "application/json" if path == PREDICT else "application/json or application/octet-stream"
    words = f'content-type: expected {expected}; got "{stated.partition(";")[0]}"'
    assert response.json() == {"error": words, "code": "unsupported_media_type"}


def test_content_encoding_refused(server: httpx.Client) -> None:
    """An unknown content encoding is rejected with 415."""
    response = server.post(PREDICT, content=b"{}", headers={"content-encoding": "br"})
    assert response.status_code == 415
    words = 'content-encoding: expected identity or gzip or deflate; got "br"'
    assert response.json() == {"error": words, "code": "unsupported_media_type"}


def _bare_deflate(data: bytes) -> bytes:
    pack = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return pack.compress(data) + pack.flush()


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", _bare_deflate)],
    ids=["gzip", "deflate", "bare deflate"],
)
def test_compressed_bodies(
    server: httpx.Client, passenger: dict[str, Any], encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    """Compressed and plain bodies get the same response; truncated or extended ones are rejected."""
    body = compress(json.dumps(passenger).encode())
    headers = {"content-encoding": encoding}
    assert server.post(PREDICT, content=body, headers=headers).json() == server.post(PREDICT, json=passenger).json()
    for wrong in (body[:-1], body[: len(body) // 2], body + b"more", b"", b"no such stream"):
        response = server.post(PREDICT, content=wrong, headers=headers)
        assert (response.status_code, response.json()["code"]) == (400, "invalid_argument"), wrong


def test_a_bomb_is_not_unpacked(small_server: httpx.Client) -> None:
    """A small body that decompresses to more than the limit is rejected with 413."""
    bomb = gzip.compress(b" " * 1_000_000)
    assert len(bomb) < MAX_BODY_BYTES
    response = small_server.post(PREDICT, content=bomb, headers={"content-encoding": "gzip"})
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


def test_content_encoding_identity(server: httpx.Client, passenger: dict[str, Any]) -> None:
    """A body with content encoding `identity` is accepted."""
    assert server.post(PREDICT, json=passenger, headers={"content-encoding": "identity"}).status_code == 200


@pytest.mark.parametrize("head", [b"x-long: " + b"a" * 70_000, b"x-many: a\r\n" * 8_000])
@pytest.mark.parametrize("ended", [True, False], ids=["whole", "unended"])
def test_a_head_over_the_limit(server: httpx.Client, passenger: dict[str, Any], head: bytes, ended: bool) -> None:
    """A request head above the limit gets 413, complete or not, and the connection closes."""
    with connect(server) as connection:
        connection.sendall(b"POST /api/predict HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n\r\n" * ended)
        status, headers, body = read_response(connection)
        assert (status, headers["connection"]) == (413, "close")
        words = "headers: expected at most 65536 bytes"
        assert json.loads(body) == {"error": words, "code": "payload_too_large", "field": "headers"}
    assert server.post(PREDICT, json=passenger).status_code == 200


@pytest.mark.parametrize("path", ["/api/predict", "/api/explain"])
def test_a_head_over_the_limit_behind_a_request(server: httpx.Client, passenger: dict[str, Any], path: str) -> None:
    """A pipelined head is measured from its first byte."""
    body = json.dumps(passenger).encode()
    before = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (path.encode(), len(body), body)
    with connect(server) as connection, connection.makefile("rb") as file:
        head = b"GET /api/models HTTP/1.1\r\nhost: x\r\nx-long: " + b"a" * 66_000 + b"\r\n\r\n"
        connection.sendall(before + head + before)
        statuses = [line.split()[1] for line in file if line.startswith(b"HTTP/1.1 ")]
    assert statuses in ([b"200"], [b"200", b"413"])


def test_a_head_up_to_the_limit(server: httpx.Client, passenger: dict[str, Any]) -> None:
    """A long head within the limit is accepted, also with a large body."""
    assert server.post(PREDICT, json=passenger, headers={"x-long": "a" * 60_000}).status_code == 200
    records = {"records": [passenger] * 2_000}
    assert server.post(PREDICT, json=records, headers={"x-long": "a" * 1_000}).status_code == 200


@pytest.mark.parametrize("path", ["/api/predict", "/v2/models/small/infer"])
def test_a_string_over_the_limit(tmp_path: Path, path: str) -> None:
    """A string above the byte limit gets 413 and its feature's name."""
    model = small.onnx_bytes(small.YES, opset=19)
    small.write(tmp_path, model, small.manifest(model, small.WORD, answers=[("yes", 1.0)]))
    with InProcess(Repository.load(tmp_path), Settings(max_string_bytes=6)) as app:
        for text, status in (("\u00e9" * 3, 200), ("\u00e9" * 3 + "e", 413)):
            tensor = {"name": "x", "shape": [1, 1], "datatype": "BYTES", "data": [text]}
            response = app.post(path, {"x": text} if path == PREDICT else {"inputs": [tensor]})
            assert response.status_code == status
        words = "x: expected strings of at most 6 bytes; got 7"
        assert response.json() == {"error": words, "code": "payload_too_large", "field": "x"}

"""Limits and content types: what is refused before, or without, being read."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.server.process import connect, read_response, serving

PREDICT = "/api/predict"
INFER = "/v2/models/titanic/infer"
MAX_BODY_BYTES = 2000


@pytest.fixture(scope="module")
def small_server() -> Iterator[httpx.Client]:
    """Yield a client of a server that takes three rows and 2000 bytes."""
    with serving(LIFEBOAT_MAX_ROWS="3", LIFEBOAT_MAX_BODY_BYTES=str(MAX_BODY_BYTES)) as client:
        yield client


def test_rows_up_to_the_limit(small_server: httpx.Client, passenger: dict[str, Any]) -> None:
    """As many records as the limit says are answered."""
    assert len(small_server.post(PREDICT, json={"records": [passenger] * 3}).json()["predictions"]) == 3


def test_too_many_records(small_server: httpx.Client, passenger: dict[str, Any]) -> None:
    """One record more than the limit is refused with 413."""
    response = small_server.post(PREDICT, json={"records": [passenger] * 4})
    assert response.status_code == 413
    words = "records: expected at most 3, got 4"
    assert response.json() == {"error": words, "code": "payload_too_large", "field": "records"}


def test_too_many_tensor_rows(small_server: httpx.Client) -> None:
    """One tensor row more than the limit is refused with 413."""
    pclass = {"name": "pclass", "shape": [4, 1], "datatype": "INT64", "data": [1] * 4}
    response = small_server.post(INFER, json={"inputs": [pclass]})
    assert response.status_code == 413
    words = "inputs: expected at most 3 rows, got 4"
    assert response.json() == {"error": words, "code": "payload_too_large", "field": "inputs"}


def test_body_up_to_the_limit(small_server: httpx.Client, passenger: dict[str, Any]) -> None:
    """A body of exactly the limit is read."""
    body = json.dumps(passenger).encode().ljust(MAX_BODY_BYTES)
    assert small_server.post(PREDICT, content=body).status_code == 200


@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_stated_length_over_the_limit(small_server: httpx.Client, path: str) -> None:
    """A body whose stated length is over the limit is refused with 413 before a byte of it is sent."""
    with connect(small_server) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
        connection.sendall(head.encode())
        status, _, body = read_response(connection)
    assert status == 413
    words = f"body: expected at most {MAX_BODY_BYTES} bytes"
    assert json.loads(body) == {"error": words, "code": "payload_too_large"}


@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_chunked_body_over_the_limit(small_server: httpx.Client, path: str) -> None:
    """A body of no stated length is refused with 413 as soon as it is over the limit, its end still unsent."""
    with connect(small_server) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(3):
            connection.sendall(b"400\r\n" + b" " * 0x400 + b"\r\n")
        status, _, body = read_response(connection)
    assert status == 413
    assert json.loads(body)["code"] == "payload_too_large"


def test_chunked_body_within_the_limit(small_server: httpx.Client, passenger: dict[str, Any]) -> None:
    """A body of no stated length that stays within the limit is answered."""
    pieces = (bytes([byte]) for byte in json.dumps(passenger).encode())
    assert small_server.post(PREDICT, content=pieces).status_code == 200


@pytest.mark.parametrize("length", ["-1", "1e3", "ten"])
def test_length_that_is_no_number(small_server: httpx.Client, passenger: dict[str, Any], length: str) -> None:
    """A content-length that is no number is refused with 400, and the server goes on."""
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
    """JSON is read as such where it is stated, and where nothing is stated, as curl's default states nothing."""
    headers = {} if stated is None else {"content-type": stated}
    assert server.post(PREDICT, content=json.dumps(passenger), headers=headers).status_code == 200


@pytest.mark.parametrize("path", [PREDICT, INFER])
@pytest.mark.parametrize("stated", ["text/csv", "application/octet-stream", "multipart/form-data; boundary=x"])
def test_content_types_refused(server: httpx.Client, path: str, stated: str) -> None:
    """A stated type other than JSON is refused with 415, naming what was expected."""
    response = server.post(path, content=b"{}", headers={"content-type": stated})
    assert response.status_code == 415
    words = f"content-type: expected application/json; got '{stated.partition(';')[0]}'"
    assert response.json() == {"error": words, "code": "unsupported_media_type"}


def test_content_encoding_refused(server: httpx.Client, passenger: dict[str, Any]) -> None:
    """A compressed body is refused with 415."""
    body = gzip.compress(json.dumps(passenger).encode())
    response = server.post(PREDICT, content=body, headers={"content-encoding": "gzip"})
    assert response.status_code == 415
    words = "content-encoding: expected identity; got 'gzip'"
    assert response.json() == {"error": words, "code": "unsupported_media_type"}


def test_content_encoding_identity(server: httpx.Client, passenger: dict[str, Any]) -> None:
    """A body stated to be as it is, is read."""
    assert server.post(PREDICT, json=passenger, headers={"content-encoding": "identity"}).status_code == 200

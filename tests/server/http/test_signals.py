"""SIGTERM and SIGINT while the server works: it exits with 0 within the drain time."""

import gzip
import json
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import httpx
import pytest

from tests.passenger import PASSENGER
from tests.server.support.frames import DATA, END_STREAM, PREFACE, SETTINGS, block, frame, head
from tests.server.support.process import HUNG_S, ServerProcess

CALLERS: Final = 8
BODIES: Final = {
    "flood": ("/api/predict", json.dumps(PASSENGER).encode(), {}),
    "large": ("/api/predict", json.dumps({"records": [PASSENGER] * 5000}).encode(), {}),
    "decode": ("/api/predict", gzip.compress(b"[" * 3_000_000), {"content-encoding": "gzip"}),
    "explain": ("/api/explain", json.dumps({"records": [PASSENGER] * 20}).encode(), {}),
    "metrics": ("/metrics", None, {}),
}


def endless(first: threading.Event) -> Iterator[bytes]:
    """Yield a file that never ends."""
    yield ",".join(PASSENGER).encode() + b"\n"
    while True:
        yield b"1,female,29,0,0,211.3375,S\n" * 1000
        first.set()


def ends(process: ServerProcess, number: int) -> None:
    """Send the signal twice; the server must exit with 0."""
    process.signal(number)
    process.signal(number)
    assert process.end() == 0, process.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", BODIES)
def test_a_signal_while_clients_call(name: str, number: int) -> None:
    """Many clients that send requests without a pause can't extend the drain."""
    path, body, headers = BODIES[name]
    begun = threading.Barrier(CALLERS + 1)

    def call(address: str) -> None:
        method = "GET" if body is None else "POST"
        with httpx.Client(base_url=address, timeout=HUNG_S) as client, suppress(httpx.HTTPError):
            client.request(method, path, content=body, headers=headers)
            begun.wait(HUNG_S)
            while True:  # until the port is closed
                client.request(method, path, content=body, headers=headers)

    with ServerProcess(LIFEBOAT_DRAIN_S="2") as process, ThreadPoolExecutor(CALLERS) as threads:
        host, port = process.address()
        for _ in range(CALLERS):
            threads.submit(call, f"http://{host}:{port}")
        begun.wait(HUNG_S)
        ends(process, number)
    assert "Traceback" not in process.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_file_comes(number: int) -> None:
    """A file upload without an end can't extend the drain."""
    first = threading.Event()

    def call(address: str) -> None:
        with (
            httpx.Client(base_url=address, timeout=HUNG_S) as client,
            suppress(httpx.HTTPError),
            client.stream(
                "PUT", "/api/batch", content=endless(first), headers={"content-type": "text/csv"}
            ) as response,
        ):
            response.read()

    with ServerProcess(LIFEBOAT_DRAIN_S="1") as process, ThreadPoolExecutor(1) as threads:
        host, port = process.address()
        threads.submit(call, f"http://{host}:{port}")
        assert first.wait(HUNG_S)
        ends(process, number)
    assert "Traceback" not in process.text


CARD: Final = "/api/models/titanic/card"
ROWS: Final = ",".join(PASSENGER).encode() + b"\n" + b"1,female,29,0,0,211.3375,S\n" * 500
CSV: Final = (b"content-type", b"text/csv")
GET_CARD: Final = head(path=CARD.encode(), method=b"GET")
BROKEN_OFF: Final = f"GET {CARD} aborted: the server is stopping"
FAILED: Final = "batch failed (unavailable: the server is stopping; try again)"
UNREAD: Final = {
    "response on HTTP/1.1": (f"GET {CARD} HTTP/1.1\r\nhost: x\r\n\r\n".encode() * 100, BROKEN_OFF),
    "response on HTTP/2": (
        PREFACE + frame(SETTINGS, 0, 0) + b"".join(block(stream, GET_CARD, END_STREAM) for stream in (1, 3, 5, 7)),
        BROKEN_OFF,
    ),
    "file on HTTP/1.1": (
        b"PUT /api/batch HTTP/1.1\r\nhost: x\r\ncontent-type: text/csv\r\ncontent-length: 999999\r\n\r\n" + ROWS,
        FAILED,
    ),
    "file on HTTP/2": (
        PREFACE
        + frame(SETTINGS, 0, 0)
        + block(1, head(CSV, path=b"/api/batch", method=b"PUT"))
        + frame(DATA, 0, 1, ROWS),
        FAILED,
    ),
}
"""Bytes of a client that stops reading its responses, and the expected log line."""


@pytest.mark.parametrize("name", UNREAD)
def test_a_signal_while_a_response_is_under_way(name: str) -> None:
    """A response still incomplete after the drain is cut off and logged, without a traceback."""
    sent, words = UNREAD[name]
    with (
        ServerProcess(LIFEBOAT_DRAIN_S="1", LIFEBOAT_HTTP2="1") as process,
        socket.create_connection(process.address(), timeout=HUNG_S) as connection,
    ):
        connection.sendall(sent)
        got = b""
        while b"text/" not in got:
            got += connection.recv(1024)
        ends(process, signal.SIGTERM)
    assert "Traceback" not in process.text
    assert words in process.text
    assert process.text.count(FAILED) <= 1
    assert "returned without" not in process.text

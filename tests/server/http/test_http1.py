"""Invalid HTTP/1.1, requests beyond the drain, memory of request bodies, and a port in use."""

import json
import signal
import socket
import struct
import sys
from contextlib import ExitStack

import httpx
import pytest

from tests.passenger import PASSENGER
from tests.server.support.process import ServerProcess, connect, read_response, serving


@pytest.mark.parametrize(
    "bytes_sent",
    [b"nonsense\r\n\r\n", b"POST /api/predict HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n"],
    ids=["request line", "content-length"],
)
def test_no_http_is_refused_in_the_envelope(server: httpx.Client, bytes_sent: bytes) -> None:
    """Bytes that aren't HTTP/1.1 get a 400 error response; other connections are served."""
    with connect(server) as connection:
        connection.sendall(bytes_sent)
        status, headers, body = read_response(connection)
    assert (status, headers["content-type"], json.loads(body)["code"]) == (400, "application/json", "invalid_argument")
    assert server.get("/v2/health/live").status_code == 200


def test_a_request_that_outlives_the_drain_is_told_to_go_elsewhere() -> None:
    """A request still incomplete at the drain's end gets 503 with Retry-After; exit code 0."""
    with ServerProcess(LIFEBOAT_DRAIN_S="1") as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}") as client, connect(client) as connection:
            connection.sendall(b"POST /api/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{")
            client.get("/v2/health/live")
            process.signal(signal.SIGTERM)
            status, headers, body = read_response(connection)
        assert (status, json.loads(body)["code"]) == (503, "unavailable")
        assert int(headers["retry-after"]) > 0
        assert process.end() == 0


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8"], ids=["short", "long"])
def test_a_request_that_waits_past_the_drain_is_told_to_go_elsewhere(kind: str) -> None:
    """A complete request still queued at the end of the drain gets 503 with Retry-After."""
    with ServerProcess(LIFEBOAT_DRAIN_S="0", LIFEBOAT_QUEUE_DELAY_US="1000000") as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}") as client, connect(client) as connection:
            body = json.dumps(PASSENGER).encode()
            head = (
                f"POST /api/predict HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            connection.sendall(head.encode() + body)
            while 'pending_request_count{model="titanic",version="1"} 1' not in client.get("/metrics").text:
                pass
            process.signal(signal.SIGTERM)
            status, headers, answer = read_response(connection)
        assert (status, json.loads(answer)["code"]) == (503, "unavailable")
        assert int(headers["retry-after"]) > 0
        assert process.end() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the process's memory is told on Linux only")
@pytest.mark.parametrize("ending", ["reset", "idle"])
def test_an_answered_body_is_held_no_longer(ending: str) -> None:
    """A request body is freed after its response, whether the connection closes or stays open."""

    def resident(client: httpx.Client) -> float:
        text = client.get("/metrics").text
        return float(text.partition("\nprocess_resident_memory_bytes ")[2].partition("\n")[0])

    body = json.dumps(PASSENGER).encode().ljust(64_000)
    request = b"POST /api/predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    with serving() as client, ExitStack() as open_ones:
        before = 0.0
        for number in range(600):
            connection = connect(client)
            connection.sendall(request)
            assert read_response(connection)[0] == 200
            if ending == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
            else:
                open_ones.enter_context(connection)
            if number == 100:
                before = resident(client)
        assert resident(client) - before < 15e6


def test_a_taken_port_is_told(server: httpx.Client) -> None:
    """A server exits with 1 if its port is in use, and names the settings."""
    with ServerProcess(PORT=str(server.base_url.port)) as process:
        assert process.end() == 1
        assert f"can't listen on 127.0.0.1 port {server.base_url.port}: set LIFEBOAT_HOST or PORT" in process.text

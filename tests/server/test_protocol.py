"""Bytes that are no HTTP, and requests that outlive the drain."""

import json
import signal

import httpx
import pytest

from tests.server.process import ServerProcess, connect, read_response


@pytest.mark.parametrize(
    "bytes_sent",
    [b"nonsense\r\n\r\n", b"POST /api/predict HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n"],
    ids=["request line", "content-length"],
)
def test_no_http_is_refused_in_the_envelope(server: httpx.Client, bytes_sent: bytes) -> None:
    """Bytes that aren't HTTP/1.1 are answered 400 in the error envelope, and the server still answers others."""
    with connect(server) as connection:
        connection.sendall(bytes_sent)
        status, headers, body = read_response(connection)
    assert (status, headers["content-type"], json.loads(body)["code"]) == (400, "application/json", "invalid_argument")
    assert server.get("/v2/health/live").status_code == 200


def test_a_request_that_outlives_the_drain_is_told_to_go_elsewhere() -> None:
    """A request that isn't whole when the drain's time is up is answered 503 with Retry-After; the exit code is 0."""
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


def test_a_taken_port_is_told(server: httpx.Client) -> None:
    """A server whose port is taken ends with 1, naming the settings that help."""
    with ServerProcess(PORT=str(server.base_url.port)) as process:
        assert process.end() == 1
        assert f"can't listen on 127.0.0.1 port {server.base_url.port}: set LIFEBOAT_HOST or PORT" in process.text

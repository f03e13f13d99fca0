"""`python -m server`: starts that are rejected, warnings, and shutdown."""

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.server.support import small
from tests.server.support.process import HUNG_S, ServerProcess, read_response


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def _refuses(port: int) -> bool:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=HUNG_S)
    return True


def test_tampered_model(models: Path) -> None:
    """A model that differs from its manifest's digest stops the start; the port never opens."""
    path = models / "titanic" / "1" / "model.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    port = _free_port()
    with ServerProcess(LIFEBOAT_MODELS=str(models), PORT=str(port)) as process:
        assert process.end() == 1
    assert "model 'titanic' version 1: model.onnx: expected SHA-256" in process.text
    assert "Traceback" not in process.text
    assert "Uvicorn running" not in process.text
    assert _refuses(port)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("PORT", "eighty", 'PORT: expected a whole number from 0 to 65535; got "eighty"'),
        ("LIFEBOAT_MAX_ROWS", "0", 'LIFEBOAT_MAX_ROWS: expected a whole number from 1 to 2147483648; got "0"'),
        ("LIFEBOAT_DEFAULT_MODEL", "nobody", "LIFEBOAT_DEFAULT_MODEL: 'nobody' is not among titanic"),
        ("LIFEBOAT_MODELS", "/nowhere", "/nowhere: there is no such folder"),
    ],
)
def test_wrong_setting(variable: str, value: str, words: str) -> None:
    """An invalid setting stops the start with one log line that names the problem."""
    with ServerProcess(**{variable: value}) as process:
        assert process.end() == 1
    assert len(process.log) == 1 or variable == "LIFEBOAT_DEFAULT_MODEL"
    assert json.dumps(words)[1:-1] in process.log[-1]


def test_unknown_variable_only_warns() -> None:
    """An unknown LIFEBOAT_ variable logs a warning, and the server starts."""
    with ServerProcess(LIFEBOAT_MAX_ROW="3") as process:
        process.address()
        process.signal(signal.SIGTERM)
        assert process.end() == 0
    line = json.loads(process.log[0])
    assert (line["level"], line["logger"]) == ("warning", "lifeboat")
    assert line["message"] == "LIFEBOAT_MAX_ROW is not a setting of this version and has no effect"


def test_log_level() -> None:
    """With log level `error`, warnings are not logged."""
    with ServerProcess(LIFEBOAT_LOG_LEVEL="error", LIFEBOAT_MAX_ROW="3", LIFEBOAT_MODELS="/nowhere") as process:
        assert process.end() == 1
    assert len(process.log) == 1
    line = json.loads(process.log[0])
    assert (line["level"], line["message"]) == ("error", "/nowhere: there is no such folder")


def test_a_signal_that_comes_again() -> None:
    """Repeated SIGTERM during shutdown has the same effect as one."""
    with ServerProcess(LIFEBOAT_DRAIN_S="0") as process:
        process.address()
        process.signal_to_its_end(signal.SIGTERM)
        assert process.end() == 0, process.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_end_when_idle(number: int) -> None:
    """SIGTERM and SIGINT end an idle server with exit code 0."""
    with ServerProcess() as process:
        _, port = process.address()
        process.signal(number)
        assert process.end() == 0
    assert _refuses(port)


def _post_half(connection: socket.socket, body: bytes) -> None:
    """Send a request up to the middle of its body, after the server's 100 Continue."""
    head = f"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    connection.sendall(head.encode())
    interim = b""
    while not interim.endswith(b"\r\n\r\n"):
        interim += connection.recv(1)
    assert interim.startswith(b"HTTP/1.1 100 ")
    connection.sendall(body[: len(body) // 2])


def test_request_in_flight_is_answered(passenger: dict[str, Any]) -> None:
    """After SIGTERM the port is closed to new connections, and a request in progress gets its response."""
    body = json.dumps(passenger).encode()
    with ServerProcess() as process:
        address = process.address()
        with socket.create_connection(address, timeout=HUNG_S) as connection:
            _post_half(connection, body)
            process.signal(signal.SIGTERM)
            process.read_until("Waiting for connections to close")
            assert _refuses(address[1])
            connection.sendall(body[len(body) // 2 :])
            status, headers, answer = read_response(connection)
        assert (status, json.loads(answer)["label"]) == (200, "survived")
        assert headers["connection"] == "close"
        assert process.end() == 0


def test_drain_ends(passenger: dict[str, Any]) -> None:
    """A client that never completes its request can't extend the drain beyond LIFEBOAT_DRAIN_S."""
    with (
        ServerProcess(LIFEBOAT_DRAIN_S="0") as process,
        socket.create_connection(process.address(), timeout=HUNG_S) as connection,
    ):
        _post_half(connection, json.dumps(passenger).encode())
        process.signal(signal.SIGTERM)
        assert process.end() == 0


def test_several_models(models: Path) -> None:
    """With several models the server starts only if LIFEBOAT_DEFAULT_MODEL names one of them."""
    small.double(models)
    with ServerProcess(LIFEBOAT_MODELS=str(models)) as process:
        assert process.end() == 1
    assert "several models are served (small, titanic): LIFEBOAT_DEFAULT_MODEL must name one" in process.log[-1]
    with ServerProcess(LIFEBOAT_MODELS=str(models), LIFEBOAT_DEFAULT_MODEL="small") as process:
        process.address()
        process.signal(signal.SIGTERM)
        assert process.end() == 0

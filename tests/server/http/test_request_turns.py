"""Limit of ASGI requests that start in one event loop iteration."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

import pytest

from server.models.repository import Repository
from tests.server.support.frames import END_STREAM, GOAWAY, PREFACE, RST_STREAM, SETTINGS, Client, block, frame, head
from tests.server.support.process import HUNG_S
from tests.server.support.rpc import MODELS
from tests.server.support.wire import Wire, wire

REQUESTS: Final = 120
"""Requests that one client sends at once; below the stream limit of a connection."""
GET: Final = b"GET /%s HTTP/1.1\r\nhost: x\r\n\r\n"
PATHS: Final = ("/api/models", "/v2/models/titanic", "/v2/health/ready", "/nothing")


def ended(connection: socket.socket) -> int:
    """Return how many responses have arrived on an HTTP/2 connection."""
    connection.setblocking(False)
    data = b""
    try:
        while piece := connection.recv(1 << 20):
            data += piece
    except BlockingIOError:
        pass
    at = count = 0
    while at + 9 <= len(data):
        count += data[at + 3] == 0 and bool(data[at + 4] & END_STREAM)
        at += 9 + int.from_bytes(data[at : at + 3], "big")
    return count


def http2(path: str) -> bytes:
    """Return the bytes of a client that sends all its requests at once."""
    fields = head(path=path.encode(), method=b"GET")
    return PREFACE + frame(SETTINGS, 0, 0) + b"".join(block(2 * at + 1, fields, END_STREAM) for at in range(REQUESTS))


@pytest.mark.parametrize("path", PATHS)
def test_many_requests_at_once(served: Wire, path: str) -> None:
    """A request on another connection is served between the many requests of one connection."""
    _status(served, GET % path[1:].encode())  # imports what the first request needs
    with served.connect() as flood, served.connect() as other:
        flood.sendall(http2(path))
        other.sendall(GET % b"v2/health/live")
        while not _has_data(other):
            served.runner.run(asyncio.sleep(0))
        assert other.recv(16).startswith(b"HTTP/1.1 200")
        assert ended(flood) < REQUESTS / 2


def _status(served: Wire, data: bytes) -> int:
    with served.connect() as connection:
        connection.sendall(data)
        return served.read(connection)[0][0]


def test_many_connections_at_once(served: Wire) -> None:
    """Requests of many connections start a few at a time, and all get responses."""
    with ExitStack() as stack:
        connections = [stack.enter_context(served.connect()) for _ in range(REQUESTS)]
        for each in connections:
            each.sendall(GET % b"nothing")
        while not (answered := sum(map(_has_data, connections))):
            served.runner.run(asyncio.sleep(0))
        assert answered < REQUESTS / 2
        assert {status for status, _, _ in served.read(*connections)} == {404}


def _has_data(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(HUNG_S)


def test_all_are_answered(served: Wire) -> None:
    """Requests that waited for their turn get responses, each on its own stream."""
    with Client(served) as client:
        paths = (b"/v2/health/live", b"/nothing")
        client.send(
            b"".join(block(2 * at + 1, head(path=paths[at % 2], method=b"GET"), END_STREAM) for at in range(REQUESTS))
        )
        answers = [client.answer(2 * at + 1)[0] for at in range(REQUESTS)]
    assert answers == [200, 404] * (REQUESTS // 2)


def _reset(number: int) -> bytes:
    return b"".join(frame(RST_STREAM, 0, 2 * at + 1, bytes(4)) for at in range(number))


def _away(_number: int) -> bytes:
    return frame(GOAWAY, 0, 0, bytes(8))


@pytest.mark.parametrize("leave", [_reset, _away])
def test_clients_that_leave_before_their_turn(leave: Callable[[int], bytes]) -> None:
    """Waiting requests of a disconnected client don't block the requests of other clients."""
    with wire(Repository.load(MODELS), http2=True) as served:
        for _ in range(3):
            with served.connect() as flood:
                flood.sendall(http2("/api/models") + leave(REQUESTS))
                served.turn()
        assert _status(served, GET % b"v2/health/live") == 200

"""Limit of ASGI requests that start in one event loop iteration."""

import asyncio
import contextlib
import re
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

import pytest

from server.http import request_turns
from server.models.repository import Repository
from tests.server.support.frames import END_STREAM, GOAWAY, PREFACE, RST_STREAM, SETTINGS, Client, block, frame, head
from tests.server.support.process import HUNG_S
from tests.server.support.rpc import MODELS
from tests.server.support.wire import Wire, wire

REQUESTS: Final = 120
"""Requests that one client sends at once; below the stream limit of a connection."""
GET: Final = b"GET /%s HTTP/1.1\r\nhost: x\r\n\r\n"
PATHS: Final = ("/api/models", "/v2/models/titanic", "/v2/health/ready", "/nothing")


def received(connection: socket.socket) -> bytes:
    """Return the bytes that have arrived on a connection."""
    connection.setblocking(False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        while piece := connection.recv(1 << 20):
            data += piece
    return data


def ended(connection: socket.socket) -> int:
    """Return how many responses have arrived on an HTTP/2 connection."""
    data = received(connection)
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


_UPLOAD: Final = b"POST /api/explain HTTP/1.1\r\nhost: x\r\ncontent-length: 400000\r\n\r\n" + bytes(120_000)
"""More than the server reads before the application starts: its connection is then not read."""
_RESET: Final = struct.pack("ii", 1, 0)
_RESETS: Final = 480


def _connected(served: Wire, listener: socket.socket) -> socket.socket:
    """Return the client's end of a TCP connection: only TCP has resets."""
    client = socket.create_connection(listener.getsockname())
    accepted, _ = listener.accept()
    accepted.setblocking(False)

    async def serve() -> None:
        await asyncio.get_running_loop().connect_accepted_socket(served.protocol, accepted)

    served.runner.run(serve())
    return client


@pytest.mark.parametrize("data", [GET % b"api/models", _UPLOAD], ids=["read to its end", "not read"])
def test_requests_of_reset_connections_take_no_turns(served: Wire, data: bytes) -> None:
    """Requests whose clients reset their connections before the requests start do not delay another client."""
    for path in (b"api/models", b"nothing"):
        _status(served, GET % path)  # load what the first request loads
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        connections = [stack.enter_context(_connected(served, listener)) for _ in range(_RESETS)]
        for each in connections:
            each.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                each.send(data)
        for _ in range(3):  # all are read; a few have started
            served.runner.run(asyncio.sleep(0))
        for each in connections:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with served.connect() as other:
        other.sendall(GET % b"nothing")
        turns = 0
        while not _has_data(other):
            served.runner.run(asyncio.sleep(0))
            turns += 1
    assert turns == 1


def test_too_many_waiting_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests beyond the number that may wait are rejected with 429 at once; all others get their responses."""
    connections, limit = 20, 500
    monkeypatch.setattr(request_turns, "_MAX_WAITING", limit)
    with wire(Repository.load(MODELS), http2=True) as served, ExitStack() as stack:
        floods = [stack.enter_context(served.connect()) for _ in range(connections)]
        for flood in floods:
            flood.sendall(http2("/nothing"))
        codes = Counter[bytes]()
        while codes.total() < connections * REQUESTS:
            served.turn()
            codes.update(re.findall(b"resource_exhausted|not_found", b"".join(map(received, floods))))
        assert codes[b"resource_exhausted"] > 0
        assert codes[b"not_found"] >= limit
        assert _status(served, GET % b"v2/health/live") == 200


def test_an_error_holds_up_no_other_request() -> None:
    """Requests that wait behind one whose connection cannot be examined still start."""

    def fails() -> bool:
        raise ValueError("negative file descriptor")

    async def run() -> None:
        turns = request_turns.RequestTurns()
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        async with asyncio.timeout(HUNG_S):
            await asyncio.gather(*(turns.wait(number, fails) for number in range(40)))

    asyncio.run(run())

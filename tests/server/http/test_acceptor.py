"""New connections: accepted within a few event loop iterations, and rejected without free descriptors."""

import asyncio
import json
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
import uvloop

from server.http.acceptor import Acceptor
from tests.passenger import PASSENGER
from tests.server.support.process import HUNG_S, ServerProcess, connect, read_response
from tests.server.support.wire import post

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits of another process, as Linux has them")
WAITING = 50
TURNS = 10
ROWS = b"pclass,sex,sibsp,parch\n1,female,0,0\n"


class _Counted(asyncio.Protocol):
    """A protocol that records its connections."""

    def __init__(self, made: list[asyncio.BaseTransport]) -> None:
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._made.append(transport)


@pytest.mark.parametrize("make_loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_all_that_wait_are_accepted(make_loop: "type[asyncio.AbstractEventLoop]") -> None:
    """All waiting connections are accepted within a few event loop iterations."""
    made: list[asyncio.BaseTransport] = []

    async def accept(listener: socket.socket) -> None:
        acceptor = Acceptor([listener], lambda: _Counted(made), made)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        acceptor.close()
        for transport in made:
            transport.close()

    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=WAITING))
        listener.setblocking(False)
        for _ in range(WAITING):
            stack.enter_context(socket.create_connection(listener.getsockname(), timeout=HUNG_S))
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(accept(listener))
        assert len(made) == WAITING


@contextmanager
def _few_descriptors(number: int) -> Iterator[None]:
    """Limit the file descriptors of processes started in this context."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _client(process: ServerProcess) -> httpx.Client:
    host, port = process.address()
    return httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S)


@LINUX
def test_more_connections_than_descriptors() -> None:
    """A connection above the descriptor limit gets 503 with Retry-After; open connections are still served."""
    with _few_descriptors(100):
        process = ServerProcess()
    with process, _client(process) as client, ExitStack() as stack:
        assert client.post("/api/predict", json=PASSENGER).status_code == 200  # this connection stays open
        connections = [stack.enter_context(connect(client)) for _ in range(100)]
        status, headers, body = read_response(connections[-1])
        assert (status, json.loads(body)["code"], headers["connection"]) == (503, "unavailable", "close")
        assert int(headers["retry-after"]) > 0
        assert client.put("/api/batch", content=ROWS, headers={"content-type": "text/csv"}).status_code == 200
        for path in ("/", "/metrics", "/api/models/titanic/card"):
            assert client.get(path).status_code == 200
        stack.close()
        while True:
            with connect(client) as connection:
                connection.sendall(post("/api/predict", PASSENGER))
                if read_response(connection)[0] == 200:
                    break  # the server has noticed the closed connections


@LINUX
def test_no_descriptor_at_all() -> None:
    """Paths that need a descriptor get 503 when none is free; new connections wait."""
    with ServerProcess() as process, _client(process) as client:
        assert client.post("/api/predict", json=PASSENGER).status_code == 200
        limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        for answered in (
            client.get("/api/models/titanic/card"),
            client.put("/api/batch", content=ROWS, headers={"content-type": "text/csv"}),
        ):
            assert (answered.status_code, answered.json()["code"]) == (503, "unavailable")
            assert int(answered.headers["retry-after"]) > 0
        assert client.post("/api/predict", json=PASSENGER).status_code == 200
        with connect(client) as connection:
            connection.sendall(post("/api/predict", PASSENGER))
            assert client.post("/api/predict", json=PASSENGER).status_code == 200
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
            assert read_response(connection)[0] == 200
        assert client.get("/api/models/titanic/card").status_code == 200
        assert client.put("/api/batch", content=ROWS, headers={"content-type": "text/csv"}).status_code == 200

"""In-process connections over real sockets; the test decides what arrives in one event loop iteration."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import uvloop
from uvicorn import Config
from uvicorn.server import ServerState

from server.app import create_app
from server.http.http1 import protocol
from server.models.repository import Repository
from server.settings import Settings
from tests.server.support.process import HUNG_S, read_response

Result = TypeVar("Result")
Answer = tuple[int, dict[str, str], bytes]


class Wire:
    """The app behind socket pairs. Bytes sent before the loop runs arrive together."""

    def __init__(
        self,
        repository: Repository,
        settings: Settings,
        keep_alive_s: int,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,  # as in production
    ) -> None:
        """Serve `repository` on an event loop that runs only during a test's waits."""
        self.runner = asyncio.Runner(loop_factory=loop_factory)
        self.app = create_app(repository, settings)
        if settings.http2:  # as `python -m server` does
            self.app.rpc.load()
        self._make = protocol(
            self.app.fast_path_handlers, self.app.draining, self.app.held, settings, self.app.rpc.reject
        )
        self._config = Config(
            self.app, lifespan="off", ws="none", log_config=None, access_log=False, timeout_keep_alive=keep_alive_s
        )
        self._config.load()
        self.state = ServerState()

    def connect(self) -> socket.socket:
        """Return the client's end of a new connection."""
        ours, theirs = socket.socketpair()
        ours.settimeout(HUNG_S)
        theirs.setblocking(False)
        self.runner.run(self._accept(theirs))
        return ours

    async def _accept(self, theirs: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(self.protocol, theirs)

    def protocol(self) -> asyncio.Protocol:
        """Return the protocol object of a new connection."""
        return self._make(config=self._config, server_state=self.state, app_state={})

    def during(self, work: Callable[[], Result]) -> Result:
        """Run the server while `work`, which may block, runs in a thread; return its result."""
        return self.runner.run(asyncio.to_thread(work))

    def read(self, *connections: socket.socket) -> list[Answer]:
        """Run the server until each connection has a response; return the responses."""
        return self.during(lambda: [read_response(each) for each in connections])

    def turn(self) -> None:
        """Run the server for TURNS event loop iterations."""
        self.runner.run(self._turns())

    async def _turns(self) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)


TURNS: Final = 20
"""More iterations than any work needs that waits for nothing."""


@contextmanager
def wire(repository: Repository, keep_alive_s: int = 75, **settings: Any) -> Iterator[Wire]:  # noqa: ANN401
    """Serve `repository` in this process."""
    opened = Wire(repository, Settings(**settings), keep_alive_s)
    with opened.runner:
        yield opened


def post(path: str, document: object, *headers: str) -> bytes:
    """Return the bytes of a complete POST."""
    body = json.dumps(document).encode()
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

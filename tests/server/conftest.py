"""Fixtures for the server's tests: a server in this process, a process, a client."""

from collections.abc import Iterator

import httpx
import pytest

from server.models.repository import Repository
from tests.server.support.process import HUNG_S, ServerProcess
from tests.server.support.rpc import MODELS
from tests.server.support.wire import Wire, wire


@pytest.fixture(scope="module")
def served() -> Iterator[Wire]:
    """Serve the committed models on HTTP/1.1 and HTTP/2."""
    with wire(Repository.load(MODELS), http2=True) as opened:
        yield opened


@pytest.fixture
def process() -> Iterator[ServerProcess]:
    """Yield a new server process whose log can be read."""
    with ServerProcess() as started:
        yield started


@pytest.fixture
def client(process: ServerProcess) -> Iterator[httpx.Client]:
    """Yield a client of the server process."""
    host, port = process.address()
    with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as opened:
        yield opened

"""What the tests of several modules call."""

from collections.abc import Iterator

import pytest

from server.repository import Repository
from tests.server.rpc import MODELS
from tests.server.wire import Wire, wire


@pytest.fixture(scope="module")
def served() -> Iterator[Wire]:
    """Serve the committed models on HTTP/1.1 and HTTP/2."""
    with wire(Repository.load(MODELS), http2=True) as opened:
        yield opened

"""A server process that logs only errors.

Under load no reader of its log is needed.
"""

import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.server.support.process import HUNG_S, ServerProcess

_POLL_S: Final = 0.05


@contextmanager
def quiet_server(**given: str) -> Iterator[tuple[ServerProcess, tuple[str, int]]]:
    """Start a server with HTTP/1.1 and HTTP/2; yield its process and address once it listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = ("127.0.0.1", int(free.getsockname()[1]))
    settings = {"PORT": str(address[1]), "LIFEBOAT_HTTP2": "1", "LIFEBOAT_LOG_LEVEL": "error"}
    settings |= {"LIFEBOAT_MAX_BATCHES": "16", "LIFEBOAT_MAX_EXPLANATIONS": "16"} | given
    with ServerProcess(**settings) as process:
        deadline_s = time.monotonic() + HUNG_S
        while not _listens(address):
            assert time.monotonic() < deadline_s, "the server doesn't listen"
            time.sleep(_POLL_S)
        yield process, address


def _listens(address: tuple[str, int]) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=HUNG_S):
        return True
    return False

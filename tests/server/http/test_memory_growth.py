"""Memory after many rejected and cancelled requests; `make soak` runs more of them."""

import sys
from typing import Final

import httpx
import pytest

from tests.server.support.process import HUNG_S
from tests.soak import kinds
from tests.soak.load import run
from tests.soak.quiet import quiet_server

REQUESTS: Final = 6_000
BOUND_MB: Final = 8.0
"""Megabytes that the second half of the requests may add.

The first half fills caches and the heap. A leak of 64 kB for each rejected Arrow file adds 12.
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory of another process, as Linux tells it")


@pytest.mark.parametrize("sort", ["rejected", "cancelled"])
def test_memory_is_flat(sort: str) -> None:
    """Thousands of rejected or cancelled requests, of every interface, don't grow the server's memory."""
    requests = kinds.rejected() if sort == "rejected" else kinds.cancelled()
    with quiet_server() as (process, (host, port)):
        seen = run((host, port), process.pid, requests, REQUESTS, cancel=sort == "cancelled")
        ready = httpx.get(f"http://{host}:{port}/v2/health/ready", timeout=HUNG_S, trust_env=False)
    assert min(seen.memory_mb[-3:]) - seen.memory_mb[4] < BOUND_MB, seen
    assert ready.status_code == 200
    if sort == "rejected":
        assert sum(seen.responses.values()) == REQUESTS
        assert not [line for line in seen.responses if " 500 " in line or line == "none"], seen.responses

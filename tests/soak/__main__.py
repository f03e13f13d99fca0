"""Measure memory over many rejected and cancelled requests of every interface: `python -m tests.soak`."""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

import httpx

from tests.passenger import PASSENGER
from tests.server.support.process import HUNG_S
from tests.soak import kinds
from tests.soak.load import Seen, run
from tests.soak.quiet import quiet_server

GROWTH_MB: Final = 20.0
"""Maximum growth of memory from the first fifth of the requests to the end."""


def main(arguments: Sequence[str]) -> int:
    """Send the requests and print the memory.

    Returns 1 if the memory grows or a later prediction fails.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="of each sort; default: 100,000")
    chosen = parser.parse_args(arguments)
    with quiet_server() as (process, address):
        host, port = address
        grown = []
        for name, requests, cancel in (("rejected", kinds.rejected(), False), ("cancelled", kinds.cancelled(), True)):
            print(f"{chosen.requests:,} {name} requests of {len(requests)} kinds; memory in MB:", flush=True)
            seen = run(address, process.pid, requests, chosen.requests, cancel=cancel, tell=_tell)
            print(f"\n{dict(seen.responses)}")
            grown.append(growth_mb(seen))
            print(f"grown by {grown[-1]:.1f} MB after the first fifth; at most {GROWTH_MB:.0f} are right", flush=True)
        answer = httpx.post(f"http://{host}:{port}/api/predict", json=PASSENGER, timeout=HUNG_S, trust_env=False)
        print(f"a prediction afterwards: {answer.status_code}")
    return int(answer.status_code != 200 or max(grown) > GROWTH_MB)


def growth_mb(seen: Seen) -> float:
    """Return the memory growth from the first fifth of the requests to the end.

    Caches are full after the first fifth.
    """
    return seen.memory_mb[-1] - seen.memory_mb[1]


def _tell(mb: float) -> None:
    print(f"{mb:.1f}", end=" ", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

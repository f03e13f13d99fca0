"""Run attacks beside good clients; check that the server survives and frees its memory."""

import contextlib
import http.client
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from server.codecs.tables.media_types import ARROW, CSV, NDJSON, PARQUET
from tests.box.attacks import ATTACKS, Address, Attack
from tests.box.company import PATIENCE_S, Company, predict
from tests.passenger import PASSENGER
from tests.server.support.rpc import PREDICT
from tests.server.support.tables import PASSENGERS, write

BACK_MB: Final = 20.0
"""Maximum growth of the server's memory after all attacks."""
CALM_S: Final = 120.0
"""Seconds that the server has to free memory: generous, because the machine may be busy."""
_POLL_S: Final = 0.25


def besiege(address: Address, pid: int, attacks: Sequence[Attack] = ATTACKS) -> None:
    """Run attacks on the server with process id `pid`.

    Fails if a good client fails or the memory stays high.
    """
    warm_up(address)
    before_mb = memory_mb(pid)
    for attack in attacks:
        with Company(address) as company:
            attack(address)
        told = f"{attack.__name__}: {company.answered} answered, {company.failures[:3]}"
        assert alive(pid), f"{told}; the server ended"
        assert company.answered > 0, told
        assert not company.failures, told
        assert answers(address), told
    deadline_s = time.monotonic() + CALM_S
    while (now_mb := memory_mb(pid)) > before_mb + BACK_MB:
        assert time.monotonic() < deadline_s, f"memory: {before_mb:.0f} MB before, {now_mb:.0f} MB after"
        time.sleep(_POLL_S)


def warm_up(address: Address) -> None:
    """Call every interface once.

    Modules that the first call imports stay in memory and are no leak.
    """
    import pyarrow as pa

    rows = pa.table({name: values * 200 for name, values in PASSENGERS.items()})
    one = json.dumps(PASSENGER).encode()
    calls = [("/api/predict", "application/json", one), ("/api/explain", "application/json", one)]
    calls += [(PREDICT, "application/json", one), ("/api/openapi.json", "", b""), ("/metrics", "", b"")]
    calls += [("/api/batch", form.media_type, write(rows, form)) for form in (CSV, NDJSON, ARROW, PARQUET)]
    for path, kind, body in calls:
        connection = http.client.HTTPConnection(*address, timeout=PATIENCE_S)
        connection.request("POST" if body else "GET", path, body or None, {"content-type": kind} if kind else {})
        with connection.getresponse() as response:
            response.read()
        connection.close()


def answers(address: Address) -> bool:
    """Return True if a new client gets a prediction."""
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            status, _ = predict(connection)
            if status == 200:
                return True
            time.sleep(_POLL_S)
    return False


def alive(pid: int) -> bool:
    """Return True if the process runs."""
    with contextlib.suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024

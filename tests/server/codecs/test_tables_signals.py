"""SIGTERM while a file is scored: it is broken off, and neither the server nor the process that reads it lives on."""

import gzip
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import pyarrow as pa
import pytest

from server.codecs.tables.media_types import ARROW, CSV, NDJSON, PARQUET
from tests.server.support.files import BATCH, upload
from tests.server.support.process import HUNG_S, ServerProcess
from tests.server.support.tables import PASSENGERS, write

_PENDING: Final = re.compile(r"^nv_inference_pending_request_count\{.*\} 1", re.MULTILINE)
_ROWS: Final = 1_000_000
_TABLE: Final = pa.table({name: values * 2_000 for name, values in PASSENGERS.items()})


def _many() -> pa.Table:
    """Return rows that shrink to a small file and make a response that no socket holds."""
    constant: dict[str, Any] = {"pclass": 1, "sex": "male", "sibsp": 0, "parch": 0}
    return pa.table({name: pa.repeat(value, _ROWS) for name, value in constant.items()})


def _coded(table: pa.Table) -> pa.Table:
    """Return a table that a process of its own reads, be it an Arrow stream."""
    return table.set_column(1, "sex", table["sex"].combine_chunks().dictionary_encode())


BEGUN: Final[dict[str, Callable[[], bytes]]] = {
    "csv": lambda: write(_TABLE, CSV),
    "ndjson": lambda: write(_TABLE, NDJSON),
    "arrow": lambda: write(_TABLE, ARROW),
    "arrow of codes": lambda: write(_coded(_TABLE), ARROW),
    "csv in gzip": lambda: gzip.compress(write(_TABLE, CSV)),
}
"""Files without their ends: the server scores the first rows and waits for more."""
UNREAD: Final[dict[str, Callable[[], bytes]]] = {
    "csv": lambda: gzip.compress(write(_many(), CSV), 1),
    "ndjson": lambda: gzip.compress(write(_many().slice(0, _ROWS // 10), NDJSON) * 10, 1),
    "arrow": lambda: gzip.compress(write(_many(), ARROW), 1),
    "arrow of codes": lambda: gzip.compress(write(_coded(_many()), ARROW), 1),
    "parquet": lambda: write(_many(), PARQUET),
}
"""Whole files whose responses nobody reads."""


def _end(process: ServerProcess, readers: int = 0) -> None:
    """End the server by SIGTERM, and see that the `readers`, processes which it started, end with it."""
    started = _children(process)
    process.signal(signal.SIGTERM)
    assert process.end() == 0, process.text
    assert "batch failed (" in process.text
    assert len(started) == readers
    until_s = time.monotonic() + HUNG_S
    while any(_lives(child) for child in started):  # it ends when it finds that nobody reads what it writes
        assert time.monotonic() < until_s


def _lives(child: str) -> bool:
    """Return whether a process is at work: not one that has ended, and that its parent's parent has not taken."""
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def _children(process: ServerProcess) -> list[str]:
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]


@pytest.mark.parametrize("kind", BEGUN)
def test_sigterm_while_a_file_comes(kind: str) -> None:
    """A file whose end never comes is broken off when the drain ends, and the server ends with 0."""
    body = BEGUN[kind]()
    with ServerProcess(LIFEBOAT_DRAIN_S="0") as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as client, upload(client) as begun:
            begun.send(body[: len(body) - 20])
            assert begun.head()[0] == 200
            _end(process, readers=kind == "arrow of codes")
            assert begun.rest()[1] is None


def test_sigterm_while_a_parquet_file_comes() -> None:
    """A Parquet file is read when it is whole: one that never is ends with the drain, too."""
    body = write(_TABLE, PARQUET)
    with ServerProcess(LIFEBOAT_DRAIN_S="0") as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as client, upload(client) as begun:
            begun.send(body[:-20])
            while not _PENDING.search(client.get("/metrics").text):
                pass  # its place is not taken yet
            _end(process)


@pytest.mark.parametrize("kind", UNREAD)
def test_sigterm_while_a_response_is_unread(kind: str) -> None:
    """A response that its client does not read is broken off when the drain ends, and the server ends with 0."""
    body = UNREAD[kind]()
    with ServerProcess(LIFEBOAT_DRAIN_S="0") as process:
        host, port = process.address()
        with (
            httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as client,
            upload(client, "accept: text/csv", path=f"{BATCH}?on_error=null") as begun,
        ):
            begun.send(body)
            begun.end()
            assert begun.head()[0] == 200
            _end(process, readers=kind in {"parquet", "arrow of codes"})

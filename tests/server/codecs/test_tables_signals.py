"""SIGTERM while a file is scored: the response is aborted, all processes end."""

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
    """Return rows that compress well and give a response above any socket buffer."""
    constant: dict[str, Any] = {"pclass": 1, "sex": "male", "sibsp": 0, "parch": 0}
    return pa.table({name: pa.repeat(value, _ROWS) for name, value in constant.items()})


def _coded(table: pa.Table) -> pa.Table:
    """Return a table that a reader process reads, even as an Arrow stream."""
    return table.set_column(1, "sex", table["sex"].combine_chunks().dictionary_encode())


BEGUN: Final[dict[str, Callable[[], bytes]]] = {
    "csv": lambda: write(_TABLE, CSV),
    "ndjson": lambda: write(_TABLE, NDJSON),
    "arrow": lambda: write(_TABLE, ARROW),
    "arrow of codes": lambda: write(_coded(_TABLE), ARROW),
    "csv in gzip": lambda: gzip.compress(write(_TABLE, CSV)),
}
"""Incomplete files: the server scores the first rows and waits for more."""
UNREAD: Final[dict[str, Callable[[], bytes]]] = {
    "csv": lambda: gzip.compress(write(_many(), CSV), 1),
    "ndjson": lambda: gzip.compress(write(_many().slice(0, _ROWS // 10), NDJSON) * 10, 1),
    "arrow": lambda: gzip.compress(write(_many(), ARROW), 1),
    "arrow of codes": lambda: gzip.compress(write(_coded(_many()), ARROW), 1),
    "parquet": lambda: write(_many(), PARQUET),
}
"""Complete files whose responses no client reads."""


def _end(process: ServerProcess, readers: int = 0) -> None:
    """End the server with SIGTERM, and check that its `readers` reader processes end too."""
    started = _children(process)
    process.signal(signal.SIGTERM)
    assert process.end() == 0, process.text
    assert "batch failed (" in process.text
    assert len(started) == readers
    until_s = time.monotonic() + HUNG_S
    while any(_lives(child) for child in started):  # a reader process ends when its output pipe breaks
        assert time.monotonic() < until_s


def _lives(child: str) -> bool:
    """Return True if a process runs; a zombie doesn't."""
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def _children(process: ServerProcess) -> list[str]:
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]


@pytest.mark.parametrize("kind", BEGUN)
def test_sigterm_while_a_file_comes(kind: str) -> None:
    """The end of the drain aborts an incomplete file, and the server exits with 0."""
    body = BEGUN[kind]()
    with ServerProcess(LIFEBOAT_DRAIN_S="0") as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as client, upload(client) as begun:
            begun.send(body[: len(body) - 20])
            assert begun.head()[0] == 200
            _end(process, readers=kind == "arrow of codes")
            assert begun.rest()[1] is None


def test_sigterm_while_a_parquet_file_comes() -> None:
    """An incomplete Parquet file, which is not read yet, ends with the drain too."""
    body = write(_TABLE, PARQUET)
    with ServerProcess(LIFEBOAT_DRAIN_S="0") as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as client, upload(client) as begun:
            begun.send(body[:-20])
            while not _PENDING.search(client.get("/metrics").text):
                pass  # the file has no place yet
            _end(process)


@pytest.mark.parametrize("kind", UNREAD)
def test_sigterm_while_a_response_is_unread(kind: str) -> None:
    """The end of the drain aborts an unread response, and the server exits with 0."""
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

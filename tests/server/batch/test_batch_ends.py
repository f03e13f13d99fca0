"""Unusual ends of a file: unread responses, a full disk, deadlines without output."""

import asyncio
import io
import resource
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from server.app import create_app
from server.http.trailers import BREAK_OFF, RequestControls
from server.models.repository import Repository
from server.settings import Settings
from tests.server.support import files
from tests.server.support.files import Record, upload
from tests.server.support.process import HUNG_S, ServerProcess, serving
from tests.server.support.rpc import MODELS

BATCH: Final = "/api/batch"
NDJSON: Final = {"accept": "application/x-ndjson"}
LINUX: Final = pytest.mark.skipif(sys.platform != "linux", reason="limits and files of another process, as Linux has")


@pytest.mark.parametrize(
    ("blocked", "leaves", "timeout_ms", "words"),
    [
        pytest.param("begin", True, None, "canceled: the client disconnected", id="who leaves"),
        pytest.param("begin", False, b"500", "deadline_exceeded: the deadline passed", id="who is late"),
        pytest.param("end", False, b"500", "deadline_exceeded: the deadline passed", id="who is late at the end"),
        pytest.param("end", False, None, "deadline_exceeded: no data of the file arrived", id="who takes no end"),
    ],
)
def test_an_answer_that_nobody_takes(
    passengers: list[Record],
    caplog: pytest.LogCaptureFixture,
    blocked: str,
    leaves: bool,
    timeout_ms: bytes | None,
    words: str,
) -> None:
    """A client that reads nothing blocks nothing.

    It sent its whole file, and then disconnects, exceeds its deadline, or stays idle.
    """
    caplog.set_level("INFO")
    headers = [] if timeout_ms is None else [(b"x-request-timeout-ms", timeout_ms)]
    app = create_app(Repository.load(MODELS), Settings(max_batches=1, max_idle_s=1))
    body = {"type": "http.request", "body": files.csv(passengers), "more_body": False}

    async def call() -> list[str]:
        messages = [body]
        begun, never = asyncio.Event(), asyncio.Event()
        told: list[str] = []

        async def receive() -> Any:  # noqa: ANN401 # an ASGI message
            if messages:
                return messages.pop()
            await (begun if leaves else never).wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:  # noqa: ANN401
            begun.set()
            if blocked == "begin" or message.get("more_body") is False:
                await never.wait()

        scope = {"type": "http", "http_version": "1.1", "method": "PUT", "path": BATCH, "headers": headers}
        extensions = {BREAK_OFF: RequestControls(lambda: told.append("broken off"))}
        async with asyncio.timeout(HUNG_S / 2):
            await app(scope | {"query_string": b"", "root_path": "", "extensions": extensions}, receive, send)
        return told

    for _ in range(2):
        caplog.clear()
        assert asyncio.run(call()) == ["broken off"]
        assert f"batch failed ({words}" in caplog.text


@LINUX
def test_a_full_disk_loses_nothing(process: ServerProcess, client: httpx.Client, passengers: list[Record]) -> None:
    """A file size limit that cuts a write to the spool loses no bytes.

    The client has to wait.
    """
    assert process.pid
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (900_001, 900_001))
    rows = 600_000
    with upload(client) as sent:

        def send() -> None:
            sent.send(files.csv(passengers, rows))
            sent.end()

        sending = threading.Thread(target=send)
        sending.start()
        while _kept_bytes(process.pid) < 900_000:  # until the file system takes no more
            sending.join(0.05)
        assert sent.head()[0] == 200
        text, trailers = sent.rest()
        sending.join()
    assert trailers is not None
    assert trailers["lifeboat-rows-scored"] == str(rows)
    expected = files.csv(passengers, rows).splitlines()
    assert [line.rsplit(b",", 3)[0] for line in text.splitlines()] == expected


def _kept_bytes(pid: int) -> int:
    """Return the size of a process's largest deleted temporary file."""
    size = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # the file was closed in between
            if str(each.readlink()).endswith("(deleted)"):
                size = max(size, each.stat().st_size)
    return size


@pytest.mark.parametrize("accept", ["text/csv", "application/vnd.apache.parquet"])
def test_a_small_file_of_many_rows_can_be_stopped(process: ServerProcess, client: httpx.Client, accept: str) -> None:
    """A deadline ends the work on a complete Parquet file without any output."""
    rows = 4_000_000
    headers = {"accept": accept, "x-request-timeout-ms": "2000"}
    response = client.put(f"{BATCH}?on_error=skip&columns=none", content=_wrong(rows), headers=headers)
    assert response.status_code == 504
    line = process.read_until("batch failed (deadline_exceeded: the deadline passed")
    read = int(line.partition("version 1: ")[2].split()[0])
    assert 0 < read < rows


def _wrong(rows: int) -> bytes:
    """Return a small Parquet file of `rows` rows, all invalid."""
    constant: dict[str, Any] = {"pclass": 9, "sex": "male", "sibsp": 0, "parch": 0}
    out = io.BytesIO()
    pq.write_table(pa.table({name: pa.repeat(value, rows) for name, value in constant.items()}), out)
    return out.getvalue()


def test_work_of_which_nothing_is_seen_is_no_standstill() -> None:
    """A file whose rows are all skipped may exceed the idle limit."""
    rows = 3_000_000
    with serving(LIFEBOAT_MAX_IDLE_S="2") as client:
        response = client.put(f"{BATCH}?on_error=skip&columns=none&summary=last", content=_wrong(rows), headers=NDJSON)
    assert response.json() == {"summary": {"rows-read": rows, "rows-scored": 0, "rows-failed": rows}}

"""Models that never end block nothing else: no other request, no other load, no shutdown."""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.server.support import hung, small
from tests.server.support.process import HUNG_S, ServerProcess
from tests.server.support.repositories import BEARER, TOKEN, load, publish

PREDICT: Final = "/api/predict"
NO_LIMIT: Final = "3600"
POISON: Final = {"x": hung.NEVER}


@contextmanager
def served(root: Path, **settings: str) -> Iterator[tuple[ServerProcess, httpx.Client]]:
    """Serve a repository. On exit, SIGTERM must end the server with exit code 0."""
    named = {"LIFEBOAT_DEFAULT_MODEL": "small", "LIFEBOAT_ADMIN_TOKEN": TOKEN, "LIFEBOAT_DRAIN_S": "2"}
    with ServerProcess(LIFEBOAT_MODELS=str(root), **named | settings) as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as client:
            yield process, client
        process.signal(signal.SIGTERM)
        assert process.end() == 0, process.text


def is_good(client: httpx.Client) -> bool:
    """Return True if a harmless record gets the right prediction."""
    return bool(client.post(PREDICT, json={"x": 1}).json()["value"] == 2.0)


def refused(response: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of an error response."""
    return response.status_code, response.json()["code"]


def test_a_load_that_never_ends(tmp_path: Path) -> None:
    """A load above its time limit is rejected by name; other versions are served."""
    publish(tmp_path, 1)
    with served(tmp_path, LIFEBOAT_LOAD_TIMEOUT_S="1") as (_, client):
        hung.write_hung(tmp_path, 2)
        publish(tmp_path, 3, 3)
        assert load(client).status_code == 200
        (reason,) = [each["reason"] for each in client.post("/v2/repository/index", json={}).json() if each["reason"]]
        assert reason == "model 'small' version 2: it was not loaded within 1 s"
        assert client.post(PREDICT, json={"x": 1}).json()["value"] == 3.0
        hung.write_hung(tmp_path, 4)
        assert refused(load(client)) == (400, "invalid_argument")


def test_other_changes_while_a_load_hangs(tmp_path: Path) -> None:
    """While a load hangs, other models load, models unload, and SIGTERM ends the server."""
    publish(tmp_path, 1)
    with ThreadPoolExecutor(1) as threads:
        with served(tmp_path, LIFEBOAT_LOAD_TIMEOUT_S=NO_LIMIT) as (process, client):
            hung.write_hung(tmp_path, 2)
            hanging = threads.submit(load, client)
            _until_busy(process)
            publish(tmp_path, 1, 3, name="other")
            assert load(client, "other").status_code == 200
            assert client.post("/api/models/other/predict", json={"x": 1}).json()["value"] == 3.0
            assert is_good(client)
            assert client.post("/v2/repository/models/small/unload", headers=BEARER).status_code == 200
            assert client.post("/api/models/small/predict", json={"x": 1}).status_code == 404
            assert not hanging.done()
        with pytest.raises((httpx.HTTPError, AssertionError)):
            assert hanging.result(HUNG_S).status_code == 200


def test_a_folder_that_is_followed_while_a_load_hangs(tmp_path: Path) -> None:
    """During a load that hangs, the watcher still loads other changes in the folder."""
    publish(tmp_path, 1)
    with served(tmp_path, LIFEBOAT_LOAD_TIMEOUT_S=NO_LIMIT, LIFEBOAT_REPOSITORY_POLL_S="1") as (process, client):
        hung.write_hung(tmp_path, 2)
        _until_busy(process)
        publish(tmp_path, 1, 3, name="other")
        _until(lambda: client.get("/api/models/other").status_code == 200)
        assert is_good(client)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_start_hangs(tmp_path: Path, number: int) -> None:
    """A signal ends the process at once while its start hangs."""
    hung.write_hung(tmp_path, 1)
    with ServerProcess(LIFEBOAT_MODELS=str(tmp_path), LIFEBOAT_LOAD_TIMEOUT_S=NO_LIMIT) as process:
        _until_busy(process)
        process.signal(number)
        assert process.end() == 0
    assert process.log == []


def test_a_start_that_hangs(tmp_path: Path) -> None:
    """A start fails with the model's name if a required load exceeds its time limit."""
    hung.write_hung(tmp_path, 1)
    with ServerProcess(LIFEBOAT_MODELS=str(tmp_path), LIFEBOAT_LOAD_TIMEOUT_S="1") as process:
        assert process.end() == 1
    assert "model 'small' version 1: it was not loaded within 1 s" in process.text


def test_a_run_that_never_ends(tmp_path: Path) -> None:
    """An event loop run ends at its limit or deadline; the stall is logged."""
    hung.write(tmp_path, hung.loop())
    with served(tmp_path, LIFEBOAT_RUN_TIMEOUT_S="1") as (process, client):
        deadline = {"x-request-timeout-ms": "200"}
        assert refused(client.post(PREDICT, json=POISON, headers=deadline)) == (504, "deadline_exceeded")
        assert is_good(client)
        assert refused(client.post(PREDICT, json=POISON)) == (504, "deadline_exceeded")
        assert is_good(client)
        line = json.loads(process.read_until("the event loop has been blocked"))
        assert (line["logger"], line["level"]) == ("lifeboat.watchdog", "warning")
        assert "in compute" in line["stack"]
        process.read_until("model small version 1: a run took too long")
        (stalls,) = [each for each in client.get("/metrics").text.splitlines() if each.startswith(STALLS)]
        assert float(stalls.split()[1]) >= 1


STALLS: Final = "lifeboat_event_loop_stalls_total "


def test_neighbours_of_a_run_that_never_ends(tmp_path: Path) -> None:
    """Requests in one batch with an endless run are run again alone and succeed."""
    hung.write(tmp_path, hung.loop())
    settings = {"LIFEBOAT_RUN_TIMEOUT_S": "1", "LIFEBOAT_QUEUE_DELAY_US": "200000"}
    with served(tmp_path, **settings) as (_, client), ThreadPoolExecutor(3) as threads:
        records = [{"x": 1}, POISON, {"x": 3}]
        found = [*threads.map(lambda record: client.post(PREDICT, json=record), records)]
    assert [response.status_code for response in found] == [200, 504, 200]
    assert (found[0].json()["value"], found[2].json()["value"]) == (2.0, 6.0)


def test_a_large_run_that_never_ends(tmp_path: Path) -> None:
    """A large run ends at its limit or deadline, without delaying small requests."""
    hung.write(tmp_path, hung.loop())
    large = {"records": [{"x": 1}] * 300 + [POISON]}
    with served(tmp_path, LIFEBOAT_RUN_TIMEOUT_S="1") as (_, client), ThreadPoolExecutor(1) as threads:
        running = threads.submit(client.post, PREDICT, json=large)
        assert is_good(client)
        assert refused(running.result(HUNG_S)) == (504, "deadline_exceeded")
    with served(tmp_path, LIFEBOAT_RUN_TIMEOUT_S=NO_LIMIT) as (_, client):
        for _ in range(2):
            late = client.post(PREDICT, json=large, headers={"x-request-timeout-ms": "200"})
            assert refused(late) == (504, "deadline_exceeded")
        many = client.post(PREDICT, json={"records": [{"x": 1}] * 300})
        assert len(many.json()["predictions"]) == 300


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/api/batch", b"x\n1\n%d\n" % hung.NEVER, "text/csv"),
        ("/api/explain", json.dumps(POISON).encode(), "application/json"),
    ],
)
def test_other_runs_that_never_end(tmp_path: Path, path: str, body: bytes, kind: str) -> None:
    """Runs of a file and of an explanation also end at the limit."""
    hung.write(tmp_path, hung.loop(), background=[{"x": 1.0}])
    with served(tmp_path, LIFEBOAT_RUN_TIMEOUT_S="1") as (_, client):
        for _ in range(2):
            response = client.post(path, content=body, headers={"content-type": kind})
            assert refused(response) == (504, "deadline_exceeded")
            assert is_good(client)


def test_a_file_that_nobody_waits_for(tmp_path: Path) -> None:
    """A file's run ends at its deadline and when its client disconnects."""
    hung.write(tmp_path, hung.loop())
    file = b"x\n%d\n" % hung.NEVER
    csv = {"content-type": "text/csv"}
    with served(tmp_path, LIFEBOAT_RUN_TIMEOUT_S=NO_LIMIT, LIFEBOAT_MAX_BATCHES="1") as (process, client):
        late = client.post("/api/batch", content=file, headers=csv | {"x-request-timeout-ms": "200"})
        assert refused(late) == (504, "deadline_exceeded")
        with pytest.raises(httpx.ReadTimeout):
            client.post("/api/batch", content=file, headers=csv, timeout=0.5)
        _until(lambda: client.post("/api/batch", content=b"x\n1\n", headers=csv).status_code == 200)
        with ThreadPoolExecutor(1) as threads:
            threads.submit(client.post, "/api/batch", content=file, headers=csv)
            _until_busy(process)
            process.signal(signal.SIGTERM)
            assert process.end() == 0, process.text


@pytest.mark.parametrize("rows", [1, 300])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_run_cannot_be_ended(tmp_path: Path, rows: int, number: int) -> None:
    """The process ends in time although a run blocks the event loop or a thread."""
    hung.write(tmp_path, hung.pool())
    with ServerProcess(LIFEBOAT_MODELS=str(tmp_path), LIFEBOAT_DRAIN_S="1") as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as client, ThreadPoolExecutor(1) as threads:
            assert is_good(client)
            threads.submit(client.post, PREDICT, json={"records": [{"x": hung.LONG}] * rows})
            _until_busy(process)
            process.signal(number)
            assert process.end() == 0, process.text
    if rows == 1:
        assert "the drain time is over" in process.text


def test_a_signal_while_nobody_reads_the_log(tmp_path: Path) -> None:
    """The process ends in time although its log's pipe is full and blocks."""
    small.double(tmp_path)
    settings = {"LIFEBOAT_LOG_REQUESTS": "all", "LIFEBOAT_DRAIN_S": "0"}
    with ServerProcess(LIFEBOAT_MODELS=str(tmp_path), **settings) as process:
        host, port = process.address()
        process.stop_reading()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=2) as client:
            _until(lambda: not _answers(client))  # then the pipe is full
        process.signal(signal.SIGTERM)
        _until(lambda: not _is_alive(process.pid))


def _answers(client: httpx.Client) -> bool:
    """Return True if a hundred requests, each logged in one line, get responses."""
    try:
        return all(client.post(PREDICT, json={"x": 1}).status_code == 200 for _ in range(100))
    except httpx.TimeoutException:
        return False


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def _until_busy(process: ServerProcess) -> None:
    """Wait until a process has used more CPU time than a start takes."""
    began_s = _cpu_s(process.pid)
    _until(lambda: _cpu_s(process.pid) - began_s > 1)


def _until(holds: object) -> None:
    assert callable(holds)
    end_s = time.monotonic() + HUNG_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.05)

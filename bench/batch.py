"""Cost of scored files: rows per second, memory, and latency.

The latency is that of the first scored row, and that of other requests meanwhile. The baseline is `session.run` alone
on the same rows.
"""

import http.client
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bench import linear_model, process_stats, sample_files
from bench.load_test import BenchError, Target, Window, window
from bench.measure import START_S, serving
from bench.process_stats import Cores
from bench.results import Batch, Beside, Figure, figure
from bench.targets import BASELINES, BUILD, TOLERANCE, Contender, lifeboat
from server.codecs.tables.limits import ARROW_ROWS, TEXT_ROWS

FEW_ROWS: Final = 50_000
MANY_ROWS: Final = 1_000_000
MODELS: Final = {"titanic": "Titanic", linear_model.NAME: "linear"}
"""Name of a model to its label in the table."""
CHUNK_ROWS: Final = {"csv": TEXT_ROWS, "ndjson": TEXT_ROWS, "arrow": ARROW_ROWS, "parquet": ARROW_ROWS}
"""Number of rows that the server runs at a time, by format."""
WATCH_S: Final = 0.03
"""Seconds between two samples of the server's memory."""
_BEGUN_BYTES: Final = 4096
"""Response bytes that include a scored row: more than the header of any format."""
_SENT_SHARE: Final = 0.1
"""Share of the file that is sent before the first scored row is read."""
_OVER_AND_OVER: Final = 20
"""Number of times to send a file while predictions are measured. The time ends before that."""


@dataclass(frozen=True, slots=True)
class Took:
    """CPU seconds and wall seconds of one measurement."""

    cpu_s: float
    wall_s: float


@dataclass(slots=True)
class Seen:
    """Measurements of one format and model; each list has one element per round."""

    served: list[Took] = field(default_factory=list)
    alone: list[Took] = field(default_factory=list)
    """`session.run` on the same rows."""
    peaks_mb: list[tuple[float, float]] = field(default_factory=list)
    """Peak after a file of FEW_ROWS rows, and after one of MANY_ROWS."""
    first_row_s: list[float] = field(default_factory=list)
    quiet: list[Window] = field(default_factory=list)
    """Single predictions while nothing else runs."""
    beside: list[tuple[Window, float]] = field(default_factory=list)
    """Single predictions while files are scored, and the rows per second of these files."""


def measured(rounds: int) -> list[Batch]:
    """Return the cost of files by format, for the committed model and a linear one."""
    if shutil.which("curl") is None:
        raise BenchError("curl is missing")
    cores = Cores.of_this_machine()
    contender = replace(lifeboat(), environment=_environment(linear_model.made()))
    seen = {(model, form): Seen() for model in MODELS for form in sample_files.FORMS}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        for form in sample_files.FORMS:
            for model in MODELS:
                speed(contender, model, form, seen[model, form], cores)
            company(contender, form, seen["titanic", form], cores)
            print(f"  {form}", flush=True)
    return [_batch(model, form, each) for (model, form), each in seen.items()]


def _environment(models: Path) -> dict[str, str]:
    return {"PORT": "{port}", "LIFEBOAT_MODELS": str(models), "LIFEBOAT_DEFAULT_MODEL": "titanic"}


def speed(contender: Contender, model: str, form: str, seen: Seen, cores: Cores) -> None:
    """Measure speed and peak memory of files with MANY_ROWS and FEW_ROWS rows, and `session.run` alone.

    Raises BenchError if the response lacks a row or has a wrong probability.
    """
    many = sample_files.written(form, MANY_ROWS)
    with serving(contender, cores) as (pid, port, _):
        few_mb = _peak_mb(pid, port, model, sample_files.written(form, FEW_ROWS), cores)
    with serving(contender, cores) as (pid, port, _):
        seen.peaks_mb.append((few_mb, _peak_mb(pid, port, model, many, cores)))
        alone = _alone(model, CHUNK_ROWS[form], cores)
        seen.served.append(_send(pid, port, model, many, cores))
    _check(form, alone)
    seen.alone.append(Took(alone["cpu_s"], alone["wall_s"]))


def _send(pid: int, port: int, model: str, file: Path, cores: Cores) -> Took:
    """Send a file with curl, and write the response to another file."""
    began_s, before_s = time.monotonic(), process_stats.cpu_s(pid)
    command = process_stats.pinned([*_curl(port, model, file), "--output", str(sample_files.answer())], cores.load)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"curl: {done.stderr.strip()[-300:]}")
    return Took(process_stats.cpu_s(pid) - before_s, time.monotonic() - began_s)


def _peak_mb(pid: int, port: int, model: str, file: Path, cores: Cores) -> float:
    """Send a file, and return the server's peak memory meanwhile, including processes that have ended."""
    with ThreadPoolExecutor(1) as together:
        sending = together.submit(_send, pid, port, model, file, cores)
        peak_mb = process_stats.peak_mb(pid)
        while not sending.done():
            wait([sending], WATCH_S)
            peak_mb = max(peak_mb, process_stats.peak_mb(pid))
        sending.result()
    return peak_mb


def _curl(port: int, model: str, file: Path, times: int = 1) -> list[str]:
    media_type = sample_files.FORMS[file.suffix[1:]]
    uploads = ["--upload-file", str(file), f"http://127.0.0.1:{port}{_path(model)}"] * times
    return ["curl", "--silent", "--show-error", "--fail", "--header", f"content-type: {media_type}", *uploads]


def _path(model: str) -> str:
    return f"/api/models/{model}/batch"


def _alone(model: str, chunk: int, cores: Cores) -> Mapping[str, float]:
    path = linear_model.MODELS / model / "1" / "model.onnx"
    command = [sys.executable, str(BASELINES / "chunks.py"), str(path), str(MANY_ROWS), str(chunk)]
    done = subprocess.run(process_stats.pinned(command, cores.server), capture_output=True, check=True)
    return dict(json.loads(done.stdout))


def _check(form: str, alone: Mapping[str, float]) -> None:
    got_rows, first, last = sample_files.answers(sample_files.answer(), form)
    if got_rows != MANY_ROWS or abs(first - alone["first"]) > TOLERANCE or abs(last - alone["last"]) > TOLERANCE:
        raise BenchError(f"a file of {MANY_ROWS} rows came back as {got_rows}, probabilities {first} to {last}")


def company(contender: Contender, form: str, seen: Seen, cores: Cores) -> None:
    """Measure single predictions with and without a file in progress.

    Also measure the time to the first scored row.
    """
    file = sample_files.written(form, MANY_ROWS)
    with serving(contender, cores) as (pid, port, _):
        target = Target(pid, port, next(iter(contender.calls.values())), cores, BUILD)
        _send(pid, port, "titanic", file, cores)
        row_bytes = sample_files.answer().stat().st_size / MANY_ROWS
        seen.quiet.append(window(target, 1))
        with _scoring(port, file, cores) as client:
            began_s, size = time.monotonic(), sample_files.answer().stat().st_size
            taken = window(target, 1, beside=client.pid)
            rate = (sample_files.answer().stat().st_size - size) / row_bytes / (time.monotonic() - began_s)
            if client.poll() is not None:
                raise BenchError(f"{form}: the files were at their end before the predictions were measured")
        seen.beside.append((taken, rate))
        if form != "parquet":  # its index is at the end of the file, so no row is scored before
            seen.first_row_s.append(_first_row(port, file))


@contextmanager
def _scoring(port: int, file: Path, cores: Cores) -> Iterator[subprocess.Popen[bytes]]:
    """Score a file repeatedly in the background; yield the client after the first rows."""
    with sample_files.answer().open("wb") as out:
        command = process_stats.pinned(_curl(port, "titanic", file, _OVER_AND_OVER), cores.load)
        client = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        try:
            while sample_files.answer().stat().st_size < _BEGUN_BYTES and client.poll() is None:
                time.sleep(0.01)
            yield client
        finally:
            client.kill()
            client.wait()


def _first_row(port: int, file: Path) -> float:
    """Return the seconds from a request's head to its first scored row.

    Most of the file is not sent yet.
    """
    with file.open("rb") as content:
        part = content.read(int(file.stat().st_size * _SENT_SHARE))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_S)
    connection.connect()
    began_s = time.monotonic()
    connection.putrequest("PUT", _path("titanic"))
    connection.putheader("content-type", sample_files.FORMS[file.suffix[1:]])
    connection.putheader("content-length", str(file.stat().st_size))
    connection.endheaders()
    sending = threading.Thread(target=_send_part, args=(connection.sock, part))
    sending.start()
    try:
        response = connection.getresponse()
        response.read(_BEGUN_BYTES)
        return time.monotonic() - began_s
    finally:
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
        sending.join()


def _send_part(connection: socket.socket, part: bytes) -> None:
    with suppress(OSError):  # after the first row, the main thread closes the connection
        connection.sendall(part)


def _batch(model: str, form: str, seen: Seen) -> Batch:
    pairs = list(zip(seen.served, seen.alone, strict=True))
    few, many = zip(*seen.peaks_mb, strict=True)
    return Batch(
        model=MODELS[model],
        form=form,
        rate=_rate(seen.served),
        session_rate=_rate(seen.alone),
        ratio=figure([alone.cpu_s / served.cpu_s for served, alone in pairs], 3),
        wall_ratio=figure([alone.wall_s / served.wall_s for served, alone in pairs], 3),
        peak_mb={f"{FEW_ROWS:,}": figure(few, 1), f"{MANY_ROWS:,}": figure(many, 1)},
        grown_mb=figure([after - before for before, after in seen.peaks_mb], 1),
        first_row_ms=figure([each * 1000 for each in seen.first_row_s], 1) if seen.first_row_s else None,
        beside=_beside(seen) if seen.beside else None,
    )


def _rate(took: Sequence[Took]) -> Figure:
    return figure([MANY_ROWS / each.wall_s for each in took], 0)


def _beside(seen: Seen) -> Beside:
    pairs = [(quiet, busy) for quiet, (busy, _) in zip(seen.quiet, seen.beside, strict=True)]
    return Beside(
        quiet_p50_us=figure([quiet.p50_us for quiet, _ in pairs], 0),
        quiet_p99_us=figure([quiet.p99_us for quiet, _ in pairs], 0),
        p50_us=figure([busy.p50_us for _, busy in pairs], 0),
        p99_us=figure([busy.p99_us for _, busy in pairs], 0),
        p99_ratio=figure([busy.p99_us / quiet.p99_us for quiet, busy in pairs], 2),
        rate=figure([rate for _, rate in seen.beside], 0),
        disturbed=figure([max(each.disturbed for each in pair) for pair in pairs], 3),
    )

"""Measurement of contenders: start, first response, load, memory and stop, once per round."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from bench import process_stats
from bench import targets as contenders
from bench.load_test import CONNECTIONS, BenchError, Target, Window, send, window
from bench.process_stats import Cores
from bench.targets import BUILD, Call, Contender

START_S: Final = 120
"""Maximum seconds from a contender's start to its first correct response."""
STOP_S: Final = 20
POLL_S: Final = 0.01
WARM_S: Final = 1.0
SOAK_REQUESTS: Final = 100_000
SOAK_CONNECTIONS: Final = 16
MANY_REQUESTS: Final = 80


@dataclass(frozen=True, slots=True)
class Start:
    """Cost of a start, from the process start to the first correct response."""

    cpu_s: float
    wall_s: float


@dataclass(slots=True)
class Measured:
    """All measurements so far; each list has one element per round."""

    windows: dict[tuple[str, int], list[Window]] = field(default_factory=dict)
    """Name of a row and number of connections to the windows."""
    starts: dict[str, list[Start]] = field(default_factory=dict)
    pss_mb: dict[str, list[float]] = field(default_factory=dict)
    """Memory after the round's load, by contender."""
    many_us: list[tuple[float, float]] = field(default_factory=list)
    """CPU microseconds of many rows: of the server (binary request), and of `session.run` alone."""
    soak_pss_mb: list[tuple[float, float]] = field(default_factory=list)
    """Memory after SOAK_REQUESTS requests, and after twice as many."""


@contextmanager
def serving(contender: Contender, cores: Cores) -> Iterator[tuple[int, int, Start]]:
    """Start a contender; yield its process id, its port and the cost of its start.

    Afterwards stop it and all its processes.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    port = free_port()
    log = BUILD / f"{contender.name}.log"
    command = [word.replace("{port}", str(port)) for word in contender.command]
    environment = {name: value.replace("{port}", str(port)) for name, value in contender.environment.items()}
    began_s = time.monotonic()
    process = process_stats.spawn(command, cores.server, contender.folder, environment, log)
    try:
        _wait_right(process, port, next(iter(contender.calls.values())), log)
        yield process.pid, port, Start(process_stats.cpu_s(process.pid), time.monotonic() - began_s)
    finally:
        stop(process)


def measure(group: Sequence[Contender], measured: Measured, cores: Cores) -> None:
    """Measure contenders for one round.

    All are started, then loaded in turn, so that the compared windows are close in time.
    """
    with ExitStack() as running:
        targets: list[tuple[str, Target]] = []
        pids = {}
        for contender in group:
            pid, port, start = running.enter_context(serving(contender, cores))
            pids[contender.name] = pid
            measured.starts.setdefault(contender.name, []).append(start)
            targets += [(row, Target(pid, port, call, cores, BUILD)) for row, call in contender.calls.items()]
        for _, target in targets:
            send(target, 1, WARM_S, target.call.most)
        for connections in CONNECTIONS:
            for row, target in targets:
                measured.windows.setdefault((row, connections), []).append(window(target, connections))
        for name, pid in pids.items():
            measured.pss_mb.setdefault(name, []).append(process_stats.pss_mb(pid))


def measure_start(contender: Contender, measured: Measured, cores: Cores) -> None:
    """Measure the start of a contender."""
    with serving(contender, cores) as (_, _, start):
        measured.starts.setdefault(contender.name, []).append(start)


def soak(contender: Contender, measured: Measured, cores: Cores) -> None:
    """Measure a contender's memory after SOAK_REQUESTS requests, and after twice as many."""
    with serving(contender, cores) as (pid, port, _):
        target = Target(pid, port, next(iter(contender.calls.values())), cores, BUILD)
        weights = []
        for _ in range(2):
            send(target, SOAK_CONNECTIONS, requests=SOAK_REQUESTS)
            weights.append(process_stats.pss_mb(pid))
        measured.soak_pss_mb.append((weights[0], weights[1]))


def many_rows(contender: Contender, measured: Measured, cores: Cores) -> None:
    """Compare a binary request of many rows with `session.run` alone on the same rows."""
    call = contenders.many_rows()
    with serving(contender, cores) as (pid, port, _):
        target = Target(pid, port, call, cores, BUILD)
        send(target, 1, requests=MANY_REQUESTS // 4)
        before_s = process_stats.cpu_s(pid)
        send(target, 1, requests=MANY_REQUESTS)
        served_us = (process_stats.cpu_s(pid) - before_s) / MANY_REQUESTS * 1e6
    measured.many_us.append((served_us, session(cores, call.rows)[f"run_{call.rows}_cpu_us"]))


def session(cores: Cores, *rows: int) -> dict[str, float]:
    """Return the CPU microseconds of a start and of `session.run` alone.

    The start imports onnxruntime and opens the session. `rows` are the numbers of rows per run.
    """
    command = [sys.executable, str(contenders.BASELINES / "session.py"), str(contenders.MODEL), *map(str, rows)]
    done = subprocess.run(process_stats.pinned(command, cores.server), capture_output=True, check=True)
    return {name: round(value, 1) for name, value in json.loads(done.stdout).items()}


def _wait_right(process: subprocess.Popen[bytes], port: int, call: Call, log: Path) -> None:
    """Wait for a contender's first correct response. Raises BenchError if there is none."""
    deadline_s = time.monotonic() + START_S
    last = "no answer"
    with httpx.Client(http1=not call.grpc, http2=call.grpc, trust_env=False, timeout=START_S) as client:
        while time.monotonic() < deadline_s and process.poll() is None:
            try:
                answer = client.post(f"http://127.0.0.1:{port}{call.path}", content=call.body, headers=call.headers)
            except httpx.TransportError:
                time.sleep(POLL_S)
                continue
            if answer.status_code == 200 and call.is_right(answer.content):
                return
            last = f"{answer.status_code} {answer.content[:200]!r}"
            if answer.status_code == 200:
                break
            time.sleep(POLL_S)
    raise BenchError(f"no right answer but {last}; the end of its log:\n{log.read_text()[-600:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and all processes that it started."""
    family = process_stats.tree(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in family & process_stats.tree(process.pid):  # processes that outlived their parent
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])

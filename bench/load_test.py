"""Load test of one server with h2load, whose log states the time of each request."""

import resource
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import process_stats
from bench.process_stats import Cores
from bench.targets import Call

CONNECTIONS: Final = (1, 16, 64)
WINDOW_S: Final = 2.0
SETTLE_S: Final = 0.5
"""Seconds of load before each window; they are not measured."""
QUIET_SHARE: Final = 0.08
"""Maximum share of a window's time that other processes and the hypervisor may take."""
TRIES: Final = 3
_MOST_FULL: Final = 8
"""Connections that send their maximum of requests; with more connections, the total stays the same."""


class BenchError(Exception):
    """A contender can't be measured; the message states the reason."""


@dataclass(frozen=True, slots=True)
class Window:
    """Figures of one window of load."""

    requests: int
    cpu_us: float
    """CPU microseconds per request, of the server's process tree."""
    rate: float
    """Requests per second."""
    p50_us: float
    p99_us: float
    disturbed: float
    """Share of the window's time that other processes and the hypervisor took."""


@dataclass(frozen=True, slots=True)
class Target:
    """A running server, and the call to load it with."""

    pid: int
    """Root of its process tree; 0: its CPU is not measured."""
    port: int
    call: Call
    cores: Cores
    folder: Path
    """Folder of h2load's body and log. Targets that are loaded at the same time need different folders."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Times of the requests that were sent; all responses had status 200."""

    times_us: list[float]
    seconds: float
    load_cpu_s: float
    """CPU seconds of h2load itself."""


def require_h2load() -> None:
    """Raise BenchError, naming the package to install, if h2load is missing."""
    if shutil.which("h2load") is None:
        raise BenchError("h2load is missing; on Debian: apt-get install nghttp2-client")


def window(target: Target, connections: int, beside: int = 0) -> Window:
    """Measure one window; return the least disturbed of up to TRIES.

    There is another try only if other processes disturb the window too much.

    `beside` is the root of another process tree that does not count as a disturbance; 0: none.
    """
    send(target, connections, SETTLE_S, connections * target.call.most // 6)
    best = _window(target, connections, beside)
    for _ in range(TRIES - 1):
        if best.disturbed <= QUIET_SHARE:
            break
        best = min(best, _window(target, connections, beside), key=lambda seen: seen.disturbed)
    return best


def _window(target: Target, connections: int, beside: int) -> Window:
    began_s, (busy_s, steal_s), cpu_s = time.monotonic(), process_stats.busy_s(), process_stats.cpu_s(target.pid)
    beside_s = process_stats.cpu_s(beside) if beside else 0.0
    sent = send(target, connections, WINDOW_S, min(connections, _MOST_FULL) * target.call.most)
    server_cpu_s = process_stats.cpu_s(target.pid) - cpu_s
    meant_s = server_cpu_s + sent.load_cpu_s + (process_stats.cpu_s(beside) - beside_s if beside else 0.0)
    busy, stolen = process_stats.busy_s()
    others_s = max(0.0, busy - busy_s - meant_s) + (stolen - steal_s)
    times_us = sorted(sent.times_us)
    count = len(times_us)
    return Window(
        requests=count,
        cpu_us=server_cpu_s / count * 1e6,
        rate=count / sent.seconds,
        p50_us=times_us[count // 2],
        p99_us=times_us[min(count - 1, count * 99 // 100)],
        disturbed=others_s / (time.monotonic() - began_s),
    )


def send(target: Target, connections: int, seconds: float = 0, requests: int = 0) -> Sent:
    """Send requests on `connections` connections for `seconds`, or `requests` times.

    Each connection has one request in progress.

    Raises BenchError if a request failed.
    """
    target.folder.mkdir(parents=True, exist_ok=True)
    log = target.folder / "times.log"
    log.unlink(missing_ok=True)
    amount = ["-n", str(requests)] if requests else ["-D", f"{int(seconds * 1000)}ms"]
    words = process_stats.pinned(command(target, log), target.cores.load)
    before_s, began_s = _children_cpu_s(), time.monotonic()
    done = subprocess.run([*words, "-c", str(connections), *amount], capture_output=True, text=True, check=False)
    taken_s = time.monotonic() - began_s
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    times = [float(time_us) for _, status, time_us in lines if status == "200"]
    if done.returncode or not times or len(times) != len(lines):
        bad = [status for _, status, _ in lines if status != "200"][:1]
        raise BenchError(
            f"{len(lines) - len(times)} of {len(lines)} calls failed {bad}: {(done.stderr or done.stdout)[-300:]}"
        )
    return Sent(times, taken_s if requests else seconds, _children_cpu_s() - before_s)


def command(target: Target, log: Path) -> list[str]:
    """Return the h2load command for a target; the time of each request goes to `log`."""
    body = target.folder / "body"
    body.write_bytes(target.call.body)
    data = ["-d", str(body)] if target.call.body else []  # without a body h2load sends GET
    protocol = [] if target.call.grpc else ["--h1"]
    headers = [word for name, value in target.call.headers.items() for word in ("-H", f"{name}: {value}")]
    address = f"http://127.0.0.1:{target.port}{target.call.path}"
    return ["h2load", *protocol, "-m", "1", *data, f"--log-file={log}", *headers, address]


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

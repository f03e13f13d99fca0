"""Load above the server's capacity: goodput, rejections, memory, latency of other clients."""

import dataclasses
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec

from bench import process_stats, sample_files
from bench.fresh import Fresh
from bench.load_test import BenchError, Target, command
from bench.measure import serving
from bench.process_stats import Cores
from bench.results import Flood, Wait
from bench.targets import BUILD, PASSENGER, ROOT, Call, Contender, lifeboat

SECONDS: Final = 2.0
"""Seconds of load at each level."""
ROUNDS: Final = 3
"""Number of runs of each level, in turn. The run with the median goodput counts."""
TIMES: Final = (1, 2, 5, 10)
"""Levels of load, in multiples of the capacity."""
BUSY: Final = 64
"""Number of busy connections while new ones are opened."""
FRESH: Final = 60
"""Number of new connections, opened one after the other."""
ATTACKS: Final = (
    "endless_trailers",
    "compressed_quotes",
    "held_bodies",
    "held_streams",
    "wide_csv",
    "many_fields",
    "arrow_bombs",
    "large_protobuf_json",
    "control_frames",
    "large_requests",
    "deep_documents",
)
"""Attacks of tests/box during which other clients are measured."""
_POLL_S: Final = 0.05
_ROWS: Final = 2_000
_FILE_ROWS: Final = 20_000
_LOST: Final = "-1"
"""Status that h2load writes for a request without a response."""


@dataclass(frozen=True)
class Offer:
    """A kind of request, and the number of clients at the server's capacity."""

    label: str
    call: Call
    clients: int
    """Connections that load the server to exactly its capacity."""


def offer_of_one() -> Call:
    """Return the call for one prediction."""
    return lifeboat().calls["lifeboat"]


def offers() -> list[Offer]:
    """Return single predictions, requests of many rows, and files."""
    one = offer_of_one()
    rows = json.dumps({"records": [PASSENGER] * _ROWS}).encode()
    file = sample_files.written("csv", _FILE_ROWS).read_bytes()
    return [
        Offer("one record", one, 400),
        Offer(f"{_ROWS:,} records", Call("/api/predict", rows, one.headers), 6),
        Offer(f"a file of {_FILE_ROWS:,} rows", Call("/api/batch", file, {"content-type": "text/csv"}), 2),
    ]


def floods() -> list[Flood]:
    """Return the results of each load, on this server and through the edge."""
    cores = Cores.of_this_machine()
    sorts = [(offer, http2) for http2 in (False, True) for offer in offers()]
    here = [each for offer, http2 in sorts for each in _levels(offer, cores, SECONDS, http2=http2)]
    return [*here, *through_the_edge(cores)]


def waits() -> list[Wait]:
    """Return the latency of new connections beside busy ones, and during each attack."""
    cores = Cores.of_this_machine()
    return [_fresh_beside_busy(cores), *_beside_attacks(cores)]


def _levels(offer: Offer, cores: Cores, seconds: float, *, http2: bool) -> Iterator[Flood]:
    """Yield the result of each level of load; level 0 has only a few clients. Each run has its own server."""
    call = dataclasses.replace(offer.call, grpc=http2)
    levels = {0: min(16, offer.clients)} | {times: offer.clients * times for times in TIMES}
    runs: dict[int, list[Flood]] = {times: [] for times in levels}
    for _ in range(ROUNDS):
        for times, clients in levels.items():
            with serving(_server(), cores) as (pid, port, _):
                target = Target(pid, port, call, cores, BUILD / "overload")
                runs[times].append(flood(target, max(1, clients), seconds))
    peak = 0.0
    for times, floods in runs.items():
        found = sorted(floods, key=lambda each: each.goodput)[len(floods) // 2]
        peak = max(peak, found.goodput)
        label = f"{offer.label}, HTTP/{2 if http2 else 1.1}"
        found = msgspec.structs.replace(found, label=label, times=times, of_peak=found.goodput / peak if peak else 0.0)
        _tell(found)
        yield found


def _tell(found: Flood) -> None:
    refused = f"{found.refused:.0f}/s refused, p99 {found.refusal_p99_ms:.1f} ms"
    print(
        f"  {found.label}, {found.clients} clients: {found.goodput:.0f}/s, {refused}, {found.memory_mb:.0f} MB",
        flush=True,
    )


def _server() -> Contender:
    of = lifeboat()
    return dataclasses.replace(of, environment={**of.environment, "LIFEBOAT_HTTP2": "1"})


def flood(target: Target, clients: int, seconds: float) -> Flood:
    """Load a server for `seconds`; each client sends its next request after the previous response."""
    target.folder.mkdir(parents=True, exist_ok=True)
    log = target.folder / "times.log"
    log.unlink(missing_ok=True)
    words = process_stats.pinned(command(target, log), target.cores.load)
    words += ["-c", str(clients), "-D", f"{int(seconds * 1000)}ms", "--warm-up-time", "500ms"]
    with _watched(target.pid) as peak_mb:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=seconds * 20 + 60)
    if not log.exists():
        raise BenchError(f"h2load wrote nothing: {done.stderr[-300:]}")
    lines = [line.split() for line in log.read_text().splitlines()]
    served = [float(each) for _, status, each in lines if status == "200"]
    refused = [float(each) for _, status, each in lines if status not in {"200", _LOST}]
    return Flood(
        label="",
        times=0,
        clients=clients,
        goodput=len(served) / seconds,
        of_peak=1.0,
        p99_ms=_ms(served, 99),
        refused=len(refused) / seconds,
        refusal_p50_ms=_ms(refused, 50),
        refusal_p99_ms=_ms(refused, 99),
        lost=sum(status == _LOST for _, status, _ in lines),
        memory_mb=max(peak_mb),
    )


@contextmanager
def _watched(pid: int) -> Iterator[list[float]]:
    """Yield a list to which a thread adds a process tree's memory in MB."""
    seen = [process_stats.pss_mb(pid)]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_POLL_S * 4):
            seen.append(process_stats.pss_mb(pid))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield seen
    finally:
        ended.set()
        watching.join()


def _ms(times_us: Sequence[float], percent: int) -> float:
    """Return a percentile in milliseconds; 0 if there are no times."""
    ordered = sorted(times_us)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] / 1000 if ordered else 0.0


def through_the_edge(cores: Cores) -> Iterator[Flood]:
    """Yield the results of single predictions through the Worker and the Durable Object."""
    from bench.edge import edge

    call = lifeboat().calls["lifeboat"]
    with edge(cores) as runtime:
        target = Target(runtime.engine_pid, runtime.port, call, cores, BUILD / "overload")
        peak = 0.0
        for times in TIMES:
            found = flood(target, 16 * times, SECONDS)
            peak = max(peak, found.goodput)
            label, of_peak = "one record, through the Worker", found.goodput / peak if peak else 0.0
            found = msgspec.structs.replace(found, label=label, times=times, of_peak=of_peak)
            _tell(found)
            yield found


def _fresh_beside_busy(cores: Cores) -> Wait:
    """Return the latency of new connections beside busy ones."""
    with serving(_server(), cores) as (pid, port, _):
        target = Target(pid, port, lifeboat().calls["lifeboat"], cores, BUILD / "overload")
        words = process_stats.pinned(command(target, target.folder / "busy.log"), cores.load)
        with subprocess.Popen([*words, "-c", str(BUSY), "-D", "60s"], stdout=subprocess.DEVNULL) as busy:
            time.sleep(1.0)
            found = _waits(f"a new connection, beside {BUSY} busy ones", Fresh(port).times(FRESH))
            busy.kill()
    return found


def _beside_attacks(cores: Cores) -> Iterator[Wait]:
    """Yield the latency of new connections during each attack. Each attack has its own server."""
    for name in ATTACKS:
        with serving(_server(), cores) as (_, port, _):
            words = [sys.executable, "-m", "tests.box", name, str(port)]
            with subprocess.Popen(process_stats.pinned(["nice", *words], cores.load), cwd=ROOT) as attack:
                yield _waits(f"beside {name.replace('_', ' ')}", Fresh(port).while_(_runs(attack)))


def _runs(process: "subprocess.Popen[bytes]") -> Callable[[], bool]:
    return lambda: process.poll() is None


def _waits(label: str, times_ms: Sequence[float]) -> Wait:
    lost = sum(each == Fresh.LOST for each in times_ms)
    answered = [each * 1000 for each in times_ms if each != Fresh.LOST]
    p50 = statistics.median(answered) / 1000 if answered else 0.0
    found = Wait(
        label=label, calls=len(times_ms), lost=lost, p50_ms=p50, p99_ms=_ms(answered, 99), worst_ms=_ms(answered, 100)
    )
    print(f"  {label}: p50 {found.p50_ms:.1f}, p99 {found.p99_ms:.1f} ms, {lost} of {found.calls} lost", flush=True)
    return found

"""What was measured to results.json, and back: medians with the range they come from."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.load_test import CONNECTIONS
from bench.measure import Measured
from bench.targets import ROOT, Contender

FILE: Final = ROOT / "bench" / "results.json"


class Figure(msgspec.Struct, frozen=True):
    """A median over the rounds, and the least and the most of them."""

    median: float
    low: float
    high: float


class Under(msgspec.Struct, frozen=True):
    """A row under load on some connections."""

    cpu_us: Figure
    """CPU microseconds of the process tree a request."""
    ratio: Figure
    """Of the echo's in the same round."""
    rate: Figure
    p50_us: Figure
    p99_us: Figure
    disturbed: Figure
    """Share of the windows that other processes and the hypervisor took."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table: a server asked in one way."""

    label: str
    contender: str
    peer: bool
    batching: str
    load: dict[str, Under]
    """Number of connections to what was seen."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A contender's starts and size."""

    start_cpu_s: Figure
    start_wall_s: Figure
    start_ratio: Figure
    """Start CPU, of the floor's in the same round."""
    pss_mb: Figure | None = None
    installed_mb: float | None = None


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """Calls on one wire, beside REST's record in JSON by the same version of HTTP, on the same server."""

    label: str
    cpu_us: Figure
    """At 16 connections."""
    ratio: dict[str, Figure]
    """Number of connections to the CPU of a call, of REST's in the same round."""


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One prediction, asked of the server itself or through the Workers runtime of this machine."""

    label: str
    p50_ms: Figure
    """At 1 connection, as all times."""
    p99_ms: Figure
    added_p50_ms: Figure
    """More than the same call to the server itself, in the same round."""
    added_p99_ms: Figure
    cpu_us: Figure
    """CPU microseconds of a call at 16 connections: of the server where that is asked, else of the runtime alone."""
    ratio: Figure
    """Of that which the server needs for the same call."""
    disturbed: Figure


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """Single predictions on one connection: while nothing else runs, and while files are scored on the same core."""

    quiet_p50_us: Figure
    quiet_p99_us: Figure
    p50_us: Figure
    p99_us: Figure
    p99_ratio: Figure
    """While files are scored, of the quiet one in the same round."""
    rate: Figure
    """Rows of the files a second meanwhile."""
    disturbed: Figure
    """Share that other processes and the hypervisor took of the worse of the two windows: beyond a few hundredths the
    times tell of those."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Files of one form, sent by curl and scored by one model."""

    model: str
    form: str
    rate: Figure
    """Rows a second, by the wall's clock."""
    session_rate: Figure
    """Of `session.run` alone on the same rows, as many at a time."""
    ratio: Figure
    """CPU of `session.run` alone, of the server's in the same round."""
    wall_ratio: Figure
    """The same of wall time: what others took of the core is in it."""
    peak_mb: dict[str, Figure]
    """Rows of a file to the server's peak after it."""
    grown_mb: Figure
    """What the peak after the large file has more than that after the small one."""
    first_row_ms: Figure | None = None
    """From a request's head to its first scored row, while most of the file is not yet sent."""
    beside: Beside | None = None


class Flood(msgspec.Struct, frozen=True, kw_only=True):
    """One level of load: clients that each send the next request when the one before is answered."""

    label: str
    times: int
    """Of the capacity; 0: a few clients."""
    clients: int
    goodput: float
    """Requests a second that were answered with 200."""
    of_peak: float
    """Of the most goodput of this label's levels so far."""
    p99_ms: float
    """Of the requests that were answered with 200."""
    refused: float
    """Requests a second that were rejected."""
    refusal_p50_ms: float
    refusal_p99_ms: float
    lost: int
    """Requests without a response."""
    memory_mb: float
    """The most that the server's process tree was seen to hold (PSS)."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """How long clients waited, each on a new connection, while something else kept the server busy."""

    label: str
    calls: int
    lost: int
    """Calls that failed or were rejected."""
    p50_ms: float
    p99_ms: float
    worst_ms: float


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one `make bench` showed."""

    made: str
    rounds: int
    machine: dict[str, str]
    session: dict[str, float]
    """The bare loop of `session.run`, and importing and opening alone: CPU microseconds."""
    rows: dict[str, Row]
    servers: dict[str, Server]
    many_rows: dict[str, float] = {}
    """A binary request of 10,000 rows: CPU microseconds of the server, of `session.run` alone, and their ratio."""
    soak_pss_mb: dict[str, float] = {}
    wires: list[Wire] = []
    loads_ms: dict[str, Figure] = {}
    """CPU that the RPC layer, and HTTP/2, add to a start that loads them."""
    batches: list[Batch] = []
    hops: list[Hop] = []
    floods: list[Flood] = []
    waits: list[Wait] = []
    image: dict[str, Any] | None = None
    skipped: dict[str, str] = {}
    """Contender to the reason why it wasn't measured."""


def read(path: Path = FILE) -> Results:
    """Return the results in a file."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def write(results: Results, path: Path = FILE) -> None:
    """Write the results, indented, so that two runs can be compared as text."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def rows(measured: Measured, contenders: Iterable[Contender]) -> dict[str, Row]:
    """Return the rows of the contenders, each beside the echo of its own bytes."""
    return {
        name: Row(
            label=" ".join(filter(None, (contender.label, call.what))),
            contender=contender.name,
            peer=contender.is_peer,
            batching=contender.batching,
            load={
                str(connections): _under(measured, name, connections)
                for connections in CONNECTIONS
                if (name, connections) in measured.windows
            },
        )
        for contender in contenders
        for name, call in contender.calls.items()
    }


def servers(measured: Measured, installed_mb: Mapping[str, float]) -> dict[str, Server]:
    """Return what is known of each contender beside its load; the floor of a start is the contender `start`."""
    floor = [start.cpu_s for start in measured.starts.get("start", [])]
    return {
        name: Server(
            start_cpu_s=figure([start.cpu_s for start in starts], 3),
            start_wall_s=figure([start.wall_s for start in starts], 3),
            start_ratio=figure([each.cpu_s / least for each, least in zip(starts, floor, strict=False)] or [0.0], 3),
            pss_mb=figure(measured.pss_mb[name], 1) if name in measured.pss_mb else None,
            installed_mb=installed_mb.get(name),
        )
        for name, starts in measured.starts.items()
    }


def many_rows(measured: Measured) -> dict[str, float]:
    """Return the medians of a request of many rows, and of its ratio to `session.run` alone."""
    served, alone = zip(*measured.many_us, strict=True)
    ratios = [each / floor for each, floor in measured.many_us]
    medians = map(statistics.median, (served, alone, ratios))
    return dict(zip(("server_cpu_us", "session_cpu_us", "ratio"), (round(each, 3) for each in medians), strict=True))


def figure(values: Sequence[float], digits: int) -> Figure:
    """Return the median of values, and their range."""
    return Figure(*(round(each, digits) for each in (statistics.median(values), min(values), max(values))))


def _under(measured: Measured, row: str, connections: int) -> Under:
    windows = measured.windows[row, connections]
    echo = next((f"echo{kind}" for kind in ("-v2", "-binary") if row.endswith(kind)), "echo")
    floor = [each.cpu_us for each in measured.windows.get((echo, connections), windows)]
    return Under(
        cpu_us=figure([each.cpu_us for each in windows], 1),
        ratio=figure([each.cpu_us / least for each, least in zip(windows, floor, strict=False)], 3),
        rate=figure([each.rate for each in windows], 0),
        p50_us=figure([each.p50_us for each in windows], 0),
        p99_us=figure([each.p99_us for each in windows], 0),
        disturbed=figure([each.disturbed for each in windows], 3),
    )

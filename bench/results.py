"""Results of a benchmark: medians with their ranges, read from and written to results.json."""

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
    """Median, minimum and maximum over the rounds."""

    median: float
    low: float
    high: float


class Under(msgspec.Struct, frozen=True):
    """Figures of a row at one number of connections."""

    cpu_us: Figure
    """CPU microseconds per request, of the process tree."""
    ratio: Figure
    """CPU per request relative to the echo in the same round."""
    rate: Figure
    p50_us: Figure
    p99_us: Figure
    disturbed: Figure
    """Share of the windows' time that other processes and the hypervisor took."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table: a server and one kind of request."""

    label: str
    contender: str
    peer: bool
    batching: str
    load: dict[str, Under]
    """Number of connections to the figures."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Starts and size of a contender."""

    start_cpu_s: Figure
    start_wall_s: Figure
    start_ratio: Figure
    """CPU of a start relative to the baseline in the same round."""
    pss_mb: Figure | None = None
    installed_mb: float | None = None


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """Calls by one protocol, compared with a JSON record over REST.

    Both use the same server and the same version of HTTP.
    """

    label: str
    cpu_us: Figure
    """CPU microseconds of a call at 16 connections."""
    ratio: dict[str, Figure]
    """Number of connections to the CPU of a call relative to REST's, same round."""


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """Single predictions, sent to the server itself or through the local Workers runtime."""

    label: str
    p50_ms: Figure
    """At 1 connection, like all times here."""
    p99_ms: Figure
    added_p50_ms: Figure
    """Difference to the same call to the server itself, in the same round."""
    added_p99_ms: Figure
    cpu_us: Figure
    """CPU microseconds of a call at 16 connections. Through the edge, the runtime's CPU alone."""
    ratio: Figure
    """CPU relative to the server's for the same call."""
    disturbed: Figure


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """Single predictions on one connection: alone, and while the same core scores files."""

    quiet_p50_us: Figure
    quiet_p99_us: Figure
    p50_us: Figure
    p99_us: Figure
    p99_ratio: Figure
    """p99 while files are scored, relative to the quiet window of the same round."""
    rate: Figure
    """Rows of the files per second, meanwhile."""
    disturbed: Figure
    """Share of time that other processes and the hypervisor took.

    It is from the worse of the two windows. Above a few hundredths, the measured times depend on those processes.
    """


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Files of one format, sent by curl and scored with one model."""

    model: str
    form: str
    rate: Figure
    """Rows per second of wall time."""
    session_rate: Figure
    """Rows per second of `session.run` alone, on the same rows and blocks."""
    ratio: Figure
    """CPU of `session.run` alone, relative to the server's in the same round."""
    wall_ratio: Figure
    """Wall time of `session.run` alone, relative to the server's. Other processes affect it."""
    peak_mb: dict[str, Figure]
    """Number of rows of a file to the server's peak memory after it."""
    grown_mb: Figure
    """Peak after the large file minus peak after the small one."""
    first_row_ms: Figure | None = None
    """Time from a request's head to its first scored row. Most of the file is not sent yet."""
    beside: Beside | None = None


class Flood(msgspec.Struct, frozen=True, kw_only=True):
    """One level of load: each client sends its next request after the previous response."""

    label: str
    times: int
    """Load in multiples of the capacity; 0: a few clients."""
    clients: int
    goodput: float
    """Responses with status 200 per second."""
    of_peak: float
    """Goodput relative to the highest of this label's levels so far."""
    p99_ms: float
    """Of the requests with status 200."""
    refused: float
    """Rejected requests per second."""
    refusal_p50_ms: float
    refusal_p99_ms: float
    lost: int
    """Requests without a response."""
    memory_mb: float
    """Highest sampled memory (PSS) of the server's process tree."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Latency of calls on new connections while other clients keep the server busy."""

    label: str
    calls: int
    lost: int
    """Calls that failed or were rejected."""
    p50_ms: float
    p99_ms: float
    worst_ms: float


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """All results of `make bench`."""

    made: str
    rounds: int
    machine: dict[str, str]
    session: dict[str, float]
    """CPU microseconds of `session.run` in a loop, and of importing onnxruntime and opening the session."""
    rows: dict[str, Row]
    servers: dict[str, Server]
    many_rows: dict[str, float] = {}
    """CPU microseconds of a binary request of 10,000 rows, of `session.run` alone, and their ratio."""
    soak_pss_mb: dict[str, float] = {}
    wires: list[Wire] = []
    loads_ms: dict[str, Figure] = {}
    """CPU milliseconds that the RPC layer and HTTP/2 add to a start that loads them."""
    batches: list[Batch] = []
    hops: list[Hop] = []
    floods: list[Flood] = []
    waits: list[Wait] = []
    image: dict[str, Any] | None = None
    skipped: dict[str, str] = {}
    """Name of a contender that was not measured to the reason."""


def read(path: Path = FILE) -> Results:
    """Return the results in a file."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def write(results: Results, path: Path = FILE) -> None:
    """Write the results as indented JSON, so that two runs can be compared as text."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def rows(measured: Measured, contenders: Iterable[Contender]) -> dict[str, Row]:
    """Return the rows of the contenders, each relative to the echo of the same body."""
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
    """Return starts and sizes of the contenders.

    The contender `start` is the baseline of a start.
    """
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
    """Return the medians for a request of many rows: server, `session.run` alone, ratio."""
    served, alone = zip(*measured.many_us, strict=True)
    ratios = [each / floor for each, floor in measured.many_us]
    medians = map(statistics.median, (served, alone, ratios))
    return dict(zip(("server_cpu_us", "session_cpu_us", "ratio"), (round(each, 3) for each in medians), strict=True))


def figure(values: Sequence[float], digits: int) -> Figure:
    """Return the median and the range of values, rounded."""
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

"""Report of the results: tables of the README and the pages, and the cost chart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.cost import MONTH_S, TYPES, kept_warm_usd, load_of, million_usd
from bench.cost_chart import draw
from bench.results import Beside, Results, Row
from bench.targets import ROOT
from bench.thresholds import held

README: Final = ROOT / "README.md"
COST: Final = ROOT / "docs" / "cost.md"
SIZING: Final = ROOT / "docs" / "how-to" / "sizing.md"
BENCH: Final = ROOT / "docs" / "bench.md"
PICTURE: Final = ROOT / "docs" / "cost.svg"
_MARK: Final = "<!-- {name}: made by make bench -->"
_END: Final = "<!-- end -->"
MONTHLY: Final = 100_000_000
"""Predictions per month in the table of costs: about forty per second."""


def publish(results: Results) -> None:
    """Write all tables to the README and the pages, and draw the cost chart."""
    for path, name, text in tables(results):
        path.write_text(replaced(path.read_text(), name, text))
    draw(results, PICTURE)


def tables(results: Results) -> Iterator[tuple[Path, str, str]]:
    """Yield the page, the name of the mark, and the text of each table."""
    yield README, "speed", speed(results)
    yield COST, "cost", cost(results)
    yield SIZING, "sizes", sizes(results)
    yield BENCH, "wires", wires(results)
    yield BENCH, "batches", batches(results)
    yield BENCH, "hops", hops(results)
    yield BENCH, "overload", overload(results)


def replaced(page: str, name: str, text: str) -> str:
    """Return a page with new text between the marks of `name`. Raises ValueError if a mark is missing."""
    mark = _MARK.format(name=name)
    before, rest = page.split(mark + "\n", 1)
    _, after = rest.split(_END, 1)
    return f"{before}{mark}\n{text}{_END}{after}"


_SPEED: Final = (
    "server",
    "CPU a request, of the echo's, at 16 connections",
    "at 1",
    "at 64",
    "CPU µs",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "PSS MB",
    "start CPU s",
)
"""Columns of the README's table, at 16 connections unless the name states another number."""


def speed(results: Results) -> str:
    """Return the table of all contenders, the lowest CPU first."""
    heads = [f"| {' | '.join(_SPEED)} |", "| --- |" + " --: |" * (len(_SPEED) - 1)]
    rows = sorted(results.rows.values(), key=lambda each: each.load["16"].ratio.median)
    return "\n".join([*heads, *(_speed_line(results, row) for row in rows), "", _told(results), ""])


def _speed_line(results: Results, row: Row) -> str:
    at = row.load["16"]
    server = results.servers[row.contender]
    ratios = " | ".join(f"{row.load[number].ratio.median:.2f}" for number in ("16", "1", "64"))
    pss = f"{server.pss_mb.median:.0f}" if server.pss_mb else ""
    times = f"{at.p50_us.median / 1000:.2f} | {at.p99_us.median / 1000:.2f}"
    return (
        f"| {row.label} | {ratios} | {at.cpu_us.median:.0f} | {at.rate.median:,.0f} | {times} | {pss} |"
        f" {server.start_cpu_s.median:.2f} |"
    )


def _told(results: Results) -> str:
    machine = results.machine
    skipped = "".join(f" Not measured: {name} ({reason})." for name, reason in results.skipped.items())
    start = results.servers["lifeboat"].start_ratio.median
    return (
        f"From its start to the first right answer Lifeboat takes {start:.2f} of the CPU of one process that imports"
        " numpy, onnxruntime, uvicorn and Starlette, opens the session and serves the echo.\n\n"
        f"Medians of {results.rounds} interleaved rounds on {machine['cpu']}, {results.made}: one core for the server,"
        f" one for the load. Ranges are in [bench/results.json](bench/results.json).{skipped}"
    )


def wires(results: Results) -> str:
    """Return the table of calls by protocol, and the cost of loading RPC and HTTP/2."""
    lines = ["| call | CPU µs | of REST's, at 16 connections | at 1 | at 64 |", "| --- | --: | --: | --: | --: |"]
    for wire in results.wires:
        ratios = " | ".join(f"{wire.ratio[number].median:.2f}" for number in ("16", "1", "64"))
        lines.append(f"| {wire.label} | {wire.cpu_us.median:.0f} | {ratios} |")
    if results.loads_ms:
        rpc, http2 = (results.loads_ms[name].median for name in ("rpc_ms", "http2_ms"))
        lines += ["", f"Loading the RPC layer takes {rpc:.0f} ms of CPU, HTTP/2 {http2:.0f} ms: at the start with"]
        lines += ["`LIFEBOAT_HTTP2=1`, else when the first call comes, so that who never calls doesn't pay."]
    return "\n".join([*lines, ""])


_FILES: Final = (
    "file",
    "model",
    "rows/s",
    "`session.run` alone",
    "CPU of that, of the server's",
    "peak MB after 50,000 rows",
    "after 1,000,000",
    "first scored row ms",
)
"""Columns of the table of files."""


def batches(results: Results) -> str:
    """Return the tables of files: speed, memory, and the latency of single predictions meanwhile."""
    lines = [f"| {' | '.join(_FILES)} |", "| --- | --- |" + " --: |" * (len(_FILES) - 2)]
    for each in results.batches:
        peaks = " | ".join(f"{peak.median:.0f}" for peak in each.peak_mb.values())
        first = f"{each.first_row_ms.median:.0f}" if each.first_row_ms else ""
        lines.append(
            f"| {each.form} | {each.model} | {each.rate.median:,.0f} | {each.session_rate.median:,.0f} |"
            f" {each.ratio.median:.2f} | {peaks} | {first} |"
        )
    lines += ["", "| predictions beside | p50 µs | p99 µs | p99, of the quiet one | rows/s of the file meanwhile |"]
    lines.append("| --- |" + " --: |" * 4)
    for each in results.batches:
        if each.beside:
            lines += _beside_lines(each.form, each.beside)
    return "\n".join([*lines, ""])


def _beside_lines(form: str, seen: Beside) -> Iterator[str]:
    yield f"| nothing, before {form} | {seen.quiet_p50_us.median:.0f} | {seen.quiet_p99_us.median:.0f} | | |"
    yield (
        f"| {form} | {seen.p50_us.median:.0f} | {seen.p99_us.median:.0f} | {seen.p99_ratio.median:.1f} |"
        f" {seen.rate.median:,.0f} |"
    )


def hops(results: Results) -> str:
    """Return the table of calls to the server and through the edge."""
    lines = ["| a call | p50 ms | p99 ms | more than to the server, p50 | p99 | CPU µs | of the server's |"]
    lines.append("| --- |" + " --: |" * 6)
    for each in results.hops:
        times = (each.p50_ms, each.p99_ms, each.added_p50_ms, each.added_p99_ms)
        shown = " | ".join(f"{time.median:.2f}" for time in times)
        lines.append(f"| {each.label} | {shown} | {each.cpu_us.median:.0f} | {each.ratio.median:.1f} |")
    return "\n".join([*lines, ""])


_FLOODS: Final = (
    "requests",
    "clients",
    "goodput/s",
    "of the peak",
    "p99 ms",
    "rejected/s",
    "rejection p50 ms",
    "p99",
    "lost",
    "memory MB",
)
"""Columns of the table of loads."""


def overload(results: Results) -> str:
    """Return the tables of loads above the capacity and of other clients' latency."""
    lines = [f"| {' | '.join(_FLOODS)} |", "| --- |" + " --: |" * (len(_FLOODS) - 1)]
    for each in results.floods:
        refused = (
            f"{each.refused:,.0f} | {each.refusal_p50_ms:.1f} | {each.refusal_p99_ms:.1f}" if each.refused else "0 | |"
        )
        lines.append(
            f"| {each.label} | {each.clients:,} | {each.goodput:,.0f} | {each.of_peak:.2f} | {each.p99_ms:.1f} |"
            f" {refused} | {each.lost} | {each.memory_mb:.0f} |"
        )
    lines += [
        "",
        "| one prediction on a new connection | calls | lost | p50 ms | p99 ms | worst ms |",
        "| --- |" + " --: |" * 5,
    ]
    lines += [
        f"| {each.label} | {each.calls} | {each.lost} | {each.p50_ms:.1f} | {each.p99_ms:.1f} | {each.worst_ms:.1f} |"
        for each in results.waits
    ]
    return "\n".join([*lines, ""])


def cost(results: Results) -> str:
    """Return the table of costs: CPU of a million predictions, a month of warm instances."""
    heads = " | ".join(f"{each.name}, kept warm" for each in TYPES)
    lines = [
        f"| server | CPU of a million predictions | {heads} | most a second on `basic` |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    lines += list(_cost_lines(results))
    return "\n".join([*lines, ""])


def _cost_lines(results: Results) -> Iterator[str]:
    served = [(name, row) for name, row in results.rows.items() if row.peer or name.startswith("lifeboat")]
    for name, row in sorted(served, key=lambda pair: pair[1].load["16"].cpu_us.median):
        load = load_of(results, name)
        pss_mb = results.servers[row.contender].pss_mb
        months = []
        for instance in TYPES:
            fits = pss_mb is None or pss_mb.median <= instance.memory_gib * 1024
            months.append(f"${kept_warm_usd(load, MONTHLY / 30, instance):.2f}" if fits else "does not fit")
        most = 0.25 / load.request_cpu_s
        yield f"| {row.label} | ${million_usd(load):.4f} | {' | '.join(months)} | {most:,.0f} |"


_SIZES: Final = (
    "instance type",
    "vCPU",
    "memory",
    "a month awake, idle",
    "predictions a second, at most",
    "rows a second of a CSV file, at most",
)
"""Columns of the table of instance types."""


def sizes(results: Results) -> str:
    """Return the table of instance types: price of an idle month, and maximum throughput."""
    call_cpu_s = load_of(results, "lifeboat").request_cpu_s
    rates = [each.rate.median for each in results.batches if (each.form, each.model) == ("csv", "Titanic")]
    lines = [f"| {' | '.join(_SIZES)} |", "| --- |" + " --: |" * (len(_SIZES) - 1)]
    for each in TYPES:
        calls = f"{each.vcpu / call_cpu_s:,.0f}"
        rows = f"{each.vcpu * rates[0]:,.0f}" if rates else ""
        month = f"${each.month_usd(MONTH_S, 0):.2f}"
        memory = f"{each.memory_gib * 1024:,.0f} MiB"
        lines.append(f"| `{each.name}` | 1/{1 / each.vcpu:.0f} | {memory} | {month} | {calls} | {rows} |")
    resting = results.servers["lifeboat"].pss_mb
    peaks = [peak.median for each in results.batches for peak in each.peak_mb.values()]
    if resting and peaks:
        lines += ["", f"Memory of the server: {resting.median:.0f} MB after small calls; with a file of a million rows"]
        lines += [f"{max(peaks):.0f} MB at its peak, in the form that takes most."]
    return "\n".join([*lines, ""])


def summary(results: Results) -> str:
    """Return the summary of `make bench`: the tables, and whether each threshold is reached."""
    return "\n".join(
        [
            speed(results),
            cost(results),
            wires(results),
            hops(results),
            f"session.run alone: {results.session}",
            "",
            *map(str, held(results)),
        ]
    )

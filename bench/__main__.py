"""`python -m bench`: measure baselines, this server and peers. Write results.json and the pages."""

import argparse
import datetime as dt
import os
import sys
from collections.abc import Sequence

import msgspec

from bench import environments, process_stats, report, results, targets
from bench.load_test import BenchError, require_h2load
from bench.measure import Measured, many_rows, measure, measure_start, session, soak
from bench.process_stats import Cores
from bench.results import Results
from bench.targets import Contender


def main(arguments: Sequence[str]) -> int:
    """Run `all`, or one part again, or `pages`, which only writes the pages.

    Returns the exit code: 1 if a contender that must run can't.
    """
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "what",
        nargs="?",
        choices=["all", "attacks", "batch", "edge", "image", "many", "overload", "pages", "rpc"],
        default="all",
        help="default: all",
    )
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--only", default="", help="peers to measure, with commas; none: no peer. Nothing is written")
    chosen = parser.parse_args(arguments)
    try:
        require_h2load()
        if chosen.what == "all":
            _measure_all(chosen.rounds, chosen.only)
        elif chosen.what == "attacks":
            _measure_attacks()
        elif chosen.what == "batch":
            _measure_batch(chosen.rounds)
        elif chosen.what == "edge":
            _measure_edge(chosen.rounds)
        elif chosen.what == "image":
            _measure_image(chosen.rounds)
        elif chosen.what == "many":
            _measure_many(chosen.rounds)
        elif chosen.what == "overload":
            _measure_overload()
        elif chosen.what == "rpc":
            _measure_rpc(chosen.rounds)
        else:
            report.publish(results.read())
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _measure_all(rounds: int, only: str) -> None:
    os.environ["BENCH_NODE"] = environments.node()
    peers, skipped = _installed([peer for peer in targets.peers() if not only or peer.name in only.split(",")])
    ours = [targets.floor(), targets.lifeboat()]
    measured = Measured()
    cores = Cores.of_this_machine()
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        measure_start(targets.start_floor(), measured, cores)
        measure(ours, measured, cores)
        _tell(ours, measured)
        many_rows(targets.lifeboat(), measured, cores)
        for peer in peers:
            if peer.name not in skipped:
                _measure(peer, measured, cores, skipped)
    soak(targets.lifeboat(), measured, cores)
    kept = [contender for contender in (*ours, *peers) if contender.name not in skipped]
    (first, second) = measured.soak_pss_mb[0]
    found = Results(
        made=dt.datetime.now(dt.UTC).date().isoformat(),
        rounds=rounds,
        machine=process_stats.described(),
        session=session(cores, 1, 16),
        rows=results.rows(measured, kept),
        servers=results.servers(measured, {peer.name: round(environments.installed_mb(peer), 1) for peer in peers}),
        many_rows=results.many_rows(measured),
        soak_pss_mb={"100,000": round(first, 1), "200,000": round(second, 1)},
        image=results.read().image if results.FILE.exists() else None,
        wires=results.read().wires if results.FILE.exists() else [],
        loads_ms=results.read().loads_ms if results.FILE.exists() else {},
        batches=results.read().batches if results.FILE.exists() else [],
        hops=results.read().hops if results.FILE.exists() else [],
        floods=results.read().floods if results.FILE.exists() else [],
        waits=results.read().waits if results.FILE.exists() else [],
        skipped=skipped,
    )
    if only:
        print(report.summary(found))
    else:
        _publish(found)


def _installed(peers: Sequence[Contender]) -> tuple[list[Contender], dict[str, str]]:
    """Install the peers. Returns the installed ones, and for each other peer the reason."""
    able, skipped = [], {}
    for peer in peers:
        print(f"installing {peer.label}", flush=True)
        try:
            environments.install(peer)
            able.append(peer)
        except BenchError as error:
            skipped[peer.name] = str(error)
            print(f"  skipped: {error}", flush=True)
    return able, skipped


def _measure(peer: Contender, measured: Measured, cores: Cores, skipped: dict[str, str]) -> None:
    """Measure a peer for one round. If it fails, record the reason; later rounds skip it."""
    try:
        measure([peer], measured, cores)
    except BenchError as error:
        skipped[peer.name] = str(error).partition("\n")[0]
        print(f"  {peer.label}: skipped: {error}", flush=True)
    else:
        _tell([peer], measured)


def _tell(measured_now: Sequence[Contender], measured: Measured) -> None:
    for contender in measured_now:
        for row, call in contender.calls.items():
            last = measured.windows[row, 16][-1]
            print(f"  {contender.label} {call.what}: {last.cpu_us:.0f} us, p99 {last.p99_us / 1000:.2f} ms", flush=True)


def _measure_many(rounds: int) -> None:
    measured = Measured()
    for _ in range(rounds):
        many_rows(targets.lifeboat(), measured, Cores.of_this_machine())
    _publish(msgspec.structs.replace(results.read(), many_rows=results.many_rows(measured)))


def _measure_rpc(rounds: int) -> None:
    from bench import rpc

    wires, loads_ms = rpc.measured(rounds)
    _publish(msgspec.structs.replace(results.read(), wires=wires, loads_ms=loads_ms))


def _measure_batch(rounds: int) -> None:
    from bench import batch

    _publish(msgspec.structs.replace(results.read(), batches=batch.measured(rounds)))


def _measure_edge(rounds: int) -> None:
    from bench import edge

    _publish(msgspec.structs.replace(results.read(), hops=edge.measured(rounds)))


def _measure_overload() -> None:
    from bench import overload

    _publish(msgspec.structs.replace(results.read(), floods=overload.floods()))


def _measure_attacks() -> None:
    from bench import overload

    _publish(msgspec.structs.replace(results.read(), waits=overload.waits()))


def _measure_image(rounds: int) -> None:
    from bench import image

    measured = image.measure(rounds)
    print(f"image: {measured}")
    _publish(msgspec.structs.replace(results.read(), image=measured))


def _publish(found: Results) -> None:
    """Write the results and the pages, and print a summary."""
    results.write(found)
    report.publish(found)
    print(report.summary(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

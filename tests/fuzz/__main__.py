"""Fuzz every decoder of the server in process. `python -m tests.fuzz --help` lists the options.

An input that leads to a fault is written to `<out>/found/<target>--<digest>`; `python -m tests.fuzz replay FILE` runs
it again. Moved to tests/fuzz/found/ it becomes an ordinary test.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.fuzz import corpus, supervise
from tests.fuzz.supervise import ROOT, Plan

OUT: Final = ROOT / ".build" / "fuzz"


def main(arguments: Sequence[str]) -> int:
    """Run the fuzzer with the given arguments.

    Returns 1 if an input led to a fault.
    """
    if arguments[:1] == ["replay"]:
        return _replay([Path(each) for each in arguments[1:]])
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long; 0: until every process had its runs")
    parser.add_argument("--runs", type=int, default=0, help="inputs a process mutates at most; 0: no bound")
    parser.add_argument("--only", default="", help="targets, with commas; default: all")
    parser.add_argument("--seed", type=int, default=1, help="chooses the inputs; default: 1")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; default: one a core")
    parser.add_argument("--plain", action="store_true", help="without coverage, also where atheris is installed")
    parser.add_argument("--out", type=Path, default=OUT, help="where findings are written; default: .build/fuzz")
    parser.add_argument("--keep", type=int, default=0, help="new inputs of each target to keep in tests/fuzz/corpus")
    chosen = parser.parse_args(arguments)
    from tests.fuzz.every import targets

    names = [each.name for each in targets([name for name in chosen.only.split(",") if name])]
    if not chosen.seconds and not chosen.runs:
        parser.error("--seconds or --runs must bound the run")
    shutil.rmtree(chosen.out, ignore_errors=True)
    plan = Plan(names, chosen.out, chosen.seconds, chosen.runs, chosen.seed, chosen.jobs, chosen.plain)
    began_s = time.monotonic()
    counts = supervise.run(plan)
    for job in range(chosen.jobs if chosen.keep else 0):
        corpus.keep(chosen.out, job, names[job :: chosen.jobs], chosen.keep)
    _tell(counts, time.monotonic() - began_s)
    return _findings(sorted((chosen.out / "found").glob("*--*[!t]")))


def _tell(counts: dict[str, int], seconds: float) -> None:
    for name, count in counts.items():
        print(f"{name:20} {count:>10,} inputs")
    total = sum(counts.values())
    print(f"{'all':20} {total:>10,} inputs in {seconds:.0f} s, {total / seconds:,.0f} a second")


def _findings(paths: Sequence[Path]) -> int:
    """Print the findings.

    Returns 1 if a fault happens again on replay; other findings don't count.
    """
    failed = 0
    for path in paths:
        told = supervise.confirmed(path)
        failed += bool(told)
        print(f"{'FAULT' if told else 'not seen again'}: python -m tests.fuzz replay {os.path.relpath(path)}")
        print(_brief(told or path.with_suffix(".txt").read_text()))
    print(f"{failed} faults")
    return int(failed > 0)


def _brief(told: str) -> str:
    """Return a report's first and last line: the kind of fault, and the exception."""
    lines = told.strip().splitlines()
    return "\n".join(line[:400] for line in (lines if len(lines) < 3 else (lines[0], "...", lines[-1])))


def _replay(paths: Sequence[Path]) -> int:
    from tests.fuzz.every import targets
    from tests.fuzz.oracle import faults
    from tests.fuzz.service import Service

    failed = 0
    with Service() as service:
        for path in paths:
            (target,) = targets([path.name.partition("--")[0]])
            found = faults(target.run(service, path.read_bytes()), target.responses)
            failed += bool(found)
            print(f"{path.name}: {'; '.join(found) or 'no fault'}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

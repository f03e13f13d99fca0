"""One process of the fuzzer: `python -m tests.fuzz.worker` with the options that `tests.fuzz.supervise` gives it."""

import argparse
import importlib.util
import os
import resource
import sys
from pathlib import Path

from tests.fuzz import engine
from tests.fuzz.engine import Engine, Findings, Progress

MEMORY_BYTES = 6 * 1024**3
"""Address space limit: an input that needs more memory ends the process, not the machine."""


def main() -> None:
    """Fuzz some targets until the time limit or the number of inputs is reached."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--targets", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--progress", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--plain", action="store_true")
    chosen = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES if hard < 0 else min(hard, MEMORY_BYTES), hard))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    def make() -> Engine:
        from tests.fuzz.every import targets
        from tests.fuzz.service import Service

        found = targets(chosen.targets.split(","))
        service = Service()
        service.__enter__()
        return Engine(found, service, Progress(chosen.progress, len(found)), Findings(chosen.folder / "found"))

    if chosen.plain or importlib.util.find_spec("atheris") is None:
        engine.plainly(make(), chosen.seed, engine.deadline(chosen.seconds, chosen.runs))
        sys.stdout.flush()
        os._exit(0)
    engine.guided(make, chosen.seed, chosen.seconds, chosen.runs, chosen.folder / f"corpus-{chosen.progress.name}")


if __name__ == "__main__":
    main()

"""Run inputs, guided by coverage if atheris is installed, and write faults to files."""

import hashlib
import importlib
import mmap
import pkgutil
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.fuzz.service import Service
    from tests.fuzz.target import Target

ROOM: Final = 1 << 20
"""Maximum bytes of the current input in `Progress`."""
_LENGTH: Final = struct.Struct("<IQ")


class Progress:
    """A file with the current input and each target's count, for another process."""

    def __init__(self, path: Path, targets: int) -> None:
        """Open the file; create it if it doesn't exist."""
        size = _LENGTH.size + 8 * targets + ROOM
        if not path.exists():
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)
        self._counts = memoryview(self._map)[_LENGTH.size : _LENGTH.size + 8 * targets].cast("Q")
        self._start = _LENGTH.size + 8 * targets

    def begin(self, target: int, data: bytes) -> None:
        """Record an input before it runs, because it may end the process."""
        self._counts[target] += 1
        self._map[self._start : self._start + len(data)] = data
        _LENGTH.pack_into(self._map, 0, len(data), target)

    @property
    def counts(self) -> list[int]:
        """Number of inputs of each target."""
        return self._counts.tolist()

    def current(self) -> tuple[int, bytes]:
        """Return the target and the input that ran last."""
        length, target = _LENGTH.unpack_from(self._map)
        return target, bytes(self._map[self._start : self._start + length])


class Findings:
    """A folder of inputs that led to faults, one input for each kind of fault."""

    def __init__(self, folder: Path) -> None:
        """Write into `folder`."""
        self._folder = folder
        self._kinds: set[tuple[str, str]] = set()
        self._known = {path.name for path in folder.glob("*--*")}

    def has(self, target: str, data: bytes) -> bool:
        """Return True if an input was written before this process began."""
        return bool(self._known) and name(target, data) in self._known

    def add(self, target: str, data: bytes, faults: Sequence[str]) -> None:
        """Write an input, unless its target already has this kind of fault."""
        from tests.fuzz.oracle import kind

        known = (target, kind(faults[0]))
        if known in self._kinds:
            return
        self._kinds.add(known)
        write(self._folder, target, data, "\n".join(faults))


def name(target: str, data: bytes) -> str:
    """Return the file name of an input."""
    return f"{target}--{hashlib.sha256(data).hexdigest()[:16]}"


def write(folder: Path, target: str, data: bytes, told: str) -> Path:
    """Write an input and its report; return the input's file.

    The file's name begins with the target's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name(target, data)
    path.write_bytes(data)
    path.with_suffix(".txt").write_text(told[:20_000] + "\n")
    return path


class Engine:
    """Mutates, runs and judges inputs of some targets in this process."""

    def __init__(self, targets: Sequence["Target"], service: "Service", progress: Progress, findings: Findings) -> None:
        """Begin with the seeds and the corpus of every target."""
        from tests.fuzz.corpus import kept

        self._targets = targets
        self._service = service
        self._progress = progress
        self._findings = findings
        self.corpus = [[*target.seeds(), *kept(target.name)] for target in targets]
        self._weights = [target.weight for target in targets]

    def run(self, which: int, data: bytes) -> None:
        """Run an input of a target, and write it if it leads to a fault."""
        from tests.fuzz.oracle import faults

        target = self._targets[which]
        if self._findings.has(target.name, data):
            return
        self._progress.begin(which, data)
        found = faults(target.run(self._service, data), target.responses)
        if found:
            self._findings.add(target.name, data, found)

    def seeds(self) -> Iterator[tuple[int, bytes]]:
        """Yield every input of the initial corpus."""
        for which, inputs in enumerate(self.corpus):
            for data in inputs:
                yield which, data

    def mutated(self, chance: Random, data: bytes | None = None, which: int | None = None) -> tuple[int, bytes]:
        """Return a mutation of `data`, or of an input in any target's corpus."""
        if data is None or which is None:
            (which,) = chance.choices(range(len(self._targets)), self._weights)
            data = chance.choice(self.corpus[which])
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            data = self._targets[which].mutate(data, chance)
        return which, data[:ROOM]


def plainly(engine: Engine, seed: int, until: Callable[[], bool]) -> None:
    """Mutate the corpus without guidance: the inputs depend only on the seed."""
    chance = Random(seed)  # noqa: S311 # chooses inputs
    for which, data in engine.seeds():
        engine.run(which, data)
    while not until():
        engine.run(*engine.mutated(chance))


def guided(make: Callable[[], Engine], seed: int, seconds: float, runs: int, folder: Path) -> None:
    """Let libFuzzer choose inputs by the coverage of the server's code. Does not return."""
    atheris: Any = importlib.import_module("atheris")
    import server

    with atheris.instrument_imports(include=["server"], enable_loader_override=False):
        for module in pkgutil.walk_packages(server.__path__, "server."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    engine = make()
    folder.mkdir(parents=True, exist_ok=True)  # an earlier process may have found inputs
    for number, (which, data) in enumerate(engine.seeds()):
        (folder / str(number)).write_bytes(bytes([which]) + data)

    def mutate(data: bytes, max_size: int, chosen: int) -> bytes:
        chance = Random(chosen)  # noqa: S311 # chooses inputs
        of_corpus = bool(data) and chance.randrange(2) == 0
        which = data[0] % len(engine.corpus) if of_corpus else None
        target, changed = engine.mutated(chance, data[1:] if of_corpus else None, which)
        return (bytes([target]) + changed)[:max_size]

    def one(data: bytes) -> None:
        if data:
            engine.run(data[0] % len(engine.corpus), data[1:])

    options = [
        f"-max_len={ROOM}",
        "-len_control=0",
        "-rss_limit_mb=0",
        "-timeout=3600",
        "-detect_leaks=0",
        "-verbosity=0",
    ]
    options += [
        f"-seed={seed % 2**31 or 1}",
        f"-max_total_time={seconds:.0f}",
        f"-runs={runs or -1}",
        f"-artifact_prefix={folder}-",
    ]
    atheris.Setup([sys.argv[0], *options, str(folder)], one, custom_mutator=mutate)
    atheris.Fuzz()


def deadline(seconds: float, runs: int) -> Callable[[], bool]:
    """Return a function that returns True after `seconds` or `runs`, whichever is first.

    0 means no limit.
    """
    end_s = time.monotonic() + seconds if seconds else float("inf")
    left = runs or -1

    def until() -> bool:
        nonlocal left
        left -= 1
        return left == -1 or time.monotonic() > end_s

    return until

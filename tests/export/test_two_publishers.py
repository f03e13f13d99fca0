"""Tests of concurrent publishers: one works at a time, and no publication is lost."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from export.registry import labels
from export.registry.atomic_files import locked
from server.errors import ModelError
from server.models.repository import Repository
from tests.export import factors

ROOT: Final = Path(__file__).parents[2]
ROUNDS: Final = 12
HUNG_S: Final = 60
PUBLISH: Final = """
import sys
from pathlib import Path
from tests.export import factors

root, first, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
made = [factors.model(first + each) for each in range(rounds)]
print("ready", flush=True)
sys.stdin.readline()
for each in range(rounds):
    published = factors.publish(root, first + each)
    assert published.new and published.stable == published.version
    print(published.version, first + each, flush=True)
"""
HOLD: Final = """
import sys
from pathlib import Path
from export.registry.atomic_files import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""
WAIT: Final = """
import fcntl, sys
from pathlib import Path
from export.registry.atomic_files import locked

told = []

def tell(event, _):
    if event == "fcntl.flock" and not told:
        told.append(event)
        print("waits", flush=True)

sys.addaudithook(tell)
try:
    with locked(Path(sys.argv[1])):
        print("has it", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@contextmanager
def _started(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Start a program; kill it at the end or after HUNG_S seconds."""
    command = [sys.executable, "-W", "error", "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        hung = threading.Timer(HUNG_S, process.kill)
        hung.start()
        try:
            yield process
        finally:
            hung.cancel()
            process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _check(root: Path, published: dict[int, float]) -> None:
    """Check that each version has its model, the highest is stable, and no dot file remains."""
    served = Repository.load(root, factors.NAME).versions(factors.NAME)
    assert {version: factors.factor_of(model) for version, model in served.models.items()} == published
    assert (served.failed, served.labels) == ({}, {"stable": max(published)})
    assert [path.name for path in (root / factors.NAME).glob(".*")] == []


def test_two_processes(tmp_path: Path) -> None:
    """Two processes that publish different models get different versions; the last one is stable."""
    with _started(PUBLISH, tmp_path, 100, ROUNDS) as one, _started(PUBLISH, tmp_path, 200, ROUNDS) as other:
        assert [_line(one), _line(other)] == ["ready", "ready"]
        for each in (one, other):
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        told = [line.split() for each in (one, other) for line in each.communicate()[0].splitlines()]
        assert [one.returncode, other.returncode] == [0, 0]
    published = {int(version): float(factor) for version, factor in told}
    assert sorted(published) == list(range(1, 2 * ROUNDS + 1))
    _check(tmp_path, published)
    assert labels.read_history(tmp_path / factors.NAME) == {"stable": list(range(1, 2 * ROUNDS))}


def test_eight_threads(tmp_path: Path) -> None:
    """Eight threads get different versions, beside rejected publications that leave the folder empty."""
    together = threading.Barrier(8)

    def publish(worker: int) -> dict[int, float]:
        published = {}
        together.wait(HUNG_S)
        for each in range(4):
            factor = float(10 * worker + each + 1)
            if worker % 2:
                with pytest.raises(ModelError):
                    factors.publish(tmp_path, factor, sha256="another")
            else:
                published[factors.publish(tmp_path, factor).version] = factor
        return published

    made = [factors.model(10 * worker + each + 1) for worker in range(8) for each in range(4)]
    assert len(set(made)) == 32
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(publish, range(8)))
    published = {version: factor for each in found for version, factor in each.items()}
    assert sorted(published) == list(range(1, 17))
    _check(tmp_path, published)


def test_refused_publishers_of_a_model_that_is_not_there(tmp_path: Path) -> None:
    """Rejected publishers, which remove the folder that another one will use, leave nothing."""

    def publish(factor: int) -> None:
        for _ in range(10):
            with pytest.raises(ModelError):
                factors.publish(tmp_path / "models", factor, sha256="another")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(publish, range(1, 9)))
    assert list((tmp_path / "models").iterdir()) == []


def test_killed_holder_keeps_nobody_out(tmp_path: Path) -> None:
    """A publisher that waits for a killed one gets the lock, and so does the next."""
    home = tmp_path / factors.NAME
    with _started(HOLD, home) as holder:
        assert _line(holder) == "held"
        with _started(WAIT, home) as waiter:
            assert _line(waiter) == "waits"
            holder.kill()
            assert _line(waiter) == "has it"
    with _started(HOLD, home) as holder:
        assert _line(holder) == "held"
        holder.kill()
    assert (home / ".lock").exists()
    assert factors.publish(tmp_path, 1).version == 1
    _check(tmp_path, {1: 1.0})


def test_interrupted_waiter_leaves_the_lock_to_its_holder(tmp_path: Path) -> None:
    """An interrupted waiter doesn't remove the holder's lock, so no other publisher gets it."""
    home = tmp_path / factors.NAME
    with ExitStack() as started:
        with locked(home):
            held = (home / ".lock").stat()
            waiter = started.enter_context(_started(WAIT, home))
            assert _line(waiter) == "waits"
            waiter.send_signal(signal.SIGINT)
            assert _line(waiter) == "interrupted"
            assert os.path.samestat((home / ".lock").stat(), held)
            another = started.enter_context(_started(WAIT, home))
            assert _line(another) == "waits"
            (home / "kept").touch()
        assert _line(another) == "has it"
        another.wait()
    assert [path.name for path in home.iterdir()] == ["kept"]

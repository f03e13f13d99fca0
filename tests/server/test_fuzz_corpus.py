"""Replay the fuzzer's corpus, and compare the fast path with uvicorn."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.corpus import found, kept
from tests.fuzz.every import targets
from tests.fuzz.oracle import faults
from tests.fuzz.service import Service
from tests.fuzz.target import Target
from tests.fuzz.targets.wires import compared, requests, splits
from tests.server.support.process import HUNG_S, ROOT

_TARGETS = targets()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Serve the committed models in this process."""
    with Service() as opened:
        yield opened


@pytest.mark.parametrize("target", _TARGETS, ids=lambda target: target.name)
def test_kept_inputs(service: Service, target: Target) -> None:
    """No input of the corpus leads to a fault."""
    for data in (*target.seeds(), *kept(target.name)):
        assert faults(target.run(service, data), target.responses) == [], (target.name, data[:200])


@pytest.mark.parametrize("data", requests(), ids=range(len(requests())))
def test_both_paths_answer_the_same(service: Service, data: bytes) -> None:
    """A request cut at any byte has equal responses from fast path and uvicorn."""
    for pieces in splits(data):
        assert compared(service, data, pieces).errors == []


def test_each_finding_names_its_target() -> None:
    """The name of every input that led to a fault begins with a target's name."""
    names = {target.name for target in _TARGETS}
    assert {path.name.partition("--")[0] for path in found()} <= names


def test_a_fault_is_found_and_replayed(tmp_path: Path) -> None:
    """An input that ends the process is written to a file that can be replayed."""
    command = [sys.executable, "-m", "tests.fuzz", "--plain", "--only=selftest", "--jobs=1", f"--out={tmp_path}"]
    done = subprocess.run(
        [*command, "--seconds=0", "--runs=50"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=10 * HUNG_S,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("FAULT: ")]
    assert len(told) >= 2, done.stdout
    assert "the process ended" in done.stdout
    assert "exception: " in done.stdout

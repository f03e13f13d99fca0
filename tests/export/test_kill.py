"""Tests that a process killed at any write leaves the model repository valid for servers and publishers."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import pytest

from export.registry import labels
from export.registry.labels import LabelError, read_history, rollback
from server.models.repository import LABELS_FILE, Repository, read_labels
from tests.export import factors

ROOT: Final = Path(__file__).parents[2]
LEAST_STEPS: Final = 15
Event = tuple[str, str]


def _killed(action: str, folder: Path) -> list[Path]:
    """Return the repositories that remain after a kill before each step; the last one is complete."""
    command = [sys.executable, "-m", "tests.export.killing", action, str(folder)]
    one_thread = {"OPENBLAS_NUM_THREADS": "1"}  # the program forks
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **one_thread}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    copies = sorted((path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
    assert len(copies) >= LEAST_STEPS
    return copies


def _stable(root: Path) -> int | None:
    """Return the version labelled stable, or None, after checking that the repository is valid."""
    home = root / factors.NAME
    if not home.exists():
        return None
    repository = Repository.load(root, "other")
    there = {path.name for path in home.iterdir() if not path.name.startswith(".")}
    numbers = {name for name in there if name.isdecimal()}
    assert there - numbers <= {"labels.json", "history.json"}
    read_history(home)
    if numbers:
        served = repository.versions(factors.NAME)
        assert {str(version) for version in served.models} == numbers
        assert not served.failed
        for version, model in served.models.items():
            assert factors.factor_of(model) == version
    return read_labels(home / LABELS_FILE).get("stable")


def _dot_files(root: Path) -> list[str]:
    return [path.name for path in (root / factors.NAME).glob(".*")]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the repositories after killed publications of version 3, with 1 stable and 2 published."""
    return _killed("publish", tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the repositories after killed first publications of a model."""
    return _killed("first", tmp_path_factory.mktemp("first"))


def test_killed_publication(published: list[Path]) -> None:
    """A killed publication leaves the old state or the complete new one; a second run completes it."""
    seen = []
    for root in published:
        seen.append(_stable(root))
        if (path := root / factors.NAME / "3").exists():
            assert sorted(child.name for child in path.iterdir()) == [
                "SHA256SUMS",
                "card.html",
                "manifest.json",
                "model.onnx",
            ]
            assert (path / "card.html").read_bytes() == b"card"
        again = factors.publish(root, 3)
        assert (again.version, again.stable, _stable(root), _dot_files(root)) == (3, 3, 3, [])
        assert rollback(root, factors.NAME, "stable") == (3, 1)
        assert factors.publish(root, 3).stable == _stable(root) == 1  # the rollback was on purpose
    assert seen == sorted(seen, key=lambda label: label or 0)
    assert set(seen) == {1, 3}


def test_killed_first_publication(first: list[Path]) -> None:
    """The same holds for a first publication, and other models are served meanwhile."""
    seen = []
    for root in first:
        seen.append(_stable(root))
        again = factors.publish(root, 1)
        assert (again.version, again.stable, _stable(root), _dot_files(root)) == (1, 1, 1, [])
        with pytest.raises(LabelError, match="no previous version"):
            rollback(root, factors.NAME, "stable")
    assert seen == sorted(seen, key=lambda label: label or 0)
    assert set(seen) == {None, 1}


def test_killed_move(tmp_path: Path) -> None:
    """A label whose move is killed has the old or new version, and rolls back."""
    seen = []
    for root in _killed("move", tmp_path):
        stable = _stable(root)
        seen.append(stable)
        if stable == 1:
            assert rollback(root, factors.NAME, "stable") == (1, 2)
        assert rollback(root, factors.NAME, "stable") == (2, 1)
        with pytest.raises(LabelError, match="no previous version"):
            rollback(root, factors.NAME, "stable")
        assert (_stable(root), _dot_files(root)) == (1, [])
    assert seen == sorted(seen, key=lambda label: -(label or 0))
    assert set(seen) == {1, 2}


def test_killed_rollback(tmp_path: Path) -> None:
    """A label whose rollback is killed points at either version, and can be rolled back further."""
    seen = []
    for root in _killed("rollback", tmp_path):
        stable = _stable(root)
        seen.append(stable)
        if stable == 3:
            assert rollback(root, factors.NAME, "stable") == (3, 2)
        assert rollback(root, factors.NAME, "stable") == (2, 1)
        with pytest.raises(LabelError, match="no previous version"):
            rollback(root, factors.NAME, "stable")
        assert (_stable(root), _dot_files(root)) == (1, [])
    assert seen == sorted(seen, key=lambda label: -(label or 0))
    assert set(seen) == {2, 3}


def test_killed_removal(tmp_path: Path) -> None:
    """A label whose removal is killed exists or not; once removed, its history stays removed."""
    seen = []
    for root in _killed("remove", tmp_path):
        seen.append(_stable(root))
        if seen[-1] is not None:
            assert labels.remove(root, factors.NAME, "stable") == 2
        labels.move(root, factors.NAME, "stable", 2)
        with pytest.raises(LabelError, match="no previous version"):
            rollback(root, factors.NAME, "stable")
    assert set(seen) == {None, 2}


def test_what_is_published_is_on_the_disk_before_it_is_seen(published: list[Path], first: list[Path]) -> None:
    """A version is flushed to disk before it is visible, and visible before its label moves.

    Order: its files, the names of the files, its own name, then the label, which is flushed in the same way.
    """
    for version, copies in ((3, published), (1, first)):
        events = _events(copies)
        (draft,) = {path for event, path in events if event == "os.mkdir" and ".draft-" in path}
        renamed = events.index(("os.rename", f"{draft} to small/{version}"))
        written = [path for event, path in events if event == "open" and path.startswith(f"{draft}/")]
        assert {Path(path).name for path in written} >= {"model.onnx", "manifest.json"}
        for path in written:
            assert _last(events, "open", path) < _last(events, "fsync", path) < events.index(("fsync", draft))
        assert events.index(("fsync", draft)) < renamed
        named = events.index(("fsync", "small"), renamed)
        assert not [event for event, _ in events[renamed + 1 : named] if event in {"open", "os.rename"}]
        labelled = events.index(("os.rename", "small/.draft-labels.json to small/labels.json"))
        assert renamed < _last(events, "open", "small/.draft-labels.json")
        assert _last(events, "fsync", "small/.draft-labels.json") < labelled < _last(events, "fsync", "small")
    made = events.index(("os.mkdir", "small"))
    assert made < events.index(("fsync", "")) < renamed  # the model's own name in the repository


def test_history_is_on_the_disk_before_the_label_moves(published: list[Path]) -> None:
    """The history is flushed before the label moves."""
    events = _events(published)
    noted = events.index(("os.rename", "small/.draft-history.json to small/history.json"))
    assert _last(events, "fsync", "small/.draft-history.json") < noted
    assert noted < events.index(("fsync", "small"), noted) < events.index(("open", "small/.draft-labels.json"))


def _events(copies: list[Path]) -> list[Event]:
    """Return the file system operations of the last process, which wasn't killed, in order."""
    return msgspec.json.decode((copies[0].parent / "events.json").read_bytes(), type=list[Event])


def _last(events: list[Event], event: str, path: str) -> int:
    return max(place for place, each in enumerate(events) if each == (event, path))

"""What writes to a model repository, killed at each of its steps: servers find it whole, and so does who is next."""

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
    """Return the repositories that are left where an action is killed before its first step, its second, ...; whole."""
    command = [sys.executable, "-m", "tests.export.killing", action, str(folder)]
    one_thread = {"OPENBLAS_NUM_THREADS": "1"}  # it forks
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **one_thread}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    copies = sorted((path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
    assert len(copies) >= LEAST_STEPS
    return copies


def _stable(root: Path) -> int | None:
    """Return where stable points, None where it isn't set; after seeing that all that is there is whole."""
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
    """Return what is left of publications of version 3, where 1 and 2 are and stable was moved back to 1."""
    return _killed("publish", tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return what is left of the very first publications of a model."""
    return _killed("first", tmp_path_factory.mktemp("first"))


def test_killed_publication(published: list[Path]) -> None:
    """A publication killed at any step leaves what was there or all of the new; taken again, it comes to its end."""
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
        assert factors.publish(root, 3).stable == _stable(root) == 1  # it was moved back on purpose
    assert seen == sorted(seen, key=lambda label: label or 0)
    assert set(seen) == {1, 3}


def test_killed_first_publication(first: list[Path]) -> None:
    """So does the very first, and keeps no other model from being served."""
    seen = []
    for root in first:
        seen.append(_stable(root))
        again = factors.publish(root, 1)
        assert (again.version, again.stable, _stable(root), _dot_files(root)) == (1, 1, 1, [])
        with pytest.raises(LabelError, match="none before it"):
            rollback(root, factors.NAME, "stable")
    assert seen == sorted(seen, key=lambda label: label or 0)
    assert set(seen) == {None, 1}


def test_killed_move(tmp_path: Path) -> None:
    """A label whose move is killed points at the old version or the new one, and rolls back from there."""
    seen = []
    for root in _killed("move", tmp_path):
        stable = _stable(root)
        seen.append(stable)
        if stable == 1:
            assert rollback(root, factors.NAME, "stable") == (1, 2)
        assert rollback(root, factors.NAME, "stable") == (2, 1)
        with pytest.raises(LabelError, match="none before it"):
            rollback(root, factors.NAME, "stable")
        assert (_stable(root), _dot_files(root)) == (1, [])
    assert seen == sorted(seen, key=lambda label: -(label or 0))
    assert set(seen) == {1, 2}


def test_killed_rollback(tmp_path: Path) -> None:
    """A label whose rollback is killed points at the version it left or the one before, and rolls back from there."""
    seen = []
    for root in _killed("rollback", tmp_path):
        stable = _stable(root)
        seen.append(stable)
        if stable == 3:
            assert rollback(root, factors.NAME, "stable") == (3, 2)
        assert rollback(root, factors.NAME, "stable") == (2, 1)
        with pytest.raises(LabelError, match="none before it"):
            rollback(root, factors.NAME, "stable")
        assert (_stable(root), _dot_files(root)) == (1, [])
    assert seen == sorted(seen, key=lambda label: -(label or 0))
    assert set(seen) == {2, 3}


def test_killed_removal(tmp_path: Path) -> None:
    """A label whose removal is killed is there or not, and once it is gone nothing of its past comes back."""
    seen = []
    for root in _killed("remove", tmp_path):
        seen.append(_stable(root))
        if seen[-1] is not None:
            assert labels.remove(root, factors.NAME, "stable") == 2
        labels.move(root, factors.NAME, "stable", 2)
        with pytest.raises(LabelError, match="none before it"):
            rollback(root, factors.NAME, "stable")
    assert set(seen) == {None, 2}


def test_what_is_published_is_on_the_disk_before_it_is_seen(published: list[Path], first: list[Path]) -> None:
    """A version's files, then their names, then its own name are flushed; only then does the label follow, so too."""
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
    """Where a label moves on, the place it leaves is noted, flushed and named, before it does."""
    events = _events(published)
    noted = events.index(("os.rename", "small/.draft-history.json to small/history.json"))
    assert _last(events, "fsync", "small/.draft-history.json") < noted
    assert noted < events.index(("fsync", "small"), noted) < events.index(("open", "small/.draft-labels.json"))


def _events(copies: list[Path]) -> list[Event]:
    """Return what the last of them, which was not killed, did to the file system, in its order."""
    return msgspec.json.decode((copies[0].parent / "events.json").read_bytes(), type=list[Event])


def _last(events: list[Event], event: str, path: str) -> int:
    return max(place for place, each in enumerate(events) if each == (event, path))

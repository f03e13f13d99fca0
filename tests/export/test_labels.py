"""Tests of labels: atomic moves, rollbacks step by step, and no change after a rejection."""

import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from export.registry import labels
from export.registry.labels import MAX_HISTORY, LabelError, move, read_history, remove, rollback
from export.registry.publish import DEFAULT_OPTIONS, publish
from server.errors import DigestError, ModelError
from server.models.manifest import Manifest
from server.models.quoting import quoted
from server.models.repository import LABELS_FILE, Repository, read_labels
from tests.export import factors
from tests.export.factors import NAME


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with versions 1, 2 and 3, each published as stable."""
    for factor in (1, 2, 3):
        factors.publish(tmp_path, factor)
    return tmp_path


@pytest.fixture
def home(root: Path) -> Path:
    """Return the model's folder in the repository."""
    return root / NAME


def test_rollback_step_by_step(root: Path) -> None:
    """Each rollback goes back one step; without an earlier version it is rejected and changes nothing."""
    assert factors.stable_factor(root) == 3
    assert rollback(root, NAME, "stable") == (3, 2)
    assert factors.stable_factor(root) == 2
    assert rollback(root, NAME, "stable") == (2, 1)
    assert factors.stable_factor(root) == 1
    before = factors.files(root)
    words = "'stable' of small points at version 1 and has no previous version that still exists"
    with pytest.raises(LabelError, match=f"^{words}$"):
        rollback(root, NAME, "stable")
    assert factors.files(root) == before


def test_move_after_a_rollback(root: Path) -> None:
    """A rollback undoes the last move in either direction, and removes it from the history."""
    rollback(root, NAME, "stable")
    assert move(root, NAME, "stable", 1) == 2
    assert move(root, NAME, "stable", 3) == 1
    assert [rollback(root, NAME, "stable") for _ in range(3)] == [(3, 1), (1, 2), (2, 1)]


def test_other_labels_are_left_alone(root: Path, home: Path) -> None:
    """Each label has its own version and history."""
    assert move(root, NAME, "canary", 3) is None
    assert move(root, NAME, "canary", 1) == 3
    assert rollback(root, NAME, "stable") == (3, 2)
    assert read_labels(home / LABELS_FILE) == {"stable": 2, "canary": 1}
    assert rollback(root, NAME, "canary") == (1, 3)
    assert rollback(root, NAME, "stable") == (2, 1)
    assert read_labels(home / LABELS_FILE) == {"stable": 1, "canary": 3}
    assert remove(root, NAME, "canary") == 3
    assert read_labels(home / LABELS_FILE) == {"stable": 1}
    assert factors.stable_factor(root) == 1


def test_label_that_is_removed_is_forgotten(root: Path, home: Path) -> None:
    """A label that is set again after its removal has no history; other labels keep theirs."""
    move(root, NAME, "canary", 3)
    move(root, NAME, "canary", 1)
    assert remove(root, NAME, "canary") == 1
    assert move(root, NAME, "canary", 2) is None
    with pytest.raises(LabelError, match="'canary' of small points at version 2 and has no previous version"):
        rollback(root, NAME, "canary")
    assert read_history(home) == {"stable": [1, 2]}


def test_versions_removed_by_hand_are_passed_over(root: Path, home: Path) -> None:
    """A rollback skips versions that no longer exist, and works from a deleted version."""
    shutil.rmtree(home / "2")
    shutil.rmtree(home / "3")
    assert rollback(root, NAME, "stable") == (3, 1)
    assert factors.stable_factor(root) == 1
    with pytest.raises(LabelError, match="no previous version that still exists"):
        rollback(root, NAME, "stable")


def test_number_of_a_version_that_was_removed_is_not_used_again(root: Path, home: Path) -> None:
    """A new version never gets the number of a removed version in a label's history."""
    rollback(root, NAME, "stable")
    move(root, NAME, "canary", 3)
    move(root, NAME, "canary", 1)
    shutil.rmtree(home / "3")
    assert factors.publish(root, 4).version == 4


@pytest.mark.parametrize("label", ["", "a/b", "/", " stable", "stable ", "\n", "a\nb", "2"])
def test_name_that_no_label_can_have(root: Path, label: str) -> None:
    """A label that is empty, a number, or has slashes, line ends or outer spaces is rejected."""
    before = factors.files(root)
    with pytest.raises(
        LabelError, match=f"^label: expected a name that is not a number.*; got {re.escape(quoted(label))}$"
    ):
        move(root, NAME, label, 1)
    assert factors.files(root) == before


def test_unknown_version(root: Path) -> None:
    """A version that doesn't exist can't be labelled; the error lists the existing ones."""
    before = factors.files(root)
    with pytest.raises(LabelError, match=r"^small has no version 4; available: 1, 2, 3$"):
        move(root, NAME, "stable", 4)
    assert factors.files(root) == before


def test_unknown_label(root: Path) -> None:
    """An unset label can't be rolled back or removed; the error lists the set labels."""
    before = factors.files(root)
    for act in (rollback, remove):
        with pytest.raises(LabelError, match=r"^small has no label 'canary'; available: stable$"):
            act(root, NAME, "canary")
    assert factors.files(root) == before


@pytest.mark.parametrize("name", ["large", "", ".", "..", "small/1"])
def test_unknown_model(root: Path, name: str) -> None:
    """An unknown model is rejected with the existing ones, and no folder is created."""
    before = factors.files(root)
    for act in (lambda: move(root, name, "stable", 1), lambda: rollback(root, name, "stable")):
        with pytest.raises(LabelError, match=f": there is no model '{re.escape(name)}'; available: small$"):
            act()
    assert factors.files(root) == before
    assert [path.name for path in root.iterdir()] == [NAME]


def test_no_repository(tmp_path: Path) -> None:
    """Without a repository a label is rejected, and no repository is created."""
    with pytest.raises(LabelError, match=r"there is no model 'small'; available: none$"):
        move(tmp_path / "models", NAME, "stable", 1)
    assert list(tmp_path.iterdir()) == []


def test_version_that_would_not_load(root: Path, home: Path) -> None:
    """A version that a server would reject can't be labelled or rolled back to; the label stays."""
    factors.damage(home, 2)
    before = factors.files(root)
    with pytest.raises(DigestError):
        move(root, NAME, "canary", 2)
    with pytest.raises(DigestError):
        rollback(root, NAME, "stable")
    assert factors.files(root) == before
    assert factors.stable_factor(root) == 3


def test_folder_that_was_copied(root: Path, home: Path) -> None:
    """A copied version folder has the wrong version in its manifest, so it can't be labelled."""
    shutil.copytree(home / "1", home / "7")
    before = factors.files(root)
    with pytest.raises(ModelError, match="its manifest says small version 1"):
        move(root, NAME, "stable", 7)
    assert factors.files(root) == before


@pytest.mark.parametrize("members", [{"name": "another"}, {"version": 9}])
def test_manifest_that_says_it_is_another(root: Path, members: dict[str, Any]) -> None:
    """A model whose manifest has another name or version than its folder isn't published."""
    before = factors.files(root)

    def describe(version: int) -> Manifest:
        return msgspec.structs.replace(factors.describing(4)(version), **members)

    with pytest.raises(ModelError, match="expected small version 4"):
        publish(root, NAME, factors.model(4), describe)
    assert factors.files(root) == before


@pytest.mark.parametrize(
    "act",
    [
        lambda root: move(root, NAME, "stable", 1),
        lambda root: rollback(root, NAME, "stable"),
        lambda root: remove(root, NAME, "stable"),
        lambda root: factors.publish(root, 4),
        lambda root: labels.check(root / NAME),
    ],
    ids=["move", "rollback", "remove", "publish", "check"],
)
@pytest.mark.parametrize("file", ["labels.json", "history.json"])
def test_broken_file(root: Path, home: Path, file: str, act: Any) -> None:  # noqa: ANN401 # a function
    """An invalid labels.json or history.json is rejected with its path and isn't overwritten."""
    for content in ("{", '{"stable": "1"}', "[1]", '{"stable": 1.5}', "\xff"):
        (home / file).write_text(content, encoding="latin-1")
        before = factors.files(root)
        with pytest.raises(ModelError, match=file):
            act(root)
        assert factors.files(root) == before


def test_move_to_where_it_points(root: Path, home: Path) -> None:
    """A label moved to its current version leaves files, times and history unchanged."""
    (home / LABELS_FILE).write_text('{ "stable" : 3 }')
    before, times = factors.files(root), {path: path.stat().st_mtime_ns for path in home.glob("*.json")}
    inodes = {path: path.stat().st_ino for path in home.glob("*.json")}
    assert move(root, NAME, "stable", 3) == 3
    assert factors.files(root) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert {path: path.stat().st_ino for path in inodes} == inodes
    assert rollback(root, NAME, "stable") == (3, 2)


def test_files_are_replaced_and_never_written_over(root: Path, home: Path) -> None:
    """Label files are replaced, never overwritten, so a reader sees the complete old file."""
    with (home / LABELS_FILE).open() as labels_file, (home / "history.json").open() as history:
        move(root, NAME, "stable", 1)
        assert (labels_file.read(), history.read()) == ('{"stable":3}\n', '{"stable":[1,2]}\n')
    assert (home / LABELS_FILE).read_text() == '{"stable":1}\n'


def test_past_is_bounded(root: Path, home: Path) -> None:
    """A label's history has at most MAX_HISTORY moves."""
    for each in range(MAX_HISTORY + 5):
        move(root, NAME, "stable", 1 + each % 2)
    past = read_history(home)["stable"]
    assert len(past) == MAX_HISTORY
    assert past[-2:] == [1, 2]
    assert factors.stable_factor(root) == 1


def test_publication_without_promotion_leaves_the_label(root: Path) -> None:
    """A version that isn't promoted leaves stable unchanged, and can be promoted later and rolled back."""
    published = factors.publish(root, 4, DEFAULT_OPTIONS)
    assert (published.version, published.stable) == (4, 3)
    assert factors.stable_factor(root) == 3
    assert factors.publish(root, 4, DEFAULT_OPTIONS).stable == 3
    assert move(root, NAME, "stable", 4) == 3
    assert rollback(root, NAME, "stable") == (4, 3)


def test_same_model_again_does_not_undo_a_rollback(root: Path) -> None:
    """Publishing the newest version again doesn't undo a rollback."""
    rollback(root, NAME, "stable")
    published = factors.publish(root, 3)
    assert (published.version, published.new, published.stable) == (3, False, 2)
    assert factors.stable_factor(root) == 2


def test_same_model_again_labels_what_nothing_is_stable_beside(root: Path) -> None:
    """Without a stable version, publishing the newest version again labels it stable."""
    move(root, NAME, "canary", 2)
    remove(root, NAME, "stable")
    published = factors.publish(root, 3)
    assert (published.version, published.new, published.stable) == (3, False, 3)
    assert read_labels(root / NAME / LABELS_FILE) == {"canary": 2, "stable": 3}


def test_names_of_the_models(root: Path) -> None:
    """The models of a repository are its folders, without dot folders and files."""
    (root / ".draft").mkdir()
    (root / "another").mkdir()
    (root / "README.md").touch()
    assert labels.names(root) == ["another", NAME]
    assert labels.names(root / "nowhere") == []


def test_repository_that_is_labelled_is_served(root: Path) -> None:
    """A server reads each label as it was set."""
    move(root, NAME, "canary", 1)
    repository = Repository.load(root)
    assert [repository.resolve(label=label).version for label in ("stable", "canary")] == ["3", "1"]

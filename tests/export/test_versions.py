"""Tests of finding versions by number or label, and of the list of versions."""

import re
from pathlib import Path

import pytest

from export.registry.compare import entries, find, pair
from export.registry.labels import LabelError, move, remove
from export.registry.publish import DEFAULT_OPTIONS
from server.models import manifest as manifests
from tests.export import factors
from tests.export.factors import NAME


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with versions 1 to 3: 2 is stable, 1 is canary and old."""
    for factor in (1, 2):
        factors.publish(tmp_path, factor)
    factors.publish(tmp_path, 3, DEFAULT_OPTIONS)
    move(tmp_path, NAME, "old", 1)
    move(tmp_path, NAME, "canary", 1)
    return tmp_path


def test_list(root: Path) -> None:
    """Versions are listed newest first with their labels; a broken one has its reason."""
    (root / NAME / "9").mkdir()
    (root / NAME / ".draft-left").mkdir()
    factors.damage(root / NAME, 2)
    found = entries(root, NAME)
    assert [(each.version, each.labels) for each in found] == [
        (9, []),
        (3, []),
        (2, ["stable"]),
        (1, ["canary", "old"]),
    ]
    assert ["manifest.json: No such file" in found[0].load_error, "SHA-256" in found[2].load_error] == [True, True]
    assert (found[0].manifest, found[2].manifest) == (None, None)
    for each in (found[1], found[3]):
        assert each.load_error == ""
        assert each.manifest == manifests.read(root / NAME / str(each.version) / "manifest.json")


def test_list_of_a_version_that_says_it_is_another(root: Path) -> None:
    """A folder whose manifest has another number is listed as broken."""
    (root / NAME / "3").rename(root / NAME / "4")
    assert "says small version 3" in entries(root, NAME)[0].load_error


@pytest.mark.parametrize(
    ("wanted", "version"), [("1", 1), ("3", 3), ("stable", 2), ("canary", 1), ("old", 1), (None, 2), ("03", 3)]
)
def test_find(root: Path, wanted: str | None, version: int) -> None:
    """A version is found by number or label; without either, the stable one."""
    assert find(root, NAME, wanted) == version


def test_find_without_stable(root: Path) -> None:
    """Without a stable version the newest is found, as in a server."""
    remove(root, NAME, "stable")
    assert find(root, NAME, None) == 3


def test_number_comes_before_a_label_of_that_name(root: Path) -> None:
    """A number finds the version of that number, before a label of that name."""
    (root / NAME / "labels.json").write_text('{"3": 1, "7": 1}')
    assert (find(root, NAME, "3"), find(root, NAME, "7")) == (3, 1)


@pytest.mark.parametrize("wanted", ["4", "beta", "", "-1", "²"])
def test_find_what_is_not_there(root: Path, wanted: str) -> None:
    """An unknown version or label is rejected with the existing ones."""
    words = f"small has no version or label {wanted!r}; available: 3, 2, 1, stable, old, canary"
    with pytest.raises(LabelError, match=f"^{re.escape(words)}$"):
        find(root, NAME, wanted)
    with pytest.raises(LabelError, match="there is no model 'large'; available: small"):
        find(root, "large", wanted)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, None, (2, 3)),
        (None, "2", (1, 2)),
        (None, "stable", (1, 2)),
        (None, "1", (2, 1)),
        ("1", None, (1, 3)),
        ("canary", "stable", (1, 2)),
        ("3", "1", (3, 1)),
        ("2", "2", (2, 2)),
    ],
)
def test_pair(root: Path, before: str | None, after: str | None, expected: tuple[int, int]) -> None:
    """Stable is compared with the newest by default, or with its predecessor if both are equal."""
    assert pair(root, NAME, before, after) == expected


def test_pair_where_there_is_one(tmp_path: Path) -> None:
    """A single version has none to be compared with."""
    factors.publish(tmp_path, 1)
    with pytest.raises(LabelError, match=r"^small has no version before 1 to compare it with$"):
        pair(tmp_path, NAME, None, None)

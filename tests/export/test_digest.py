"""Tests that a version with a changed file is never treated as intact."""

from pathlib import Path

import msgspec
import pytest

from export.registry import compare
from export.registry.labels import move
from export.registry.labels import versions as numbers
from export.registry.publish import PublicationOptions, find_recipe
from server.errors import DigestError, GoldenError
from server.models import digest_file
from server.models.repository import Repository
from server.models.session import Model
from tests.export import factors
from tests.export.factors import NAME
from tests.server.support import small

RECIPE = msgspec.structs.replace(small.manifest(b"").provenance, recipe="a recipe")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with version 1 intact, and one changed byte in version 2's model.onnx."""
    factors.publish(tmp_path, 1)
    factors.publish(tmp_path, 2, provenance=RECIPE)
    assert find_recipe(tmp_path / NAME, "a recipe") == 2
    move(tmp_path, NAME, "stable", 1)
    factors.damage(tmp_path / NAME, 2)
    return tmp_path


def test_it_is_not_loaded(root: Path) -> None:
    """A changed version is rejected at load with both digests; a server serves the others."""
    with pytest.raises(DigestError, match=r"model\.onnx: expected SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}"):
        Model.load(root / NAME / "2")
    served = Repository.load(root).versions(NAME)
    assert (list(served.models), list(served.failed)) == ([1], [2])


def test_it_is_listed_as_broken(root: Path) -> None:
    """The list of versions shows why a changed version can't be served."""
    broken, whole = compare.entries(root, NAME)
    assert (broken.version, broken.manifest, broken.labels) == (2, None, [])
    assert "expected SHA-256" in broken.load_error
    assert (whole.version, whole.labels, whole.load_error) == (1, ["stable"], "")
    assert whole.manifest is not None


def test_it_can_not_be_labelled(root: Path) -> None:
    """No label can be moved to a changed version."""
    with pytest.raises(DigestError):
        move(root, NAME, "stable", 2)
    assert factors.stable_factor(root) == 1


def test_its_recipe_is_made_again(root: Path) -> None:
    """A changed version's recipe doesn't count as published, and is published again."""
    home = root / NAME
    assert find_recipe(home, "a recipe") is None
    published = factors.publish(root, 2, provenance=RECIPE)
    assert (published.version, published.new) == (3, True)
    assert find_recipe(home, "a recipe") == 3
    assert find_recipe(home, "another") is None


def test_older_version_of_the_recipe_that_is_whole(root: Path) -> None:
    """If an older version of the same recipe is intact, it is found instead."""
    factors.publish(root, 2, provenance=RECIPE)
    factors.publish(root, 4, provenance=RECIPE)
    factors.damage(root / NAME, 4)
    assert find_recipe(root / NAME, "a recipe") == 3


def test_manifest_that_was_tampered_with(root: Path) -> None:
    """A version with changed golden rows isn't taken as the same model."""
    factors.publish(root, 3)
    golden = {"records": [{"x": 1.0}], "outputs": {"value": [[4.0]]}, "tolerance": 1e-5}
    small.edit(root / NAME / "3", golden=golden)
    with pytest.raises(GoldenError):
        Model.load(root / NAME / "3")
    published = factors.publish(root, 3)
    assert (published.version, published.new, published.stable) == (4, True, 4)
    assert numbers(root / NAME) == [4, 3, 2, 1]
    assert factors.stable_factor(root) == 3


def test_what_is_published_has_digests(root: Path) -> None:
    """A version's digest file covers all of its files and depends only on their content."""
    made = factors.publish(root, 3, PublicationOptions(files=lambda *_: {"card.html": b"card"}))
    files = {path.name: path.read_bytes() for path in made.path.iterdir()}
    stated = files.pop("SHA256SUMS")
    assert sorted(files) == ["card.html", "manifest.json", "model.onnx"]
    assert stated == digest_file.encode(files)
    assert Model.load(made.path).has_digest_file


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "card.html", "SHA256SUMS"])
def test_a_changed_byte_is_listed(root: Path, name: str) -> None:
    """A version with a changed or missing file is listed with the reason."""
    made = factors.publish(root, 3, PublicationOptions(files=lambda *_: {"card.html": b"card"}))
    path = made.path / name
    path.write_bytes(path.read_bytes() + b" ")
    assert name in compare.entries(root, NAME)[0].load_error
    if name != "SHA256SUMS":
        path.unlink()
        assert name in compare.entries(root, NAME)[0].load_error

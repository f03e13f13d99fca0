"""manifest.json to Manifest."""

import json
from pathlib import Path
from typing import Any

import pytest

from server import manifest as manifests
from server.errors import ManifestError

COMMITTED = Path(__file__).parents[2] / "models" / "titanic" / "1" / "manifest.json"


@pytest.fixture
def content() -> dict[str, Any]:
    """Return the committed manifest, to be spoiled."""
    decoded: dict[str, Any] = json.loads(COMMITTED.read_text())
    return decoded


def _read(tmp_path: Path, content: dict[str, Any]) -> manifests.Manifest:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(content))
    return manifests.read(path)


def test_what_is_written_is_what_was_read(content: dict[str, Any]) -> None:
    """Reading and writing the committed manifest loses nothing and adds nothing."""
    assert json.loads(manifests.encode(manifests.read(COMMITTED))) == content


def test_unknown_members_are_ignored(tmp_path: Path, content: dict[str, Any]) -> None:
    """Members that this server doesn't know, anywhere, are ignored: a newer exporter may add some."""
    content["colour"] = "white"
    content["features"][0]["unit"] = "class"
    assert _read(tmp_path, content) == manifests.read(COMMITTED)


def test_missing_file(tmp_path: Path) -> None:
    """A file that isn't there is refused with its path."""
    with pytest.raises(ManifestError, match=r"manifest\.json: No such file"):
        manifests.read(tmp_path / "manifest.json")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"format": "\xff"}'])
def test_malformed_file(tmp_path: Path, body: bytes) -> None:
    """A file that is no JSON object is refused with its path."""
    path = tmp_path / "manifest.json"
    path.write_bytes(body)
    with pytest.raises(ManifestError, match=r"manifest\.json: "):
        manifests.read(path)


@pytest.mark.parametrize("member", ["format", "name", "kind", "features", "outputs", "sha256", "golden", "parity"])
def test_missing_member(tmp_path: Path, content: dict[str, Any], member: str) -> None:
    """A required member left out is named."""
    del content[member]
    with pytest.raises(ManifestError, match=f"missing required field `{member}`"):
        _read(tmp_path, content)


@pytest.mark.parametrize(
    ("member", "value", "words"),
    [
        ("format", 2, "format: expected 1, got 2; this server is older than the model"),
        ("format", "1", r"\$\.format"),
        ("kind", "ranking", r"\$\.kind"),
        ("version", 1.5, r"\$\.version"),
        ("features", [], "features: expected at least one, each with a name of its own"),
        ("outputs", [], "outputs: expected one with the role 'label'"),
        ("classes", ["died"], r"the probabilities' shape must be \[-1, number of classes\]"),
        ("positive_class", "drowned", r"positive_class: expected one of \['died', 'survived'\], got 'drowned'"),
        ("positive_class", None, "positive_class: expected one of"),
        ("kind", "regression", "outputs: expected one with the role 'value'"),
    ],
)
def test_wrong_member(tmp_path: Path, content: dict[str, Any], member: str, value: object, words: str) -> None:
    """A member that is wrong, or that another contradicts, is named."""
    with pytest.raises(ManifestError, match=words):
        _read(tmp_path, content | {member: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "sex"}, "features: expected at least one, each with a name of its own"),
        ({"name": "records"}, "features: 'records' is the request's own word and can't name a feature"),
        ({"nullable": True}, "features: pclass is nullable and has no null_value"),
        ({"minimum": 2, "maximum": 1}, "features: pclass has a minimum above its maximum"),
        ({"categories": []}, "features: pclass allows no category"),
        ({"datatype": "INT128"}, r"\$\.features\[0\]\.datatype"),
    ],
)
def test_wrong_feature(tmp_path: Path, content: dict[str, Any], change: dict[str, Any], words: str) -> None:
    """A feature that contradicts itself or another is named."""
    content["features"][0] |= change
    with pytest.raises(ManifestError, match=words):
        _read(tmp_path, content)


def test_multiclass_needs_no_positive_class(tmp_path: Path, content: dict[str, Any]) -> None:
    """Only a binary model has a positive class."""
    del content["positive_class"]
    assert _read(tmp_path, content | {"kind": "multiclass"}).positive_class is None

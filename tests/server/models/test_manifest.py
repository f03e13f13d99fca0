"""Reading and validating manifest.json."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from server.errors import ManifestError
from server.models import manifest as manifests
from server.models.quoting import quoted

COMMITTED = Path(__file__).parents[3] / "models" / "titanic" / "1" / "manifest.json"


@pytest.fixture
def content() -> dict[str, Any]:
    """Return the committed manifest, for tests to change."""
    decoded: dict[str, Any] = json.loads(COMMITTED.read_text())
    return decoded


def _read(tmp_path: Path, content: dict[str, Any]) -> manifests.Manifest:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(content))
    return manifests.read(path)


def test_what_is_written_is_what_was_read(content: dict[str, Any]) -> None:
    """Reading and writing the committed manifest changes nothing."""
    assert json.loads(manifests.encode(manifests.read(COMMITTED))) == content


def test_unknown_members_are_ignored(tmp_path: Path, content: dict[str, Any]) -> None:
    """Unknown members are ignored at every level, because a newer exporter may add some."""
    content["colour"] = "white"
    content["features"][0]["unit"] = "class"
    assert _read(tmp_path, content) == manifests.read(COMMITTED)


def test_missing_file(tmp_path: Path) -> None:
    """A missing file is rejected with its path."""
    with pytest.raises(ManifestError, match=r"manifest\.json: No such file"):
        manifests.read(tmp_path / "manifest.json")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"format": "\xff"}'])
def test_malformed_file(tmp_path: Path, body: bytes) -> None:
    """A file that is not a JSON object is rejected with its path."""
    path = tmp_path / "manifest.json"
    path.write_bytes(body)
    with pytest.raises(ManifestError, match=r"manifest\.json: "):
        manifests.read(path)


@pytest.mark.parametrize("member", ["format", "name", "kind", "features", "outputs", "sha256", "golden", "parity"])
def test_missing_member(tmp_path: Path, content: dict[str, Any], member: str) -> None:
    """A missing required member is named in the error."""
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
        ("api_version", 0, "api_version: expected 1 or more, got 0"),
        ("api_version", "1", r"\$\.api_version"),
        ("features", [], "features: expected at least one, with unique names"),
        ("outputs", [], "outputs: expected one with the role 'label'"),
        ("classes", ["died"], r"the probabilities' shape must be \[-1, number of classes\]"),
        ("positive_class", "drowned", r"positive_class: expected one of \['died', 'survived'\], got \"drowned\""),
        ("positive_class", None, "positive_class: expected one of"),
        ("kind", "regression", "outputs: expected one with the role 'value'"),
    ],
)
def test_wrong_member(tmp_path: Path, content: dict[str, Any], member: str, value: object, words: str) -> None:
    """An invalid or contradictory member is named in the error."""
    with pytest.raises(ManifestError, match=words):
        _read(tmp_path, content | {member: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "sex"}, "features: expected at least one, with unique names"),
        ({"name": "records"}, "features: 'records' is reserved for requests and can't name a feature"),
        *(
            ({"name": name}, re.escape(f"control characters; got {quoted(name)}"))
            for name in ("", 'say "class"', "pc\\lass", "p\nclass")
        ),
        ({"nullable": True}, "features: pclass is nullable and has no null_value"),
        ({"minimum": 2, "maximum": 1}, "features: pclass has a minimum above its maximum"),
        ({"categories": []}, "features: pclass allows no category"),
        ({"datatype": "INT128"}, r"\$\.features\[0\]\.datatype"),
        ({"field_number": 2}, "features: pclass and sex have the same field_number 2"),
        *(
            (
                {"field_number": number},
                f"features: pclass has the field_number {number}; expected 1 to 536870911, and none",
            )
            for number in (-1, 0, 19_000, 19_999, 536_870_912)
        ),
    ],
)
def test_wrong_feature(tmp_path: Path, content: dict[str, Any], change: dict[str, Any], words: str) -> None:
    """An invalid feature, or one that conflicts with another, is named in the error."""
    content["features"][0] |= change
    with pytest.raises(ManifestError, match=words):
        _read(tmp_path, content)


@pytest.mark.parametrize("name", ["-1", "+1.5", "@home", "=1+1", "-x", "\t=1"])
def test_a_class_may_have_any_name(tmp_path: Path, content: dict[str, Any], name: str) -> None:
    """A class name may resemble a number or a spreadsheet formula: CSV escapes it."""
    assert _read(tmp_path, content | {"classes": [name, "b"], "positive_class": name}).classes == [name, "b"]


def test_multiclass_needs_no_positive_class(tmp_path: Path, content: dict[str, Any]) -> None:
    """Only a binary model has a positive class."""
    del content["positive_class"]
    assert _read(tmp_path, content | {"kind": "multiclass", "reference": None}).positive_class is None


@pytest.mark.parametrize(
    ("name", "distribution", "words"),
    [
        ("age", {"counts": [1]}, "reference: age: expected either edges or categories"),
        ("age", {"counts": [1, 2], "edges": [1.0], "categories": [1, 2]}, "expected either edges or categories"),
        ("age", {"counts": [1, 2], "edges": [1.0, 2.0]}, "reference: age: expected 3 counts, got 2"),
        ("age", {"counts": [1, 2, 3], "edges": [2.0, 1.0]}, "reference: age: expected ascending edges"),
        ("age", {"counts": [1, -2], "edges": [1.0]}, "reference: age: a count is below 0"),
        ("sex", {"counts": [1, 2], "edges": [1.0]}, "reference: sex: expected categories"),
        ("answer", {"counts": [1], "categories": ["died"]}, "reference: answer: expected edges"),
    ],
)
def test_wrong_reference(
    tmp_path: Path, content: dict[str, Any], name: str, distribution: dict[str, Any], words: str
) -> None:
    """A reference distribution with invalid bins is named in the error."""
    content["reference"].update({name: distribution} if name == "answer" else {})
    content["reference"]["features"].update({name: distribution} if name != "answer" else {})
    with pytest.raises(ManifestError, match=words):
        _read(tmp_path, content)


@pytest.mark.parametrize("number", [8, 18_999, 20_000, 536_870_911])
def test_field_number_that_protobuf_carries(tmp_path: Path, content: dict[str, Any], number: int) -> None:
    """A field number may be any number that protobuf allows, in any order of features."""
    content["features"][0]["field_number"] = number
    assert _read(tmp_path, content).features[0].field_number == number


def test_feature_without_a_number(tmp_path: Path, content: dict[str, Any]) -> None:
    """A feature without a field number is rejected by name."""
    del content["features"][0]["field_number"]
    with pytest.raises(ManifestError, match="features: pclass has the field_number 0"):
        _read(tmp_path, content)


def test_manifest_older_than_the_api_version(tmp_path: Path, content: dict[str, Any]) -> None:
    """A manifest without api_version, from an older exporter, has version 1 of the typed service."""
    del content["api_version"]
    assert _read(tmp_path, content).api_version == 1

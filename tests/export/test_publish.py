"""Tests of publication to models/<name>/<version>: atomic, and never over an existing version."""

import json
from pathlib import Path

import msgspec
import pytest

from export.registry.labels import move
from export.registry.publish import Publication, publish
from server.errors import DigestError, GoldenError
from server.models import manifest as manifests
from server.models.manifest import Feature, Manifest
from server.models.repository import Repository
from tests.server.support import small

TRIPLE = "g (float[N, 1] x) => (float[N, 1] value) { y = Add(x, x)\n value = Add(x, y) }"


def _describe(model: bytes, version: int, answer: float = 2.0) -> Manifest:
    return small.manifest(model, answers=[(1.0, answer)], version=version)


def _publish(root: Path, graph: str, answer: float) -> int:
    model = small.onnx_bytes(graph)
    return publish(root, "small", model, lambda version: _describe(model, version, answer)).version


def test_first_version(tmp_path: Path) -> None:
    """The first version is 1, has the model's bytes and manifest, and can be served."""
    model = small.onnx_bytes(small.DOUBLE)
    published = publish(tmp_path, "small", model, lambda version: _describe(model, version))
    assert (published.version, published.new, published.path) == (1, True, tmp_path / "small" / "1")
    assert (published.path / "model.onnx").read_bytes() == model
    assert manifests.read(published.path / "manifest.json") == _describe(model, 1)
    assert sorted(path.name for path in published.path.iterdir()) == ["SHA256SUMS", "manifest.json", "model.onnx"]
    assert Repository.load(tmp_path).resolve().version == "1"


def test_version_can_be_read_by_everyone(tmp_path: Path) -> None:
    """A version is readable by other users, such as the container's."""
    _publish(tmp_path, small.DOUBLE, 2.0)
    assert (tmp_path / "small" / "1").stat().st_mode & 0o777 == 0o755


def test_another_model_is_the_next_version(tmp_path: Path) -> None:
    """Another model gets the number after the highest one, and older versions stay."""
    assert _publish(tmp_path, small.DOUBLE, 2.0) == 1
    (tmp_path / "small" / "1").rename(tmp_path / "small" / "9")
    assert _publish(tmp_path, TRIPLE, 3.0) == 10
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == ["10", "9"]


def test_same_model_makes_no_version(tmp_path: Path) -> None:
    """Publishing the newest version's model again makes no new version."""
    _publish(tmp_path, small.DOUBLE, 2.0)
    model = small.onnx_bytes(small.DOUBLE)
    published = publish(tmp_path, "small", model, lambda version: _describe(model, version))
    assert (published.version, published.new) == (1, False)
    assert [path.name for path in (tmp_path / "small").iterdir()] == ["1"]


def test_same_model_with_another_contract_is_a_new_version(tmp_path: Path) -> None:
    """The same model with another manifest is a new version."""
    _publish(tmp_path, small.DOUBLE, 2.0)
    model = small.onnx_bytes(small.DOUBLE)

    def describe(version: int) -> Manifest:
        return msgspec.structs.replace(_describe(model, version), description="told otherwise")

    assert publish(tmp_path, "small", model, describe).version == 2
    assert Repository.load(tmp_path).resolve("small", "2").manifest.description == "told otherwise"


def test_broken_version_is_followed_by_a_whole_one(tmp_path: Path) -> None:
    """If the newest version can't be read, the same model is published again as a new version."""
    _publish(tmp_path, small.DOUBLE, 2.0)
    (tmp_path / "small" / "1" / "manifest.json").write_text("{")
    assert _publish(tmp_path, small.DOUBLE, 2.0) == 2


def _publish_anew(root: Path, feature: Feature, graph: str, golden: tuple[object, float]) -> Publication:
    """Publish a model of one feature without a field number."""
    model = small.onnx_bytes(graph)
    unnumbered = msgspec.structs.replace(feature, field_number=0)
    return publish(
        root, "small", model, lambda version: small.manifest(model, unnumbered, answers=[golden], version=version)
    )


def test_next_version_keeps_the_field_numbers(tmp_path: Path) -> None:
    """A feature of the same name keeps its field number across versions, and the API version stays."""
    _publish_anew(tmp_path, small.X, small.DOUBLE, (1.0, 2.0))
    path = tmp_path / "small" / "1" / "manifest.json"
    path.write_text(path.read_text().replace('"field_number": 1,', '"field_number": 5,'))
    published = _publish_anew(tmp_path, small.X, TRIPLE, (1.0, 3.0))
    assert (published.version, published.api_version, published.incompatible) == (2, 1, ())
    manifest = manifests.read(published.path / "manifest.json")
    assert (manifest.api_version, manifest.features[0].field_number) == (1, 5)


def test_same_model_with_numbers_of_its_own_makes_no_version(tmp_path: Path) -> None:
    """Publishing the newest version's model again changes nothing, whatever field numbers it has."""
    path = _publish_anew(tmp_path, small.X, small.DOUBLE, (1.0, 2.0)).path / "manifest.json"
    path.write_text(path.read_text().replace('"field_number": 1,', '"field_number": 5,'))
    path.write_text(path.read_text().replace('"api_version": 1,', '"api_version": 3,'))
    small.digest(path.parent)
    before = path.read_bytes()
    published = _publish_anew(tmp_path, small.X, small.DOUBLE, (1.0, 2.0))
    assert (published.version, published.new, published.api_version) == (1, False, 3)
    assert path.read_bytes() == before


def test_incompatible_version_is_a_new_version_of_the_api(tmp_path: Path) -> None:
    """An incompatible version gets the next API version, and the publication reports the changes."""
    _publish_anew(tmp_path, small.X, small.DOUBLE, (1.0, 2.0))
    published = _publish_anew(tmp_path, small.INDEX, small.LOOK_UP, (1, 20.0))
    assert (published.version, published.api_version) == (2, 2)
    assert published.incompatible == ("x was removed", "index was added and is not nullable")
    assert manifests.read(published.path / "manifest.json").api_version == 2


def test_api_follows_the_newest_version_that_can_be_read(tmp_path: Path) -> None:
    """The API version follows the newest version with a readable manifest."""
    _publish_anew(tmp_path, small.X, small.DOUBLE, (1.0, 2.0))
    _publish_anew(tmp_path, small.INDEX, small.LOOK_UP, (1, 20.0))
    (tmp_path / "small" / "10").mkdir()
    published = _publish_anew(tmp_path, small.INDEX, small.LOOK_UP, (1, 20.0))
    assert (published.version, published.api_version, published.incompatible) == (11, 2, ())


def test_older_model_again_is_a_new_version(tmp_path: Path) -> None:
    """A model equal to an older version, but not to the newest, is published again."""
    assert [_publish(tmp_path, small.DOUBLE, 2.0), _publish(tmp_path, TRIPLE, 3.0)] == [1, 2]
    assert _publish(tmp_path, small.DOUBLE, 2.0) == 3


def test_refused_model_leaves_nothing(tmp_path: Path) -> None:
    """A model that a server would reject leaves no version and no draft."""
    _publish(tmp_path, small.DOUBLE, 2.0)
    model = small.onnx_bytes(TRIPLE)
    with pytest.raises(GoldenError):
        publish(tmp_path, "small", model, lambda version: _describe(model, version, 4.0))
    with pytest.raises(DigestError):
        publish(tmp_path, "small", model, lambda version: _describe(b"another", version))
    assert [path.name for path in (tmp_path / "small").iterdir()] == ["1"]
    assert Repository.load(tmp_path).resolve().version == "1"


def test_failure_to_describe_leaves_nothing(tmp_path: Path) -> None:
    """An interrupted publication leaves nothing."""

    def interrupt(_version: int) -> Manifest:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path, "small", small.onnx_bytes(small.DOUBLE), interrupt)
    assert not (tmp_path / "small").exists()


def test_promote(tmp_path: Path) -> None:
    """Promotion points stable at a version, and leaves other labels and no draft."""
    for graph, answer in ((small.DOUBLE, 2.0), (TRIPLE, 3.0)):
        _publish(tmp_path, graph, answer)
    path = tmp_path / "small" / "labels.json"
    move(tmp_path, "small", "stable", 2)
    assert json.loads(path.read_text()) == {"stable": 2}
    path.write_text('{"canary": 2, "stable": 2}')
    move(tmp_path, "small", "stable", 1)
    assert json.loads(path.read_text()) == {"canary": 2, "stable": 1}
    assert sorted(child.name for child in path.parent.iterdir()) == ["1", "2", "history.json", "labels.json"]
    assert Repository.load(tmp_path).resolve().version == "1"


def test_promoting_what_is_stable_writes_nothing(tmp_path: Path) -> None:
    """Promoting the stable version leaves the label file unchanged, byte for byte."""
    _publish(tmp_path, small.DOUBLE, 2.0)
    path = tmp_path / "small" / "labels.json"
    path.write_text('{ "stable": 1 }')
    move(tmp_path, "small", "stable", 1)
    assert path.read_text() == '{ "stable": 1 }'

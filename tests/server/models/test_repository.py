"""Loading a model repository: versions, labels and the default model."""

import json
from pathlib import Path

import pytest

from server.errors import DigestError, ModelError, NotFound
from server.models.repository import Repository
from server.models.session import Model
from server.models.version_policy import VersionPolicy
from tests.server.support import small


def _label(root: Path, **labels: int) -> None:
    (root / "small" / "labels.json").write_text(json.dumps(labels))


def _identity(model: Model) -> tuple[str, str]:
    return model.name, model.version


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with versions 1, 2 and 10 of one small model."""
    for version in (1, 2, 10):
        small.double(tmp_path, version=version)
    return tmp_path


def test_only_model_is_the_default(root: Path) -> None:
    """The only model is the default model."""
    repository = Repository.load(root)
    assert (repository.default_model, list(repository.models["small"].models)) == ("small", [1, 2, 10])


def test_highest_version_answers(root: Path) -> None:
    """Without the label stable the default is the highest version by number, not by text."""
    assert _identity(Repository.load(root).resolve()) == ("small", "10")


def test_stable_version_answers(root: Path) -> None:
    """The version labelled stable is the default."""
    _label(root, stable=1, canary=10)
    repository = Repository.load(root)
    assert _identity(repository.resolve()) == ("small", "1")
    assert _identity(repository.resolve("small", label="canary")) == ("small", "10")
    assert _identity(repository.resolve("small", "2")) == ("small", "2")


def test_other_labels_are_no_default(root: Path) -> None:
    """Other labels don't change the default version."""
    _label(root, canary=1)
    assert _identity(Repository.load(root).resolve()) == ("small", "10")


@pytest.mark.parametrize(
    ("name", "version", "label", "words"),
    [
        ("large", None, None, "model 'large' is not served; there is small"),
        ("small", "3", None, "model 'small' has no version '3'; its versions: 1, 2, 10"),
        ("small", "stable", None, "model 'small' has no version 'stable'; its versions: 1, 2, 10"),
        ("small", "", None, "model 'small' has no version ''; its versions: 1, 2, 10"),
        ("small", None, "stable", "model 'small' has no label 'stable'; its labels: none"),
        ("y" * 99, None, None, f"model '{'y' * 64}' is not served; there is small"),
    ],
)
def test_what_is_not_there(root: Path, name: str, version: str | None, label: str | None, words: str) -> None:
    """An unknown model, version or label is not found; the error lists known ones."""
    with pytest.raises(NotFound) as missing:
        Repository.load(root).resolve(name, version, label)
    assert missing.value.message == words


def test_several_models_need_a_default(root: Path) -> None:
    """With several models the default must be named, and must be one of them."""
    small.double(root, name="other")
    with pytest.raises(ModelError, match=r"several models are served \(other, small\): LIFEBOAT_DEFAULT_MODEL must"):
        Repository.load(root)
    with pytest.raises(ModelError, match="LIFEBOAT_DEFAULT_MODEL: 'large' is not among other, small"):
        Repository.load(root, "large")
    assert _identity(Repository.load(root, "other").resolve()) == ("other", "1")


def test_label_that_points_at_nothing(root: Path) -> None:
    """A label of a missing version is rejected."""
    _label(root, stable=3)
    with pytest.raises(ModelError, match=r"small/labels\.json: label 'stable' points at version 3"):
        Repository.load(root)


@pytest.mark.parametrize("content", ["", "[]", '{"stable": "1"}', '{"stable": null}'])
def test_labels_that_are_no_labels(root: Path, content: str) -> None:
    """A labels file that doesn't map names to versions is rejected with its path."""
    path = root / "small" / "labels.json"
    path.write_text(content)
    with pytest.raises(ModelError, match=r"labels\.json: "):
        Repository.load(root)


@pytest.mark.parametrize("member", [{"name": "large"}, {"version": 3}])
def test_manifest_of_another_version(root: Path, member: dict[str, object]) -> None:
    """A version whose manifest has another model name or version is not served."""
    small.edit(root / "small" / "2", **member)
    assert Repository.load(root).models["small"].failed[2].startswith("model 'small' version 2: its manifest says ")


def test_a_broken_version_stops_no_other(root: Path) -> None:
    """A broken version is recorded with its reason, without an absolute path; others are served."""
    (root / "small" / "2" / "model.onnx").unlink()
    versions = Repository.load(root).models["small"]
    assert list(versions.models) == [1, 10]
    assert versions.failed == {2: "model 'small' version 2: small/2/model.onnx: No such file or directory"}


def test_a_labelled_version_must_serve(root: Path) -> None:
    """A broken version with a label is rejected with its own error, and never replaced."""
    (root / "small" / "labels.json").write_text('{"stable": 2}')
    (root / "small" / "2" / "model.onnx").write_bytes(b"")
    with pytest.raises(DigestError, match=r"^model 'small' version 2: model\.onnx: expected SHA-256"):
        Repository.load(root)


def test_a_broken_model_stops_no_other(root: Path) -> None:
    """A model without a valid version is recorded, unless it is the default model."""
    small.double(root, "other")
    (root / "other" / "1" / "model.onnx").write_bytes(b"")
    repository = Repository.load(root, "small")
    assert list(repository.models) == ["small"]
    assert repository.failed["other"].startswith("model 'other' version 1: model.onnx: expected SHA-256")
    with pytest.raises(DigestError, match="model 'other' version 1"):
        Repository.load(root, "other")


@pytest.mark.parametrize(
    ("policy", "labels", "served"),
    [
        ("all", {}, [1, 2, 10]),
        ("latest", {}, [10]),
        ("latest:2", {}, [2, 10]),
        ("specific:1,2,7", {}, [1, 2]),
        ("latest", {"stable": 1}, [1, 10]),
        ("specific:2", {"canary": 10}, [2, 10]),
    ],
)
def test_version_policy(root: Path, policy: str, labels: dict[str, int], served: list[int]) -> None:
    """The version policy selects the served versions; versions with a label are always served."""
    (root / "small" / "labels.json").write_text(json.dumps(labels))
    assert list(Repository.load(root, policy=VersionPolicy.parse(policy)).models["small"].models) == served


def test_drafts_and_strangers_are_passed_over(root: Path) -> None:
    """Hidden folders, and folders that are not versions, are ignored."""
    (root / "small" / ".draft-abc").mkdir()
    (root / "small" / "notes").mkdir()
    (root / "small" / "README").write_text("about")
    (root / ".git").mkdir()
    (root / "README").write_text("about")
    assert list(Repository.load(root).models["small"].models) == [1, 2, 10]


def test_folder_without_a_version(root: Path) -> None:
    """A model without versions is recorded by name, and rejected as the default model."""
    (root / "empty").mkdir()
    assert Repository.load(root, "small").failed == {"empty": "empty: there is no version to serve"}
    with pytest.raises(ModelError, match="empty: there is no version to serve"):
        Repository.load(root, "empty")


def test_no_models(tmp_path: Path) -> None:
    """A missing repository, or one without a model, is rejected."""
    with pytest.raises(ModelError, match="there is no model to serve"):
        Repository.load(tmp_path)
    with pytest.raises(ModelError, match="nowhere: there is no such folder"):
        Repository.load(tmp_path / "nowhere")

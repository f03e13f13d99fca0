"""A verified model to models/<name>/<version>: atomic, durable, and never over a version that exists."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from export.compatibility import follow, incompatible_changes
from server import manifest as manifests
from server.errors import ManifestError
from server.manifest import MANIFEST_FILE, MODEL_FILE, Manifest
from server.model import Model
from server.repository import LABELS_FILE, STABLE, read_labels


@dataclass(frozen=True, slots=True)
class Published:
    """Where a model stands; `new` is False where the newest version already was this very model."""

    path: Path
    version: int
    new: bool
    api_version: int
    incompatible: tuple[str, ...] = ()
    """The changes that made `api_version` one more than the version before had."""


def publish(root: Path, name: str, model: bytes, describe: Callable[[int], Manifest]) -> Published:
    """Publish `model` as the next version of `name`, with the manifest that `describe` gives for that version.

    The version is written beside its place, flushed to the disk, loaded as the server will load it, and only then
    renamed, so that a reader sees all of it or nothing. Where the newest version already is this very model with this
    very manifest, its provenance apart, there is no new one. What is published has the field
    numbers and the `api_version` that follow from the newest manifest that can be read: no server serves another.
    Raises ModelError where the server would not load it; nothing is left behind.
    """
    home = root / name
    versions = _versions(home)
    newest = max(versions, default=0)
    previous = _newest_contract(home / str(version) for version in versions)
    if newest:
        again = follow(previous, describe(newest))
        if _is(home / str(newest), model, again):
            return Published(home / str(newest), newest, new=False, api_version=again.api_version)
    version = newest + 1
    manifest = follow(previous, describe(version))
    _place(home / str(version), model, manifest)
    incompatible = tuple(incompatible_changes(previous, manifest)) if previous else ()
    return Published(home / str(version), version, True, manifest.api_version, incompatible)


def promote(root: Path, name: str, version: int) -> None:
    """Point the label `stable` of model `name` at `version`, in one step. Raises ModelError for a broken file."""
    path = root / name / LABELS_FILE
    labels = read_labels(path)
    if labels.get(STABLE) == version:
        return
    draft = path.with_name(f".{LABELS_FILE}.{os.getpid()}")
    _write(draft, msgspec.json.encode(labels | {STABLE: version}) + b"\n")
    draft.replace(path)
    _flush(path.parent)


def _versions(home: Path) -> list[int]:
    """Return the numbers of the versions there are, newest first."""
    if not home.is_dir():
        return []
    return sorted((int(child.name) for child in home.iterdir() if child.name.isdecimal()), reverse=True)


def _newest_contract(versions: Iterable[Path]) -> Manifest | None:
    """Return the first manifest of `versions`, newest first, that can be read."""
    for path in versions:
        with contextlib.suppress(ManifestError):
            return manifests.read(path / MANIFEST_FILE)
    return None


def _is(path: Path, model: bytes, manifest: Manifest) -> bool:
    """Return whether the version at `path` is this model with this manifest, by whatever libraries it was made."""
    try:
        published = manifests.read(path / MANIFEST_FILE)
        same_model = (path / MODEL_FILE).read_bytes() == model
    except (ManifestError, OSError):
        return False
    return same_model and msgspec.structs.replace(published, provenance=manifest.provenance) == manifest


def _place(path: Path, model: bytes, manifest: Manifest) -> None:
    """Write a version beside `path`, load it, and rename it to `path`; where any of it fails, leave nothing."""
    home = path.parent
    home.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=home))
    try:
        draft.chmod(0o755)
        _write(draft / MODEL_FILE, model)
        _write(draft / MANIFEST_FILE, manifests.encode(manifest))
        Model.load(draft)
        _flush(draft)
        draft.rename(path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        with contextlib.suppress(OSError):
            home.rmdir()  # where this was to be the first version, and nothing else is there
        raise
    _flush(home)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush(directory: Path) -> None:
    """Make the names in a directory durable: a file's own flush doesn't cover them."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

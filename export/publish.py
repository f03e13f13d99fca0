"""A verified model to models/<name>/<version>: atomic, durable, and never over a version that exists."""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from server import manifest as manifests
from server.manifest import MANIFEST_FILE, MODEL_FILE, Manifest
from server.model import Model
from server.repository import LABELS_FILE, STABLE


@dataclass(frozen=True, slots=True)
class Published:
    """Where a model stands; `new` is False where the newest version already was this very model."""

    path: Path
    version: int
    new: bool


def publish(root: Path, name: str, model: bytes, describe: Callable[[int], Manifest]) -> Published:
    """Publish `model` as the next version of `name`, with the manifest that `describe` gives for that version.

    The version is written beside its place, flushed to the disk, loaded as the server will load it, and only then
    renamed, so that a reader sees all of it or nothing. A model that the newest version already is makes no new one.
    Raises ModelError where the server would not load it; nothing is left behind.
    """
    home = root / name
    home.mkdir(parents=True, exist_ok=True)
    newest = max((int(child.name) for child in home.iterdir() if child.name.isdecimal()), default=0)
    if newest and (home / str(newest) / MODEL_FILE).read_bytes() == model:
        return Published(home / str(newest), newest, new=False)
    version = newest + 1
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=home))
    try:
        draft.chmod(0o755)
        _write(draft / MODEL_FILE, model)
        _write(draft / MANIFEST_FILE, manifests.encode(describe(version)))
        Model.load(draft)
        _flush(draft)
        draft.rename(home / str(version))
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    _flush(home)
    return Published(home / str(version), version, new=True)


def promote(root: Path, name: str, version: int) -> None:
    """Point the label `stable` of model `name` at `version`, in one step."""
    path = root / name / LABELS_FILE
    labels = msgspec.json.decode(path.read_bytes(), type=dict[str, int]) if path.exists() else {}
    if labels.get(STABLE) == version:
        return
    draft = path.with_name(f".{LABELS_FILE}.{os.getpid()}")
    _write(draft, msgspec.json.encode(labels | {STABLE: version}) + b"\n")
    draft.replace(path)
    _flush(path.parent)


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

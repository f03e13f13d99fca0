"""Move labels of a model's versions, and move them back.

- `labels.json` holds the version of each label; the server reads this file.
- `history.json` holds the previous versions of each label, oldest first.

A crash between the two writes can leave either file older than the other. A rollback is still correct: a move writes
the history first, and a rollback skips the version that the label already points to.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from export.registry.atomic_files import locked, replace, write
from server.errors import ModelError
from server.models.quoting import quoted
from server.models.repository import LABELS_FILE, STABLE, read_labels
from server.models.version_directory import load

HISTORY_FILE: Final = "history.json"
MAX_HISTORY: Final = 100
"""Maximum number of previous versions that the history holds for each label."""
_INTENT: Final = ".stable-next"
"""File with the version to label stable next.

The file remains if a publication is interrupted before the label moves.
"""


class LabelError(Exception):
    """Error for an invalid or missing label, version or model; the message lists existing ones."""


def move(root: Path, name: str, label: str, version: int) -> int | None:
    """Point a label of model `name` to `version` atomically.

    Returns the previous version of the label, or None. Raises LabelError if the version does not exist or the label is
    invalid. Raises ModelError for a broken file and for a version that the server would not load. Nothing changes on an
    error.
    """
    model_folder = model_folder_of(root, name)
    _check_version(model_folder, version)
    load(model_folder / str(version))
    with locked(model_folder):
        return move_locked(model_folder, label, version)


def remove(root: Path, name: str, label: str) -> int:
    """Remove a label and its history, and return its version. Raises LabelError if it is not set."""
    model_folder = model_folder_of(root, name)
    with locked(model_folder):
        labels, history = read_labels(model_folder / LABELS_FILE), read_history(model_folder)
        version = _version_of(model_folder, labels, label)
        if history.pop(label, None):  # first: if a crash follows, the command can be retried
            replace(model_folder / HISTORY_FILE, _encode(history))
        replace(model_folder / LABELS_FILE, _encode({each: number for each, number in labels.items() if each != label}))
        _clear_intent(model_folder, label)
        return version


def move_locked(model_folder: Path, label: str, version: int) -> int | None:
    """Point a label to `version` in `model_folder`, and return its previous version.

    The caller must hold the lock of the folder. Raises LabelError as `move` does, and ModelError for
    a broken file.
    """
    if not label or label != label.strip() or "/" in label or not label.isprintable() or label.isdecimal():
        raise LabelError(
            f"label: expected a name that is not a number, without slashes or surrounding spaces; got {quoted(label)}"
        )
    _check_version(model_folder, version)
    labels = read_labels(model_folder / LABELS_FILE)
    before = labels.get(label)
    if before == version:
        _clear_intent(model_folder, label)
        return before
    if before is not None:
        history = read_history(model_folder)
        history[label] = [*history.get(label, []), before][-MAX_HISTORY:]
        replace(model_folder / HISTORY_FILE, _encode(history))
    replace(model_folder / LABELS_FILE, _encode(labels | {label: version}))
    _clear_intent(model_folder, label)
    return before


def rollback(root: Path, name: str, label: str) -> tuple[int, int]:
    """Point a label to its previous version atomically.

    Returns the old and the new version of the label. Skips versions that no longer exist. Raises LabelError if there is
    no previous version, ModelError if the server would not load it; nothing changes then.
    """
    model_folder = model_folder_of(root, name)
    with locked(model_folder):
        labels, history = read_labels(model_folder / LABELS_FILE), read_history(model_folder)
        current = _version_of(model_folder, labels, label)
        previous = history.get(label, [])
        while previous and (previous[-1] == current or not (model_folder / str(previous[-1])).is_dir()):
            previous.pop()
        if not previous:
            raise LabelError(
                f"{label!r} of {name} points at version {current} and has no previous version that still exists"
            )
        version = previous.pop()
        load(model_folder / str(version))
        replace(model_folder / LABELS_FILE, _encode(labels | {label: version}))
        replace(model_folder / HISTORY_FILE, _encode(history | {label: previous}))
        _clear_intent(model_folder, label)
        return current, version


def intend(model_folder: Path, version: int | None) -> None:
    """Record the version to label stable next; None deletes the record.

    The caller must hold the lock. A move of the label stable deletes the record.
    """
    if version is None:
        (model_folder / _INTENT).unlink(missing_ok=True)
    else:
        write(model_folder / _INTENT, f"{version}\n".encode())


def is_intended(model_folder: Path, version: int) -> bool:
    """Return whether an interrupted publication must still label this version stable."""
    try:
        return (model_folder / _INTENT).read_bytes() == f"{version}\n".encode()
    except FileNotFoundError:
        return False


def read_history(model_folder: Path) -> dict[str, list[int]]:
    """Return the previous versions of each label, oldest first. Raises ModelError for a broken file."""
    path = model_folder / HISTORY_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, list[int]])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: {error}") from error


def check(model_folder: Path) -> None:
    """Raise ModelError if the labels of a model or their history can't be read."""
    read_labels(model_folder / LABELS_FILE)
    read_history(model_folder)


def names(root: Path) -> list[str]:
    """Return the names of the models in the repository `root`, sorted."""
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def model_folder_of(root: Path, name: str) -> Path:
    """Return the folder of an existing model. Raises LabelError with the existing names."""
    if name not in names(root):
        raise LabelError(f"{root}: there is no model {name!r}; available: {', '.join(names(root)) or 'none'}")
    return root / name


def _clear_intent(model_folder: Path, label: str) -> None:
    if label == STABLE:
        intend(model_folder, None)


def _check_version(model_folder: Path, version: int) -> None:
    if not (model_folder / str(version)).is_dir():
        raise LabelError(
            f"{model_folder.name} has no version {version}; available: {_join(reversed(versions(model_folder)))}"
        )


def _version_of(model_folder: Path, labels: Mapping[str, int], label: str) -> int:
    if label not in labels:
        raise LabelError(f"{model_folder.name} has no label {label!r}; available: {', '.join(labels) or 'none'}")
    return labels[label]


def versions(model_folder: Path) -> list[int]:
    """Return the version numbers in a model folder, newest first."""
    if not model_folder.is_dir():
        return []
    return sorted((int(child.name) for child in model_folder.iterdir() if child.name.isdecimal()), reverse=True)


def _join(each: Iterable[object]) -> str:
    return ", ".join(map(str, each)) or "none"


def _encode(content: object) -> bytes:
    return msgspec.json.encode(content) + b"\n"

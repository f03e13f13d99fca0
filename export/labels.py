"""Labels of a model's versions: moved in one step, and moved back.

`labels.json` says where each label points and is what a server reads. `history.json` beside it says, for each label,
the versions that it pointed at before, oldest first. Whichever of the two a crash leaves older, a rollback goes right:
the file that only adds is written first, and a version the label points at already is passed over.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from export.durable import locked, replace, write
from server.errors import ModelError
from server.repository import LABELS_FILE, STABLE, read_labels
from server.version_folder import load

HISTORY_FILE: Final = "history.json"
MAX_HISTORY: Final = 100
"""Moves of a label that are kept."""
_INTENT: Final = ".stable-next"
"""A version that is to be labelled stable once it is there: what is left of a publication stopped in between."""


class LabelError(Exception):
    """A label can't be moved there; the message says what there is instead."""


def move(root: Path, name: str, label: str, version: int) -> int | None:
    """Point a label of model `name` at `version`, in one step. Returns the version that it pointed at before, if any.

    Raises LabelError where there is no such version, ModelError for a broken file and for a version that a server would
    not load; nothing is changed then.
    """
    home = home_of(root, name)
    _check_version(home, version)
    load(home / str(version))
    with locked(home):
        return move_locked(home, label, version)


def remove(root: Path, name: str, label: str) -> int:
    """Take a label away, its history too. Returns the version it pointed at. Raises LabelError where it isn't set."""
    home = home_of(root, name)
    with locked(home):
        labels, history = read_labels(home / LABELS_FILE), read_history(home)
        version = _version_of(home, labels, label)
        if history.pop(label, None):  # first: where this is all that was done, it can be asked for again
            replace(home / HISTORY_FILE, _encoded(history))
        replace(home / LABELS_FILE, _encoded({each: number for each, number in labels.items() if each != label}))
        _decided(home, label)
        return version


def move_locked(home: Path, label: str, version: int) -> int | None:
    """Do the same in a model's folder, for who holds its lock."""
    if not label or label != label.strip() or "/" in label or not label.isprintable() or label.isdecimal():
        raise LabelError(f"label: expected a name without slashes and blanks around it, and no number; got {label!r}")
    _check_version(home, version)
    labels = read_labels(home / LABELS_FILE)
    before = labels.get(label)
    if before == version:
        _decided(home, label)
        return before
    if before is not None:
        history = read_history(home)
        history[label] = [*history.get(label, []), before][-MAX_HISTORY:]
        replace(home / HISTORY_FILE, _encoded(history))
    replace(home / LABELS_FILE, _encoded(labels | {label: version}))
    _decided(home, label)
    return before


def rollback(root: Path, name: str, label: str) -> tuple[int, int]:
    """Point a label at the version it pointed at before, in one step. Returns the version it left, and that one.

    Versions that are there no longer are passed over. Raises LabelError where there is none before, ModelError where a
    server would not load it; nothing is changed then.
    """
    home = home_of(root, name)
    with locked(home):
        labels, history = read_labels(home / LABELS_FILE), read_history(home)
        left = _version_of(home, labels, label)
        before = history.get(label, [])
        while before and (before[-1] == left or not (home / str(before[-1])).is_dir()):
            before.pop()
        if not before:
            raise LabelError(
                f"{label!r} of {name} points at version {left}, and pointed at none before it that is there"
            )
        version = before.pop()
        load(home / str(version))
        replace(home / LABELS_FILE, _encoded(labels | {label: version}))
        replace(home / HISTORY_FILE, _encoded(history | {label: before}))
        _decided(home, label)
        return left, version


def intend(home: Path, version: int | None) -> None:
    """Note, for who holds the lock, the version that is to be labelled stable next: forgotten when that label moves."""
    if version is None:
        (home / _INTENT).unlink(missing_ok=True)
    else:
        write(home / _INTENT, f"{version}\n".encode())


def is_intended(home: Path, version: int) -> bool:
    """Return whether this version was to be labelled stable when its publication was stopped, and is not yet."""
    try:
        return (home / _INTENT).read_bytes() == f"{version}\n".encode()
    except FileNotFoundError:
        return False


def read_history(home: Path) -> dict[str, list[int]]:
    """Return the versions that each label pointed at before, oldest first. Raises ModelError for a broken file."""
    path = home / HISTORY_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, list[int]])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: {error}") from error


def check(home: Path) -> None:
    """Raise ModelError where a model's labels, or their history, can't be read."""
    read_labels(home / LABELS_FILE)
    read_history(home)


def names(root: Path) -> list[str]:
    """Return the names of the models there are."""
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def home_of(root: Path, name: str) -> Path:
    """Return the folder of a model that is there. Raises LabelError, naming those that are."""
    if name not in names(root):
        raise LabelError(f"{root}: there is no model {name!r}; there is {', '.join(names(root)) or 'none'}")
    return root / name


def _decided(home: Path, label: str) -> None:
    if label == STABLE:
        intend(home, None)


def _check_version(home: Path, version: int) -> None:
    if not (home / str(version)).is_dir():
        raise LabelError(f"{home.name} has no version {version}; there is {_listed(reversed(versions(home)))}")


def _version_of(home: Path, labels: Mapping[str, int], label: str) -> int:
    if label not in labels:
        raise LabelError(f"{home.name} has no label {label!r}; there is {', '.join(labels) or 'none'}")
    return labels[label]


def versions(home: Path) -> list[int]:
    """Return the numbers of the versions there are in a model's folder, newest first."""
    if not home.is_dir():
        return []
    return sorted((int(child.name) for child in home.iterdir() if child.name.isdecimal()), reverse=True)


def _listed(each: Iterable[object]) -> str:
    return ", ".join(map(str, each)) or "none"


def _encoded(content: object) -> bytes:
    return msgspec.json.encode(content) + b"\n"

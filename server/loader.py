"""A model's folder to its Versions, at the start and whenever it is read again."""

import logging
from pathlib import Path

from server import version_folder
from server.errors import MissingModelError, ModelError
from server.version_policy import ALL, VersionPolicy
from server.versions import LABELS_FILE, Found, Versions, points_at_nothing, read_labels

_log = logging.getLogger("lifeboat.repository")


class Loader:
    """Reads models below a folder, as its policy has it."""

    def __init__(self, root: Path, policy: VersionPolicy = ALL) -> None:
        """Read below `root`."""
        self.root = root
        self._policy = policy

    def names(self) -> list[str]:
        """Return the names of the models there are. Raises ModelError where the folder can't be read."""
        if not self.root.is_dir():
            raise ModelError(f"{self.root}: there is no such folder")
        return [path.name for path in _folders(self.root)]

    def load(self, name: str) -> Versions:
        """Load the versions of a model that the policy or a label names, each checked and warm.

        One that can't be served doesn't stop the others. Raises ModelError where a label points at such a one, and
        where none can be; MissingModelError where there is no such folder.
        """
        found = self._find(name)
        for version, reason in found.errors.items():
            if not found.models or version in found.labels.values():
                raise reason
            _log.error("%s; the other versions are served", reason)
        return Versions(name, found.models.values(), found.labels, found.failed)

    def reload(self, served: Versions, *, by_hand: bool) -> Versions:
        """Return what is to take the place of `served`, and log why something isn't: once, until that changes."""
        versions = self._reload(served, by_hand=by_hand)
        told = set() if by_hand else {served.refused, *served.failed.values()}
        for reason in dict.fromkeys([*versions.failed.values(), versions.refused]):
            if reason and reason not in told:
                _log.error("%s; what was loaded before is served", reason)
        return versions

    def _reload(self, served: Versions, *, by_hand: bool) -> Versions:
        """Return what is to take the place of `served`: the folder's versions, those that it still holds as they are.

        Where the labels are broken, or one points at what can't be served, that is `served` itself and why. A version
        that failed is tried again when its folder has changed, or `by_hand`.
        """
        try:
            found = self._find(served.name, served, by_hand=by_hand)
        except ModelError as error:
            return served.refusing(self.told(error))
        for label, version in found.labels.items():
            if version not in found.models:
                reason = found.failed[version]
                return served.refusing(f"{served.name}/{LABELS_FILE}: label {label!r}: {reason}", found)
        if not found.models:
            return served.refusing(f"{served.name}: there is no version to serve", found)
        return Versions(served.name, found.models.values(), found.labels, found.failed, digests=found.digests)

    def told(self, error: ModelError) -> str:
        """Return the reason as callers may read it: without the folder's own place."""
        return str(error).replace(f"{self.root}/", "")

    def _find(self, name: str, served: Versions | None = None, *, by_hand: bool = True) -> Found:
        path = self.root / name
        if name not in self.names():
            raise MissingModelError(f"{name}: there is no such model")
        labels = read_labels(path / LABELS_FILE)
        there = {int(child.name): child for child in _folders(path) if child.name.isdecimal()}
        for label, version in labels.items():
            if version not in there:
                raise points_at_nothing(name, label, version)
        found = Found(labels, {}, {}, {}, {})
        for version in sorted(self._policy.choose(there) | set(labels.values())):
            self._add(found, version, there[version], served, by_hand=by_hand)
        return found

    def _add(self, found: Found, version: int, path: Path, served: Versions | None, *, by_hand: bool) -> None:
        """Put a version to what was found: as it was loaded before, loaded now, or the reason why it can't be."""
        before = None if served is None else served.models.get(version)
        if before is not None and version_folder.holds(path, before):
            found.models[version] = before
            return
        if before is not None:  # whatever becomes of what is in its folder now
            found.models[version] = before
        if served is not None:
            found.digests[version] = version_folder.digest(path)  # before it is read: what changes later differs
            if not by_hand and found.digests[version] == served.digests.get(version):
                found.failed[version] = served.failed[version]
                return
        try:
            found.models[version] = version_folder.load(path)
            found.digests.pop(version, None)
        except ModelError as error:
            found.errors[version] = error
            found.failed[version] = self.told(error)


def folders(path: Path) -> list[Path]:
    """Return the folders in `path` that are no half-written ones: those begin with a dot until they are renamed."""
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def _folders(path: Path) -> list[Path]:
    """Return the same. Raises ModelError where `path` can't be read, as where it is being removed."""
    try:
        return folders(path)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error

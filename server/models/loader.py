"""Loads and reloads the versions of a model from its folder."""

import logging
from pathlib import Path

from server.errors import MissingModelError, ModelError
from server.models import version_directory
from server.models.load_limits import LoadLimits
from server.models.version_policy import ALL, VersionPolicy
from server.models.versions import LABELS_FILE, Found, Versions, points_at_nothing, read_labels, version_number

_log = logging.getLogger("lifeboat.repository")


class Loader:
    """Loads models below a folder according to a version policy."""

    def __init__(self, root: Path, policy: VersionPolicy = ALL, limits: LoadLimits = LoadLimits()) -> None:  # noqa: B008 # it can't be changed
        """Read below `root`, each version within `limits`."""
        self.root = root
        self.limits = limits
        self._policy = policy

    def names(self) -> list[str]:
        """Return the names of the models. Raises ModelError if the folder can't be read."""
        if not self.root.is_dir():
            raise ModelError(f"{self.root}: there is no such folder")
        return [path.name for path in _folders(self.root)]

    def load(self, name: str) -> Versions:
        """Load, check and warm the versions that the policy or a label selects."""
        found = self._find(name)
        for version, reason in found.errors.items():
            if not found.models or version in found.labels.values():
                raise reason
            _log.error("%s; the other versions are served", reason)
        return Versions(name, found.models.values(), found.labels, found.failed)

    def reload(self, served: Versions, *, by_hand: bool) -> Versions:
        """Return the versions that replace `served`. Log each new error once."""
        versions = self._reload(served, by_hand=by_hand)
        told = set() if by_hand else {served.refused, *served.failed.values()}
        for reason in dict.fromkeys([*versions.failed.values(), versions.refused]):
            if reason and reason not in told:
                _log.error("%s; the versions loaded before are still served", reason)
        return versions

    def _reload(self, served: Versions, *, by_hand: bool) -> Versions:
        """Return the versions that replace `served`. Unchanged versions are reused.

        If the labels are broken, or a label points at a version that can't be served, return `served` with the reason.
        A failed version is retried if its folder has changed, or with `by_hand`.
        """
        try:
            found = self._find(served.name, served, by_hand=by_hand)
        except ModelError as error:
            return served.refusing(self.reason(error))
        for label, version in found.labels.items():
            if version not in found.models:
                reason = found.failed[version]
                return served.refusing(f"{served.name}/{LABELS_FILE}: label {label!r}: {reason}", found)
        if not found.models:
            return served.refusing(f"{served.name}: there is no version to serve", found)
        return Versions(served.name, found.models.values(), found.labels, found.failed, digests=found.digests)

    def reason(self, error: ModelError) -> str:
        """Return the error message for clients, without the path of the repository."""
        return str(error).replace(f"{self.root}/", "")

    def _find(self, name: str, served: Versions | None = None, *, by_hand: bool = True) -> Found:
        path = self.root / name
        if name not in self.names():
            raise MissingModelError(f"{name}: there is no such model")
        labels = read_labels(path / LABELS_FILE)
        numbered = ((version_number(child.name), child) for child in _folders(path))
        there = {version: child for version, child in numbered if version is not None}
        for label, version in labels.items():
            if version not in there:
                raise points_at_nothing(name, label, version)
        found = Found(labels, {}, {}, {}, {})
        for version in sorted(self._policy.choose(there) | set(labels.values())):
            self._add(found, version, there[version], served, by_hand=by_hand)
        return found

    def _add(self, found: Found, version: int, path: Path, served: Versions | None, *, by_hand: bool) -> None:
        """Add a version to `found`: unchanged, loaded now, or the reason why it failed."""
        before = None if served is None else served.models.get(version)
        if before is not None:  # it stays served even if its folder can't be loaded now
            found.models[version] = before
        if served is not None:
            digest = version_directory.digest(path, self.limits)  # taken before the read: a later change is detected
            if before is not None and digest == before.digest:
                return
            found.digests[version] = digest
            if not by_hand and digest == served.digests.get(version):
                found.failed[version] = served.failed[version]
                return
        try:
            found.models[version] = version_directory.load(path, self.limits)
            found.digests.pop(version, None)
        except ModelError as error:
            found.errors[version] = error
            found.failed[version] = self.reason(error)


def folders(path: Path) -> list[Path]:
    """Return the complete folders in `path`.

    The name of an incomplete folder begins with a dot until the folder is renamed.
    """
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def _folders(path: Path) -> list[Path]:
    """Return the complete folders in `path`.

    Raises ModelError if `path` can't be read, for example during its removal.
    """
    try:
        return folders(path)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error

"""Loads and reloads the versions of a model from its folder."""

import logging
from pathlib import Path

from server.errors import MissingModelError, ModelError
from server.models import version_directory
from server.models.load_limits import LoadLimits
from server.models.version_policy import ALL, VersionPolicy
from server.models.versions import (
    LABELS_FILE,
    FolderContents,
    Versions,
    dangling_label_error,
    read_labels,
    version_number,
)

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
        contents = self._find(name)
        for version, reason in contents.errors.items():
            if not contents.models or version in contents.labels.values():
                raise reason
            _log.error("%s; the other versions are served", reason)
        return Versions(name, contents.models.values(), contents.labels, contents.failed)

    def reload(self, served: Versions, *, is_manual: bool) -> Versions:
        """Return the versions that replace `served`. Log each new error once."""
        versions = self._reload(served, is_manual=is_manual)
        logged = set() if is_manual else {served.reload_error, *served.failed.values()}
        for reason in dict.fromkeys([*versions.failed.values(), versions.reload_error]):
            if reason and reason not in logged:
                _log.error("%s; the versions loaded before are still served", reason)
        return versions

    def _reload(self, served: Versions, *, is_manual: bool) -> Versions:
        """Return the versions that replace `served`. Unchanged versions are reused.

        If the labels are broken, or a label points at a version that can't be served, return `served` with the reason.
        A failed version is retried if its folder has changed, or with `is_manual`.
        """
        try:
            contents = self._find(served.name, served, is_manual=is_manual)
        except ModelError as error:
            return served.with_reload_error(self.reason(error))
        for label, version in contents.labels.items():
            if version not in contents.models:
                reason = contents.failed[version]
                return served.with_reload_error(f"{served.name}/{LABELS_FILE}: label {label!r}: {reason}", contents)
        if not contents.models:
            return served.with_reload_error(f"{served.name}: there is no version to serve", contents)
        return Versions(
            served.name, contents.models.values(), contents.labels, contents.failed, digests=contents.digests
        )

    def reason(self, error: ModelError) -> str:
        """Return the error message for clients, without the path of the repository."""
        return str(error).replace(f"{self.root}/", "")

    def _find(self, name: str, served: Versions | None = None, *, is_manual: bool = True) -> FolderContents:
        path = self.root / name
        if name not in self.names():
            raise MissingModelError(f"{name}: there is no such model")
        labels = read_labels(path / LABELS_FILE)
        numbered = ((version_number(child.name), child) for child in _folders(path))
        paths = {version: child for version, child in numbered if version is not None}
        for label, version in labels.items():
            if version not in paths:
                raise dangling_label_error(name, label, version)
        contents = FolderContents(labels, {}, {}, {}, {})
        for version in sorted(self._policy.choose(paths) | set(labels.values())):
            self._add(contents, version, paths[version], served, is_manual=is_manual)
        return contents

    def _add(
        self, contents: FolderContents, version: int, path: Path, served: Versions | None, *, is_manual: bool
    ) -> None:
        """Add a version to `contents`: unchanged, loaded now, or the reason why it failed."""
        current = None if served is None else served.models.get(version)
        if current is not None:  # it stays served even if its folder can't be loaded now
            contents.models[version] = current
        if served is not None:
            digest = version_directory.digest(path, self.limits)  # taken before the read: a later change is detected
            if current is not None and digest == current.digest:
                return
            contents.digests[version] = digest
            if not is_manual and digest == served.digests.get(version):
                contents.failed[version] = served.failed[version]
                return
        try:
            contents.models[version] = version_directory.load(path, self.limits)
            contents.digests.pop(version, None)
        except ModelError as error:
            contents.errors[version] = error
            contents.failed[version] = self.reason(error)


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

"""The versions of one model, their labels, and the errors of failed versions."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from server.errors import ModelError
from server.models import regular_file, strict_json
from server.models.session import Model

LABELS_FILE: Final = "labels.json"
MAX_LABELS_BYTES: Final = 1024 * 1024
MAX_VERSION: Final = 10**18 - 1
STABLE: Final = "stable"
"""Label for requests without a version; without this label, the highest version is used."""


class State(NamedTuple):
    """State of one version; without a version, state of the whole model."""

    name: str
    version: str
    is_ready: bool
    reason: str = ""
    """The error: why the version is not served, or why its older copy is served.

    An older copy is served if the folder has changed and can't be loaded.
    """


class FolderContents(NamedTuple):
    """Contents of a model's folder: loaded or reused versions, and failed versions."""

    labels: dict[str, int]
    models: dict[int, Model]
    errors: dict[int, ModelError]
    failed: dict[int, str]
    """The error messages of `errors`, as clients may read them."""
    digests: dict[int, str]


class Versions:
    """Served versions of one model, their labels, and the versions that failed."""

    def __init__(  # noqa: PLR0913 # these are the contents of one folder
        self,
        name: str,
        models: Iterable[Model],
        labels: Mapping[str, int],
        failed: Mapping[int, str] | None = None,
        *,
        digests: Mapping[int, str] | None = None,
        reload_error: str = "",
    ) -> None:
        """Raise ModelError if there is no version, or if a label has no version."""
        self.name = name
        self.models = {model.manifest.version: model for model in models}
        self.labels = dict(labels)
        self.failed = dict(failed or {})
        """Failed version to the error.

        A version that is also in `models` has changed since its load; the loaded copy is served.
        """
        self.digests = dict(digests or {})
        """Failed version to the digest of its folder, if it was computed."""
        self.reload_error = reload_error
        """Error that keeps the previous versions in place after a change of the folder.

        Empty if they match the folder.
        """
        if not self.models:
            raise ModelError(f"{name}: there is no version to serve")
        for label, version in labels.items():
            if version not in self.models:
                raise dangling_label_error(name, label, version)

    @property
    def default(self) -> Model:
        """The version labelled stable, else the highest."""
        return self.models[self.labels.get(STABLE, max(self.models))]

    @property
    def problem(self) -> str:
        """The error of a version that clients request by default or by label, else ""."""
        requested = set(self.labels.values())
        if STABLE not in self.labels:
            requested.add(max([*self.models, *self.failed]))
        reasons = [self.failed[version] for version in sorted(requested & set(self.failed))]
        return self.reload_error or next(iter(reasons), "")

    def states(self) -> Iterator[State]:
        """Yield the state of each version, and of the model if its folder is invalid."""
        for version in self.models:
            yield State(self.name, str(version), is_ready=True, reason=self.failed.get(version, ""))
        for version, reason in self.failed.items():
            if version not in self.models:
                yield State(self.name, str(version), is_ready=False, reason=reason)
        if self.reload_error:
            yield State(self.name, "", is_ready=False, reason=self.reload_error)

    def with_reload_error(self, reason: str, contents: "FolderContents | None" = None) -> "Versions":
        """Return a copy with the reason why nothing in the folder replaces it.

        `contents` holds the contents of the folder.
        """
        failed, digests = (self.failed, self.digests) if contents is None else (contents.failed, contents.digests)
        return Versions(self.name, self.models.values(), self.labels, failed, digests=digests, reload_error=reason)

    def serves_as(self, other: "Versions") -> bool:
        """Return whether both serve the same loaded models under the same labels."""
        return self.models == other.models and self.labels == other.labels


def dangling_label_error(name: str, label: str, version: int) -> ModelError:
    """Return the error of a label whose version does not exist."""
    return ModelError(f"{name}/{LABELS_FILE}: label {label!r} points at version {version}, which does not exist")


def version_number(name: str) -> int | None:
    """Return the version in a folder's name; None if the name is no version."""
    if not (name.isascii() and name.isdecimal()) or len(name) > len(str(MAX_VERSION)) or str(int(name)) != name:
        return None
    return int(name)


def read_labels(path: Path) -> dict[str, int]:
    """Return the labels in a labels.json; empty if the file does not exist.

    Raises ModelError for an invalid file.
    """
    try:
        labels = strict_json.decode(regular_file.read(path, MAX_LABELS_BYTES), dict[str, int])
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error
    for label, version in labels.items():
        if not 0 <= version <= MAX_VERSION:
            raise ModelError(f"{path}: label {label[:64]!r}: expected a version from 0 to {MAX_VERSION}")
    return labels

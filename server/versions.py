"""One model's versions, and the labels that point at them: what is served, and why something isn't."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from server.errors import ModelError
from server.model import Model

LABELS_FILE: Final = "labels.json"
STABLE: Final = "stable"
"""The label that a request without a version gets, where it is set; else the highest version answers."""


class State(NamedTuple):
    """Whether a version of a model is served; where there is no version, the model as a whole."""

    name: str
    version: str
    is_ready: bool
    reason: str = ""
    """What is wrong: why it isn't served; or why what was loaded before is, and not what its folder holds."""


class Found(NamedTuple):
    """What a model's folder has: versions that were loaded or kept, and those that could not be."""

    labels: dict[str, int]
    models: dict[int, Model]
    errors: dict[int, ModelError]
    failed: dict[int, str]
    """The same as callers may read it."""
    digests: dict[int, str]


class Versions:
    """The versions of one model that are served, the labels that point at them, and what can't be served."""

    def __init__(  # noqa: PLR0913 # it is what was read of one folder
        self,
        name: str,
        models: Iterable[Model],
        labels: Mapping[str, int],
        failed: Mapping[int, str] | None = None,
        *,
        digests: Mapping[int, str] | None = None,
        refused: str = "",
    ) -> None:
        """Raise ModelError where there is no version, or a label points at none."""
        self.name = name
        self.models = {model.manifest.version: model for model in models}
        self.labels = dict(labels)
        self.failed = dict(failed or {})
        """Version to the reason why what its folder holds isn't served. One that is in `models` too has changed since
        it was loaded, and is served as it was."""
        self.digests = dict(digests or {})
        """Version to the digest of the folder that failed, where it was taken."""
        self.refused = refused
        """Why all of this is still what it was before the folder changed; empty: it is what the folder says."""
        if not self.models:
            raise ModelError(f"{name}: there is no version to serve")
        for label, version in labels.items():
            if version not in self.models:
                raise points_at_nothing(name, label, version)

    @property
    def default(self) -> Model:
        """The version labelled stable, else the highest."""
        return self.models[self.labels.get(STABLE, max(self.models))]

    @property
    def problem(self) -> str:
        """Why callers who name no version, or a label, are not answered by what the folder has for them; or nothing."""
        asked_for = set(self.labels.values())
        if STABLE not in self.labels:
            asked_for.add(max([*self.models, *self.failed]))
        reasons = [self.failed[version] for version in sorted(asked_for & set(self.failed))]
        return self.refused or next(iter(reasons), "")

    def states(self) -> Iterator[State]:
        """Yield the state of each version, and the model's own where that is not what its folder says."""
        for version in self.models:
            yield State(self.name, str(version), is_ready=True, reason=self.failed.get(version, ""))
        for version, reason in self.failed.items():
            if version not in self.models:
                yield State(self.name, str(version), is_ready=False, reason=reason)
        if self.refused:
            yield State(self.name, "", is_ready=False, reason=self.refused)

    def refusing(self, reason: str, found: "Found | None" = None) -> "Versions":
        """Return the same, and why nothing of what was `found` in the folder takes its place."""
        failed, digests = (self.failed, self.digests) if found is None else (found.failed, found.digests)
        return Versions(self.name, self.models.values(), self.labels, failed, digests=digests, refused=reason)

    def serves_as(self, other: "Versions") -> bool:
        """Return whether both serve the same loaded models under the same labels."""
        return self.models == other.models and self.labels == other.labels


def points_at_nothing(name: str, label: str, version: int) -> ModelError:
    """Return what is wrong with a label whose version isn't there."""
    return ModelError(f"{name}/{LABELS_FILE}: label {label!r} points at version {version}, which is not there")


def read_labels(path: Path) -> dict[str, int]:
    """Return the labels in a labels.json, none where there is no such file. Raises ModelError for a broken one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: {error}") from error

"""models/ to verified, warmed Models, found by name and version or label."""

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from server.errors import ModelError, NotFound
from server.model import Model

LABELS_FILE: Final = "labels.json"
STABLE: Final = "stable"
"""The label that a request without a version gets, where it is set; else the highest version answers."""

_log = logging.getLogger("lifeboat.repository")


class Versions:
    """The versions of one model, and the labels that point at them."""

    def __init__(self, name: str, models: Iterable[Model], labels: Mapping[str, int]) -> None:
        """Raise ModelError where there is no version, or a label points at none."""
        self.name = name
        self.models = {model.manifest.version: model for model in models}
        self.labels = dict(labels)
        if not self.models:
            raise ModelError(f"{name}: there is no version to serve")
        for label, version in labels.items():
            if version not in self.models:
                raise ModelError(
                    f"{name}/{LABELS_FILE}: label {label!r} points at version {version}, which is not there"
                )

    @property
    def default(self) -> Model:
        """The version labelled stable, else the highest."""
        return self.models[self.labels.get(STABLE, max(self.models))]


class Repository:
    """Everything that is served."""

    def __init__(self, models: Iterable[Versions], default_model: str = "") -> None:
        """Raise ModelError where nothing is served, or the default model is unknown or needed and not named."""
        self.models = {versions.name: versions for versions in models}
        if not self.models:
            raise ModelError("there is no model to serve")
        if not default_model and len(self.models) > 1:
            raise ModelError(
                f"several models are served ({', '.join(self.models)}): LIFEBOAT_DEFAULT_MODEL must name one"
            )
        self.default_model = default_model or next(iter(self.models))
        if self.default_model not in self.models:
            raise ModelError(f"LIFEBOAT_DEFAULT_MODEL: {default_model!r} is not among {', '.join(self.models)}")

    @classmethod
    def load(cls, root: Path, default_model: str = "") -> "Repository":
        """Load every version of every model below `root`. Raises ModelError, naming the version that can't serve."""
        if not root.is_dir():
            raise ModelError(f"{root}: there is no such folder")
        return cls((_load_versions(path) for path in _folders(root)), default_model)

    def versions(self, name: str) -> Versions:
        """Return the versions of a model. Raises NotFound."""
        try:
            return self.models[name]
        except KeyError:
            raise NotFound(
                f"model {name[:64]!r} is not served; there is {', '.join(self.models)}", field="model"
            ) from None

    def resolve(self, name: str | None = None, version: str | None = None, label: str | None = None) -> Model:
        """Return the model of this name, version or label: the default one for each that is not given.

        Raises NotFound, naming what there is instead.
        """
        versions = self.versions(self.default_model if name is None else name)
        if label is not None:
            if label not in versions.labels:
                known = ", ".join(versions.labels) or "none"
                raise NotFound(
                    f"model {versions.name!r} has no label {label[:64]!r}; its labels: {known}", field="label"
                )
            return versions.models[versions.labels[label]]
        if version is None:
            return versions.default
        for number, model in versions.models.items():
            if str(number) == version:
                return model
        known = ", ".join(map(str, versions.models))
        raise NotFound(
            f"model {versions.name!r} has no version {version[:64]!r}; its versions: {known}", field="version"
        )


def _folders(path: Path) -> list[Path]:
    """Return the folders in `path` that are no half-written ones: those begin with a dot until they are renamed."""
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def _load_versions(path: Path) -> Versions:
    numbered = sorted((child for child in _folders(path) if child.name.isdecimal()), key=lambda child: int(child.name))
    return Versions(path.name, [_load(child) for child in numbered], read_labels(path / LABELS_FILE))


def _load(path: Path) -> Model:
    started = time.perf_counter()
    try:
        model = Model.load(path)
        if (model.name, model.version) != (path.parent.name, path.name):
            raise ModelError(f"its manifest says {model.name} version {model.version}")
    except ModelError as error:
        raise type(error)(f"model {path.parent.name!r} version {path.name}: {error}") from error
    _log.info("model %s version %s ready in %.0f ms", model.name, model.version, (time.perf_counter() - started) * 1e3)
    return model


def read_labels(path: Path) -> dict[str, int]:
    """Return the labels in a labels.json, none where there is no such file. Raises ModelError for a broken one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: {error}") from error

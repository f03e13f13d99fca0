"""models/ to verified, warmed Models, found by name and version or label."""

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from server.errors import ModelError, NotFound
from server.model import Model
from server.version_policy import ALL, VersionPolicy

LABELS_FILE: Final = "labels.json"
STABLE: Final = "stable"
"""The label that a request without a version gets, where it is set; else the highest version answers."""

_log = logging.getLogger("lifeboat.repository")


class Versions:
    """The versions of one model that are served, the labels that point at them, and those that can't be served."""

    def __init__(
        self, name: str, models: Iterable[Model], labels: Mapping[str, int], failed: Mapping[int, str] | None = None
    ) -> None:
        """Raise ModelError where there is no version, or a label points at none."""
        self.name = name
        self.models = {model.manifest.version: model for model in models}
        self.labels = dict(labels)
        self.failed = dict(failed or {})
        """Version to the reason why it isn't served."""
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


class Loader:
    """Reads models below a folder, as its policy has it."""

    def __init__(self, root: Path, policy: VersionPolicy = ALL) -> None:
        """Read below `root`."""
        self._root = root
        self._policy = policy

    def names(self) -> list[str]:
        """Return the names of the models there are. Raises ModelError where there is no such folder."""
        if not self._root.is_dir():
            raise ModelError(f"{self._root}: there is no such folder")
        return [path.name for path in _folders(self._root)]

    def load(self, name: str) -> Versions:
        """Load the versions of a model that the policy or a label names, each checked and warm.

        One that can't be served doesn't stop the others. Raises ModelError where a label points at such a one, and
        where none can be.
        """
        path = self._root / name
        if name not in self.names():
            raise ModelError(f"{name}: there is no such model")
        labels = read_labels(path / LABELS_FILE)
        there = {int(child.name): child for child in _folders(path) if child.name.isdecimal()}
        models, errors = [], {}
        for version in sorted(self._policy.choose(there) | (set(labels.values()) & set(there))):
            try:
                models.append(_load(there[version]))
            except ModelError as error:
                errors[version] = error
        for version, reason in errors.items():
            if not models or version in labels.values():
                raise reason
            _log.error("%s; the other versions are served", reason)
        return Versions(name, models, labels, {version: self.told(reason) for version, reason in errors.items()})

    def told(self, error: ModelError) -> str:
        """Return the reason as callers may read it: without the folder's own place."""
        return str(error).replace(f"{self._root}/", "")


class Repository:
    """Everything that is served."""

    def __init__(
        self, models: Iterable[Versions], default_model: str = "", failed: Mapping[str, str] | None = None
    ) -> None:
        """Raise ModelError where nothing is served, or the default model is unknown or needed and not named."""
        self.models = {versions.name: versions for versions in models}
        self.failed = dict(failed or {})
        """Model of which no version is served, to the reason."""
        self.loader: Loader | None = None
        names = [*self.models, *self.failed]
        if not self.models:
            raise ModelError("there is no model to serve")
        if not default_model and len(names) > 1:
            raise ModelError(f"several models are served ({', '.join(names)}): LIFEBOAT_DEFAULT_MODEL must name one")
        self.default_model = default_model or next(iter(self.models))
        if self.default_model not in self.models:
            raise ModelError(f"LIFEBOAT_DEFAULT_MODEL: {default_model!r} is not among {', '.join(self.models)}")

    @classmethod
    def load(cls, root: Path, default_model: str = "", policy: VersionPolicy = ALL) -> "Repository":
        """Load the models below `root`. One that can't be served doesn't stop the others, unless it is the default.

        Raises ModelError, naming the version that can't serve, where it is the default model's or nothing else is left.
        """
        loader = Loader(root, policy)
        loaded, errors = [], {}
        for name in loader.names():
            try:
                loaded.append(loader.load(name))
            except ModelError as error:
                errors[name] = error
        for name, reason in errors.items():
            if not loaded or name == default_model:
                raise reason
            _log.error("%s; the other models are served", reason)
        repository = cls(loaded, default_model, {name: loader.told(reason) for name, reason in errors.items()})
        repository.loader = loader
        return repository

    def read(self, name: str) -> Versions:
        """Read a model again from its folder, to be put in place by `replace`. Raises ModelError; may take a while."""
        if self.loader is None:
            raise ModelError(f"{name}: it was not read from a folder")
        return self.loader.load(name)

    def replace(self, versions: Versions) -> None:
        """Serve these versions of a model from now on, and no other ones of it."""
        self.failed.pop(versions.name, None)
        self.models[versions.name] = versions

    def unload(self, name: str) -> None:
        """Serve a model no longer. Raises NotFound where it isn't served."""
        self.versions(name)
        del self.models[name]
        self.failed[name] = "unloaded"

    def versions(self, name: str) -> Versions:
        """Return the versions of a model. Raises NotFound."""
        try:
            return self.models[name]
        except KeyError:
            raise NotFound(
                f"model {name[:64]!r} is not served; there is {', '.join(self.models) or 'none'}", field="model"
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

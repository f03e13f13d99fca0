"""models/ to verified, warmed Models, found by name and version or label."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from server.counters import ReloadResult, Reloads
from server.errors import MissingModelError, ModelError, NotFound
from server.loader import Loader
from server.model import Model
from server.version_folder import CARD_FILE
from server.version_policy import ALL, VersionPolicy
from server.versions import LABELS_FILE, STABLE, State, Versions, read_labels

__all__ = ["LABELS_FILE", "STABLE", "Repository", "State", "Versions", "read_labels"]

UNLOADED: Final = "unloaded"
"""The reason why a model isn't served that was unloaded by hand."""

_log = logging.getLogger("lifeboat.repository")


class Repository:
    """Everything that is served."""

    def __init__(
        self, models: Iterable[Versions], default_model: str = "", failed: Mapping[str, str] | None = None
    ) -> None:
        """Raise ModelError where nothing is served, or the default model is unknown or needed and not named."""
        self.models = {versions.name: versions for versions in models}
        self.failed = dict(failed or {})
        """Model of which no version is served, to the reason."""
        self.reloads: dict[str, Reloads] = {}
        """What came of reading models again."""
        self.loader: Loader | None = None
        self._is_named = bool(default_model)
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

    def read(self, name: str, *, by_hand: bool = True) -> Versions:
        """Read a model again from its folder, to be put in place by `replace`; what its folder still holds is kept.

        Versions that failed are tried again `by_hand` though nothing about them has changed. May take a while. Raises
        ModelError where nothing of the model is served, nor can be; MissingModelError where there is no such folder.
        """
        if self.loader is None:
            raise MissingModelError(f"{name}: it was not read from a folder")
        served = self.models.get(name)
        return self.loader.load(name) if served is None else self.loader.reload(served, by_hand=by_hand)

    def replace(self, versions: Versions) -> bool:
        """Serve these versions of a model from now on, and no other ones of it. Returns whether it is others."""
        served = self.models.get(versions.name)
        self.failed.pop(versions.name, None)
        self.models[versions.name] = versions
        if served is None and len(self.models) > 1 and not self._is_named:
            _log.warning("several models are served now: the next start needs LIFEBOAT_DEFAULT_MODEL to name one")
        return served is None or not served.serves_as(versions)

    def fail(self, name: str, reason: str) -> None:
        """Tell from now on why nothing of a model is served."""
        self.models.pop(name, None)
        self.failed[name] = reason

    def unload(self, name: str) -> None:
        """Serve a model no longer. Raises NotFound where it isn't served."""
        self.versions(name)
        self.fail(name, UNLOADED)

    def remove(self, name: str) -> bool:
        """Forget a model. Returns whether it was served."""
        self.failed.pop(name, None)
        self.reloads.pop(name, None)
        return self.models.pop(name, None) is not None

    def count(self, name: str, result: ReloadResult) -> None:
        """Count that a model was read again, and what came of it."""
        self.reloads.setdefault(name, Reloads()).count(result)

    def card(self, model: Model) -> Path | None:
        """Return where the model card of a version is, if it has one."""
        return None if self.loader is None else self.loader.root / model.name / model.version / CARD_FILE

    def states(self) -> list[State]:
        """Return the state of every version there is, and of models as a whole where there is something to say."""
        states = [state for versions in self.models.values() for state in versions.states()]
        return states + [State(name, "", is_ready=False, reason=reason) for name, reason in self.failed.items()]

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

"""The model repository: verified, warm models, found by name and version or label."""

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal, get_args

from server.errors import MissingModelError, ModelError, NotFound
from server.models.load_limits import LoadLimits
from server.models.loader import Loader
from server.models.run_limits import RunLimits
from server.models.session import Model, run_limits
from server.models.version_directory import CARD_FILE
from server.models.version_policy import ALL, VersionPolicy
from server.models.versions import LABELS_FILE, STABLE, State, Versions, read_labels

__all__ = ["LABELS_FILE", "STABLE", "Repository", "State", "Versions", "read_labels"]

UNLOADED: Final = "unloaded"
"""Reason for a model that a client unloaded."""

ReloadResult = Literal["changed", "unchanged", "refused"]
"""Result of a reload.

- changed: other versions or labels are served.
- unchanged: the same versions and labels are served.
- refused: a version that clients request by default or by label can't be served from its folder.
"""
RELOAD_RESULTS: Final[tuple[ReloadResult, ...]] = get_args(ReloadResult)

_log = logging.getLogger("lifeboat.repository")


class Reloads:
    """Counts of the reloads of one model, by result."""

    def __init__(self) -> None:
        """Set all counts to zero."""
        self.results: dict[ReloadResult, int] = dict.fromkeys(RELOAD_RESULTS, 0)
        self.last_unix_s = 0.0
        """Unix time of the end of the last reload, in seconds."""

    def count(self, result: ReloadResult) -> None:
        """Count a reload that ends now."""
        self.results[result] += 1
        self.last_unix_s = time.time()


class Repository:
    """All served models and their versions."""

    def __init__(
        self, models: Iterable[Versions], default_model: str = "", failed: Mapping[str, str] | None = None
    ) -> None:
        """Index the models by name.

        Raises ModelError if there is no model, or if the default model is unknown, or required and not set.
        """
        self.models = {versions.name: versions for versions in models}
        self.failed = dict(failed or {})
        """Name of each model without a served version, to the reason."""
        self.reloads: dict[str, Reloads] = {}
        """Model name to the results of its reloads."""
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
    def load(
        cls,
        root: Path,
        default_model: str = "",
        policy: VersionPolicy = ALL,
        limits: LoadLimits = LoadLimits(),  # noqa: B008 # immutable
    ) -> "Repository":
        """Load the models below `root`, each version within `limits`.

        A version that can't be served does not stop the others.

        Raises ModelError, naming the version, if the default model can't be served or no model is left.
        """
        loader = Loader(root, policy, limits)
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
        repository = cls(loaded, default_model, {name: loader.reason(reason) for name, reason in errors.items()})
        repository.loader = loader
        return repository

    @property
    def run_limits(self) -> RunLimits:
        """The time limits of the models' runs; new limits if no folder was loaded."""
        return (None if self.loader is None else self.loader.limits.runs) or run_limits()

    def read(self, name: str, *, is_manual: bool = True) -> Versions:
        """Reload a model from its folder, for `replace`. Unchanged versions are reused.

        With `is_manual`, failed versions are retried even if their files are unchanged. The reload may take long.
        Raises ModelError if no version of the model is served or can be; MissingModelError if the folder does not
        exist.
        """
        if self.loader is None:
            raise MissingModelError(f"{name}: it was not read from a folder")
        served = self.models.get(name)
        return self.loader.load(name) if served is None else self.loader.reload(served, is_manual=is_manual)

    def replace(self, versions: Versions) -> bool:
        """Serve exactly these versions of a model from now on. Returns whether they changed."""
        served = self.models.get(versions.name)
        self.failed.pop(versions.name, None)
        self.models[versions.name] = versions
        if served is None and len(self.models) > 1 and not self._is_named:
            _log.warning("several models are served now: the next start requires LIFEBOAT_DEFAULT_MODEL")
        return served is None or not served.serves_as(versions)

    def fail(self, name: str, reason: str) -> None:
        """Serve no version of a model, and record the reason."""
        self.models.pop(name, None)
        self.failed[name] = reason

    def unload(self, name: str) -> None:
        """Unload a model. Raises NotFound if it is not served."""
        self.versions(name)
        self.fail(name, UNLOADED)

    def remove(self, name: str) -> bool:
        """Remove a model and its state. Returns whether it was served."""
        self.failed.pop(name, None)
        self.reloads.pop(name, None)
        return self.models.pop(name, None) is not None

    def count(self, name: str, result: ReloadResult) -> None:
        """Count a reload of a model by its result."""
        self.reloads.setdefault(name, Reloads()).count(result)

    def card(self, model: Model) -> Path | None:
        """Return the path of a version's model card; None if the model has no folder."""
        return None if self.loader is None else self.loader.root / model.name / model.version / CARD_FILE

    def states(self) -> list[State]:
        """Return the state of every version, and of each model with an error."""
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
        """Return the model of this name, version or label; an omitted one means the default.

        Raises NotFound; the message names the alternatives.
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

"""A verified model to models/<name>/<version>: atomic, durable, judged, and never over a version that exists."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from export.compatibility import follow, incompatible_changes
from export.durable import draft, locked, place, write
from export.labels import intend, is_intended, move_locked, read_history, versions
from server import manifest as manifests
from server.errors import ManifestError, ModelError
from server.evidence import Comparison
from server.manifest import MANIFEST_FILE, MODEL_FILE, Manifest
from server.model import Model
from server.repository import LABELS_FILE, STABLE, read_labels
from server.version_folder import load

Judge = Callable[[Model, Model], Comparison]
"""The challenger and the model labelled stable to how they compare; raises what refuses the challenger."""
Files = Callable[[Manifest, Model], Mapping[str, bytes]]
"""A version's manifest and model to the files, by name, that stand beside them."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms, and with what beside it, a model is published."""

    judge: Judge | None = None
    files: Files | None = None
    promote: bool = False
    """Whether the label `stable` moves to it."""


PLAIN: Final = Terms()


@dataclass(frozen=True, slots=True)
class Published:
    """Where a model stands; `new` is False where a version already was this very model."""

    path: Path
    version: int
    new: bool
    api_version: int
    incompatible: tuple[str, ...] = ()
    """The changes that made `api_version` one more than the version before had."""
    comparison: Comparison | None = None
    broken: str = ""
    """Why the version labelled stable couldn't be loaded, and so not be compared with."""
    stable: int | None = None
    """The version that the label points at now."""


def publish(
    root: Path,
    name: str,
    model: bytes,
    describe: Callable[[int], Manifest],
    terms: Terms = PLAIN,
) -> Published:
    """Publish `model` as the next version of `name`, with the manifest that `describe` gives for that version.

    The version is written beside its place, flushed to the disk, loaded as the server will load it, compared by the
    terms' judge with the version labelled stable, and only then renamed, so that a reader sees all of it or nothing.
    Where the newest version already is this very model with this very contract there is no new one, and a label that
    there is stays where it points, unless that version's publication was stopped before the label moved. What is
    published has the field numbers and the `api_version` that follow from the newest manifest that can be read: no
    server serves another. One publisher works at a time; a second waits.
    Raises ModelError where the server would not load it, and what the judge raises; nothing is left behind.
    """
    home = root / name
    with locked(home):
        return _publish(home, model, describe, terms)


def find_recipe(home: Path, recipe: str) -> int | None:
    """Return the newest version that was made by this recipe and is whole, None where there is none."""
    for version in versions(home):
        with contextlib.suppress(ModelError):
            if manifests.read(home / str(version) / MANIFEST_FILE).provenance.recipe == recipe:
                load(home / str(version))
                return version
    return None


def _publish(home: Path, model: bytes, describe: Callable[[int], Manifest], terms: Terms) -> Published:
    there = versions(home)
    newest = max(there, default=0)
    previous = _newest_contract(home / str(version) for version in there)
    labels = read_labels(home / LABELS_FILE)  # a broken one is told before anything is written
    if newest:
        again = follow(previous, describe(newest))
        if _is(home, newest, model, again):
            if terms.promote and (STABLE not in labels or is_intended(home, newest)):
                move_locked(home, STABLE, newest)
                labels[STABLE] = newest
            return Published(
                home / str(newest), newest, new=False, api_version=again.api_version, stable=labels.get(STABLE)
            )
    version = max(newest, *labels.values(), *itertools.chain(*read_history(home).values()), 0) + 1  # none is used twice
    manifest = follow(previous, describe(version))
    comparison, broken = _place(home / str(version), model, manifest, labels.get(STABLE), terms)
    if terms.promote:
        move_locked(home, STABLE, version)
    return Published(
        path=home / str(version),
        version=version,
        new=True,
        api_version=manifest.api_version,
        incompatible=tuple(incompatible_changes(previous, manifest)) if previous else (),
        comparison=comparison,
        broken=broken,
        stable=version if terms.promote else labels.get(STABLE),
    )


def _place(
    path: Path, model: bytes, manifest: Manifest, stable: int | None, terms: Terms
) -> tuple[Comparison | None, str]:
    """Write a version beside `path`, load it, have it judged, and rename it to `path`; else leave nothing."""
    with draft(path.parent) as folder:
        write(folder / MODEL_FILE, model)
        write(folder / MANIFEST_FILE, manifests.encode(manifest))
        challenger = Model.load(folder)
        if (challenger.name, challenger.version) != (path.parent.name, path.name):
            raise ModelError(
                f"its manifest says {challenger.name} version {challenger.version}; expected "
                f"{path.parent.name} version {path.name}"
            )
        comparison, broken = _judged(challenger, path.parent, stable, terms.judge)
        manifest = replace(manifest, comparison=comparison)
        content = {
            MANIFEST_FILE: manifests.encode(manifest),
            **(terms.files(manifest, challenger) if terms.files else {}),
        }
        for name, each in content.items():
            write(folder / name, each)
        intend(path.parent, int(path.name) if terms.promote else None)
        place(folder, path, content)
    return comparison, broken


def _judged(challenger: Model, home: Path, stable: int | None, judge: Judge | None) -> tuple[Comparison | None, str]:
    if judge is None or stable is None:
        return None, ""
    try:
        champion = load(home / str(stable))
    except ModelError as error:
        return None, str(error)
    return judge(challenger, champion), ""


def _newest_contract(paths: Iterable[Path]) -> Manifest | None:
    """Return the first manifest of `paths`, newest first, that can be read."""
    for path in paths:
        with contextlib.suppress(ManifestError):
            return manifests.read(path / MANIFEST_FILE)
    return None


def _is(home: Path, version: int, model: bytes, manifest: Manifest) -> bool:
    """Return whether a version is whole, and this model with this contract.

    What was found out about it may differ in a last digit on another CPU, and that makes no other model.
    """
    try:
        published = load(home / str(version)).manifest
        same_model = (home / str(version) / MODEL_FILE).read_bytes() == model
    except (ModelError, OSError):
        return False
    found_out = ("provenance", "comparison", "metrics", "parity", "golden", "reference", "background")
    alike = replace(published, **{name: getattr(manifest, name) for name in found_out})
    return same_model and alike == manifest

"""Publish a verified model to models/<name>/<version>, atomically; no version is overwritten."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from export.registry.atomic_files import draft, locked, place, write
from export.registry.compatibility import follow, incompatible_changes
from export.registry.labels import intend, is_intended, move_locked, read_history, versions
from server.errors import ManifestError, ModelError
from server.models import digest_file
from server.models import manifest as manifests
from server.models.digest_file import DIGEST_FILE
from server.models.manifest import MANIFEST_FILE, MODEL_FILE, Manifest
from server.models.repository import LABELS_FILE, STABLE, read_labels
from server.models.session import Model
from server.models.training_metadata import Comparison
from server.models.version_directory import load

Judge = Callable[[Model, Model], Comparison]
"""Compares the challenger with the model labelled stable; raises an error to reject the challenger."""
Files = Callable[[Manifest, Model], Mapping[str, bytes]]
"""Returns the additional files of a version, by name, from its manifest and model."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Options of a publication: comparison, additional files, promotion."""

    judge: Judge | None = None
    files: Files | None = None
    promote: bool = False
    """Whether to move the label `stable` to the new version."""


PLAIN: Final = Terms()


@dataclass(frozen=True, slots=True)
class Published:
    """Result of a publication; `new` is False if an existing version is the same model."""

    path: Path
    version: int
    new: bool
    api_version: int
    incompatible: tuple[str, ...] = ()
    """The incompatible changes that incremented `api_version`."""
    comparison: Comparison | None = None
    broken: str = ""
    """Why the version labelled stable could not be loaded for the comparison."""
    stable: int | None = None
    """The version that the label `stable` points to after the publication."""


def publish(
    root: Path,
    name: str,
    model: bytes,
    describe: Callable[[int], Manifest],
    terms: Terms = PLAIN,
) -> Published:
    """Publish `model` as the next version of `name`, with the manifest from `describe`.

    `describe` takes the version number and returns its manifest. The steps:

    1. Write the version to a temporary folder and flush it to the disk.
    2. Load it as the server loads it.
    3. Compare it with the version labelled stable, by `terms.judge`.
    4. Rename the folder, so that a reader sees the complete version or nothing.

    If the newest version already has the same model and contract, no version is added. An existing label `stable` then
    does not move, unless the publication of that version was interrupted before the label moved.

    The field numbers and the `api_version` follow from the newest readable manifest, because no server serves others.
    One publisher works at a time; a second one waits.

    Raises ModelError if the server would not load the version, and any error of the judge; then no file remains.
    """
    home = root / name
    with locked(home):
        return _publish(home, model, describe, terms)


def find_recipe(home: Path, recipe: str) -> int | None:
    """Return the newest complete version with this recipe, or None."""
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
    labels = read_labels(home / LABELS_FILE)  # a broken file raises before anything is written
    if newest:
        again = follow(previous, describe(newest))
        if _is(home, newest, model, again):
            if terms.promote and (STABLE not in labels or is_intended(home, newest)):
                move_locked(home, STABLE, newest)
                labels[STABLE] = newest
            return Published(
                home / str(newest), newest, new=False, api_version=again.api_version, stable=labels.get(STABLE)
            )
    version = max(newest, *labels.values(), *itertools.chain(*read_history(home).values()), 0) + 1  # never reused
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
    """Write a draft version, load it, compare it, and rename it to `path`.

    On an error, no file remains.
    """
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
        content[DIGEST_FILE] = digest_file.encode(content | {MODEL_FILE: model})
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
    """Return the first readable manifest of `paths`, which are sorted newest first."""
    for path in paths:
        with contextlib.suppress(ManifestError):
            return manifests.read(path / MANIFEST_FILE)
    return None


def _is(home: Path, version: int, model: bytes, manifest: Manifest) -> bool:
    """Return whether a version is complete and has this model and contract.

    Measured members of the manifest are ignored: their last digits may differ on another CPU for the same model.
    """
    try:
        published = load(home / str(version)).manifest
        same_model = (home / str(version) / MODEL_FILE).read_bytes() == model
    except (ModelError, OSError):
        return False
    found_out = ("provenance", "comparison", "metrics", "parity", "golden", "reference", "background")
    alike = replace(published, **{name: getattr(manifest, name) for name in found_out})
    return same_model and alike == manifest

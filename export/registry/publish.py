"""Publish a verified model to models/<name>/<version>, atomically; no version is overwritten."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from export.registry.atomic_files import draft, locked, rename_folder, write
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
class PublicationOptions:
    """Options of a publication: comparison, additional files, promotion."""

    judge: Judge | None = None
    files: Files | None = None
    promote: bool = False
    """Whether to move the label `stable` to the new version."""


DEFAULT_OPTIONS: Final = PublicationOptions()


@dataclass(frozen=True, slots=True)
class Publication:
    """Result of a publication; `new` is False if an existing version is the same model."""

    path: Path
    version: int
    new: bool
    api_version: int
    incompatible: tuple[str, ...] = ()
    """The incompatible changes that incremented `api_version`."""
    comparison: Comparison | None = None
    load_error: str = ""
    """Why the version labelled stable could not be loaded for the comparison."""
    stable: int | None = None
    """The version that the label `stable` points to after the publication."""


def publish(
    root: Path,
    name: str,
    model: bytes,
    describe: Callable[[int], Manifest],
    options: PublicationOptions = DEFAULT_OPTIONS,
) -> Publication:
    """Publish `model` as the next version of `name`, with the manifest from `describe`.

    `describe` takes the version number and returns its manifest. The steps:

    1. Write the version to a temporary folder and flush it to the disk.
    2. Load it as the server loads it.
    3. Compare it with the version labelled stable, by `options.judge`.
    4. Rename the folder, so that a reader sees the complete version or nothing.

    If the newest version already has the same model and contract, no version is added. An existing label `stable` then
    does not move, unless the publication of that version was interrupted before the label moved.

    The field numbers and the `api_version` follow from the newest readable manifest, because no server serves others.
    One publisher works at a time; a second one waits.

    Raises ModelError if the server would not load the version, and any error of the judge; then no file remains.
    """
    model_folder = root / name
    with locked(model_folder):
        return _publish(model_folder, model, describe, options)


def find_recipe(model_folder: Path, recipe: str) -> int | None:
    """Return the newest complete version with this recipe, or None."""
    for version in versions(model_folder):
        with contextlib.suppress(ModelError):
            if manifests.read(model_folder / str(version) / MANIFEST_FILE).provenance.recipe == recipe:
                load(model_folder / str(version))
                return version
    return None


def _publish(
    model_folder: Path, model: bytes, describe: Callable[[int], Manifest], options: PublicationOptions
) -> Publication:
    existing = versions(model_folder)
    newest = max(existing, default=0)
    previous = _newest_contract(model_folder / str(version) for version in existing)
    labels = read_labels(model_folder / LABELS_FILE)  # a broken file raises before anything is written
    if newest:
        newest_manifest = follow(previous, describe(newest))
        if _is_same_version(model_folder, newest, model, newest_manifest):
            if options.promote and (STABLE not in labels or is_intended(model_folder, newest)):
                move_locked(model_folder, STABLE, newest)
                labels[STABLE] = newest
            return Publication(
                model_folder / str(newest),
                newest,
                new=False,
                api_version=newest_manifest.api_version,
                stable=labels.get(STABLE),
            )
    # A version number is never reused.
    version = max(newest, *labels.values(), *itertools.chain(*read_history(model_folder).values()), 0) + 1
    manifest = follow(previous, describe(version))
    comparison, load_error = _write_version(model_folder / str(version), model, manifest, labels.get(STABLE), options)
    if options.promote:
        move_locked(model_folder, STABLE, version)
    return Publication(
        path=model_folder / str(version),
        version=version,
        new=True,
        api_version=manifest.api_version,
        incompatible=tuple(incompatible_changes(previous, manifest)) if previous else (),
        comparison=comparison,
        load_error=load_error,
        stable=version if options.promote else labels.get(STABLE),
    )


def _write_version(
    path: Path, model: bytes, manifest: Manifest, stable: int | None, options: PublicationOptions
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
        comparison, load_error = _compare(challenger, path.parent, stable, options.judge)
        manifest = replace(manifest, comparison=comparison)
        content = {
            MANIFEST_FILE: manifests.encode(manifest),
            **(options.files(manifest, challenger) if options.files else {}),
        }
        content[DIGEST_FILE] = digest_file.encode(content | {MODEL_FILE: model})
        for name, each in content.items():
            write(folder / name, each)
        intend(path.parent, int(path.name) if options.promote else None)
        rename_folder(folder, path, content)
    return comparison, load_error


def _compare(
    challenger: Model, model_folder: Path, stable: int | None, judge: Judge | None
) -> tuple[Comparison | None, str]:
    if judge is None or stable is None:
        return None, ""
    try:
        champion = load(model_folder / str(stable))
    except ModelError as error:
        return None, str(error)
    return judge(challenger, champion), ""


def _newest_contract(paths: Iterable[Path]) -> Manifest | None:
    """Return the first readable manifest of `paths`, which are sorted newest first."""
    for path in paths:
        with contextlib.suppress(ManifestError):
            return manifests.read(path / MANIFEST_FILE)
    return None


def _is_same_version(model_folder: Path, version: int, model: bytes, manifest: Manifest) -> bool:
    """Return whether a version is complete and has this model and contract.

    Measured members of the manifest are ignored: their last digits may differ on another CPU for the same model.
    """
    try:
        published = load(model_folder / str(version)).manifest
        same_model = (model_folder / str(version) / MODEL_FILE).read_bytes() == model
    except (ModelError, OSError):
        return False
    measured = ("provenance", "comparison", "metrics", "parity", "golden", "reference", "background")
    expected = replace(published, **{name: getattr(manifest, name) for name in measured})
    return same_model and expected == manifest

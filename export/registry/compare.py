"""List a model's versions, find them by number or label, and compare two."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd

from export.data.dataset import DataError, Table, features_of
from export.registry.compatibility import incompatible_changes
from export.registry.labels import LabelError, model_folder_of, versions
from export.training.gate import predict
from server.errors import ModelError
from server.models import digest_file
from server.models import manifest as manifests
from server.models.manifest import MANIFEST_FILE, Feature, Manifest
from server.models.repository import LABELS_FILE, STABLE, read_labels
from server.models.session import MAX_MODEL_BYTES, Model
from server.models.version_directory import load

WORST_ROWS: Final = 3
_FEATURE_MEMBERS: Final = (
    "datatype",
    "nullable",
    "null_value",
    "categories",
    "minimum",
    "maximum",
    "field_number",
    "description",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One existing version; if it can't be served, `manifest` is None and `load_error` says why."""

    version: int
    labels: list[str]
    manifest: Manifest | None
    load_error: str = ""


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """Differences between the predictions of two versions for the same rows."""

    rows: int
    labels: int
    """Number of rows with different labels."""
    largest: float
    """Largest difference in a probability (classifier) or in the value (regression)."""
    mean: float
    worst: list[dict[str, Any]]
    """The rows with the largest differences, with both predictions."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Differences between two versions, as lines for a person to read."""

    before: int
    after: int
    signature: list[str]
    incompatible: list[str]
    """The changes that require a new version of the typed RPC API."""
    provenance: list[str]
    scores: dict[str, list[float]]
    """Each score on each version's own held-out rows: [before, after]."""
    disagreement: Disagreement | None = None


def entries(root: Path, name: str) -> list[Entry]:
    """Return the versions of a model, newest first.

    Loads each version as the server loads it. Raises LabelError, ModelError.
    """
    model_folder = model_folder_of(root, name)
    labels = read_labels(model_folder / LABELS_FILE)
    result = []
    for version in versions(model_folder):
        labels_of_version = sorted(label for label, number in labels.items() if number == version)
        try:
            manifest = load(model_folder / str(version)).manifest
            digest_file.check_all(model_folder / str(version), MAX_MODEL_BYTES)
            result.append(Entry(version, labels_of_version, manifest))
        except ModelError as error:
            result.append(Entry(version, labels_of_version, None, str(error)))
    return result


def find(root: Path, name: str, version_or_label: str | None) -> int:
    """Return the version number for a number or label. Raises LabelError.

    None means the stable version, or the newest if no version is labelled stable.
    """
    model_folder = model_folder_of(root, name)
    existing, labels = versions(model_folder), read_labels(model_folder / LABELS_FILE)
    if version_or_label is None and existing:
        return labels.get(STABLE, existing[0])
    if version_or_label is not None and version_or_label.isdecimal() and int(version_or_label) in existing:
        return int(version_or_label)
    if version_or_label in labels:
        return labels[version_or_label]
    known = ", ".join([*map(str, existing), *labels])
    raise LabelError(f"{name} has no version or label {version_or_label!r}; available: {known or 'none'}")


def pair(root: Path, name: str, before: str | None, after: str | None) -> tuple[int, int]:
    """Return the two versions to compare. Raises LabelError.

    The defaults are the stable version and the newest. If these are the same, `before` is the version before it.
    """
    existing = versions(model_folder_of(root, name))
    last = find(root, name, after if after is not None else str(max(existing, default=0)))
    first = find(root, name, before)
    if before is None and first == last:
        older = [version for version in existing if version < last]
        if not older:
            raise LabelError(f"{name} has no version before {last} to compare it with")
        first = older[0]
    return first, last


def difference(root: Path, name: str, pair: tuple[int, int], table: Table | None) -> Difference:
    """Compare two versions, and their predictions if there is a table.

    Raises ModelError if a version can't be loaded, DataError if a signature doesn't allow a row or there are no rows.
    """
    models = [load(root / name / str(version)) for version in pair]
    before, after = (model.manifest for model in models)
    return Difference(
        before=pair[0],
        after=pair[1],
        signature=_signature(before, after),
        incompatible=incompatible_changes(before, after),
        provenance=_provenance(before, after),
        scores=_scores(before, after),
        disagreement=None if table is None else _disagreement(models, table),
    )


def read(root: Path, name: str, version: int) -> Manifest:
    """Return the manifest of a version. Raises ManifestError."""
    return manifests.read(root / name / str(version) / MANIFEST_FILE)


def _signature(before: Manifest, after: Manifest) -> list[str]:
    lines = [
        f"{member}: {getattr(before, member)} is now {getattr(after, member)}"
        for member in ("kind", "target", "classes", "positive_class", "api_version", "min_batch_rows", "description")
        if getattr(before, member) != getattr(after, member)
    ]
    old, new = ({feature.name: feature for feature in each.features} for each in (before, after))
    lines += [f"{name}: removed" for name in old if name not in new]
    lines += [f"{name}: added, {new[name].datatype}" for name in new if name not in old]
    return lines + [line for name in new if name in old for line in _feature(old[name], new[name])]


def _feature(before: Feature, after: Feature) -> list[str]:
    return [
        f"{after.name}: {member} {getattr(before, member)!r} is now {getattr(after, member)!r}"
        for member in _FEATURE_MEMBERS
        if getattr(before, member) != getattr(after, member)
    ]


def _provenance(before: Manifest, after: Manifest) -> list[str]:
    old, new = before.provenance, after.provenance
    lines = [
        f"{member.replace('_', ' ')}: {getattr(old, member)} is now {getattr(new, member)}"
        for member in ("dataset", "dataset_sha256", "dataset_rows", "seed", "estimator", "calibration", "cpu")
        if getattr(old, member) != getattr(new, member)
    ]
    return lines + [
        f"{library}: {old.versions.get(library)} is now {new.versions.get(library)}"
        for library in sorted({*old.versions, *new.versions})
        if old.versions.get(library) != new.versions.get(library)
    ]


def _scores(before: Manifest, after: Manifest) -> dict[str, list[float]]:
    if before.metrics is None or after.metrics is None:
        return {}
    old = before.metrics.held_out
    return {name: [old[name], value] for name, value in after.metrics.held_out.items() if name in old}


def _disagreement(models: Sequence[Model], table: Table) -> Disagreement | None:
    manifests_ = [model.manifest for model in models]
    if manifests_[0].classes != manifests_[1].classes or manifests_[0].kind != manifests_[1].kind:
        return None
    if table.cells.empty:
        raise DataError(f"{table.path}: expected rows to compare predictions on; it has none")
    tables = [features_of(table, each.features) for each in manifests_]
    first, second = (predict(model, X) for model, X in zip(models, tables, strict=True))
    differences = np.abs(second - first).reshape(len(first), -1).max(axis=1)
    flips = first.argmax(axis=1) != second.argmax(axis=1) if manifests_[0].classes else np.zeros(len(first), np.bool_)
    worst = [int(row) for row in np.argsort(-differences, kind="stable")[:WORST_ROWS] if differences[row] > 0]
    return Disagreement(
        rows=len(first),
        labels=int(flips.sum()),
        largest=round(float(differences.max()), 6),
        mean=round(float(differences.mean()), 6),
        worst=[
            {
                "row": _record(tables[1], row),
                "before": np.round(first[row], 6).tolist(),
                "after": np.round(second[row], 6).tolist(),
            }
            for row in worst
        ],
    )


def _record(X: pd.DataFrame, row: int) -> dict[str, Any]:
    """Return a row as a JSON object: values keep the column type, NaN becomes null."""
    (record,) = X.iloc[[row]].to_dict("records")
    return {
        str(name): None if isinstance(value, float) and np.isnan(value) else value for name, value in record.items()
    }

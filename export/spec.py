"""What is one model's own, and the file that says it: everything else in `export` works for any tabular model."""

import importlib.util
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sklearn.pipeline import Pipeline

from server.errors import InvalidArgument, ManifestError
from server.manifest import Feature, Kind, check_features
from server.signature import Signature

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

SPEC_MODULE: Final = "lifeboat_spec_"
"""What the name of a module that was read from a spec's file begins with."""
Candidates = Callable[[Sequence[Feature], int], Mapping[str, Pipeline]]
"""Features and a seed to the pipelines to choose from, by name; the first is the plain one, shown beside the chosen."""


class SpecError(Exception):
    """The model spec can't be used; the message names the member at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One model: what it takes, what it answers, what it may be made of."""

    name: str
    """The model's name in every path and message: lower-case letters, digits, dots, dashes, underscores."""
    description: str
    kind: Kind
    target: str
    """The column to predict."""
    features: tuple[Feature, ...]
    """The columns to predict it from, in the order of the signature."""
    classes: Mapping[str | int, str] = field(default_factory=dict)
    """A classifier's: value of the target column to the name of its class. They stand in the names' order."""
    positive_class: str | None = None
    """The class whose probability is `probability`; binary only."""
    candidates: Candidates | None = None
    """The pipelines to choose from; None for the four that `export.pipelines` has for this kind."""
    data: Path | None = None
    """The CSV file to train on where none is named on the command line."""
    openml: int | None = None
    """The data set's number at OpenML, for --openml."""
    limits: tuple[str, ...] = ()
    """What the model must not be used for: sentences, shown on its card."""


def read_spec(path: Path) -> Spec:
    """Run a Python file and return the one Spec that it defines.

    Raises SpecError where the file can't be run, defines none or several, or one that contradicts itself.
    """
    module_spec = importlib.util.spec_from_file_location(f"{SPEC_MODULE}{path.stem}", path)
    if module_spec is None or module_spec.loader is None or not path.is_file():
        raise SpecError(f"{path}: expected a Python file")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_spec.name] = module  # where what it defines is pickled or inspected
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:  # it is the author's own code: whatever it raises is theirs to read
        raise SpecError(f"{path}: {type(error).__name__}: {error}") from error
    found = {id(value): value for value in vars(module).values() if isinstance(value, Spec)}
    if len(found) != 1:
        raise SpecError(f"{path}: expected it to define one export.spec.Spec; it defines {len(found)}")
    (spec,) = found.values()
    try:
        check_spec(spec)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error
    return spec


def check_spec(spec: Spec) -> None:
    """Raise SpecError, naming the member, for a spec that contradicts itself."""
    if not _NAME.fullmatch(spec.name):
        raise SpecError(f"name: expected up to 64 of a-z, 0-9, '.', '-', '_', not '.' or '-' first; got {spec.name!r}")
    try:
        check_features(spec.features)
    except ManifestError as error:
        raise SpecError(str(error)) from error
    if spec.target in {feature.name for feature in spec.features}:
        raise SpecError(f"target: {spec.target!r} is a feature too: the answer would be among what it is made from")
    for feature in spec.features:
        _check_feature(feature)
    _check_classes(spec)


def _check_feature(feature: Feature) -> None:
    if feature.nullable and feature.datatype == "BOOL":
        raise SpecError(f"features: {feature.name} is BOOL and nullable; a boolean column has no value left for null")
    for value in [feature.example, *(feature.categories or ())]:
        try:
            Signature([feature]).check(Signature([feature]).from_records([{feature.name: value}]))
        except (InvalidArgument, ValueError, OverflowError) as error:
            raise SpecError(f"features: {feature.name}: {value!r} is not one of its own values: {error}") from error


def _check_classes(spec: Spec) -> None:
    names = [*spec.classes.values()]
    if spec.kind == "regression":
        if names or spec.positive_class is not None:
            raise SpecError("classes, positive_class: a regression has none")
        return
    if len(set(names)) != len(names) or len(names) < 2 or (spec.kind == "binary" and len(names) != 2):
        wanted = "two" if spec.kind == "binary" else "two or more"
        raise SpecError(f"classes: expected {wanted}, each with a name of its own; got {', '.join(names) or 'none'}")
    if spec.kind == "binary" and spec.positive_class not in names:
        raise SpecError(f"positive_class: expected one of {', '.join(names)}; got {spec.positive_class!r}")
    if spec.kind == "multiclass" and spec.positive_class is not None:
        raise SpecError("positive_class: only a binary model has one")

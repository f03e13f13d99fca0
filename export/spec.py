"""Spec of one model, and the Python file that defines it.

The other modules in `export` work for any tabular model.
"""

import importlib.util
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sklearn.pipeline import Pipeline

from server.errors import InvalidArgument, ManifestError
from server.models.manifest import Feature, Kind, check_features
from server.models.quoting import quoted, quoted_value
from server.models.signature import Signature

__all__ = ["Feature", "Spec", "SpecError", "pipeline", "read_spec"]

_FORMER_MODULES: Final = frozenset({"export.pipelines", "server.manifest"})
"""Former modules that old spec files import from; this module replaces them."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

SPEC_MODULE: Final = "lifeboat_spec_"
"""Prefix of the module name of a spec file."""
Candidates = Callable[[Sequence[Feature], int], Mapping[str, Pipeline]]
"""Returns candidate pipelines by name, from features and seed; the first is the baseline."""

pipeline: Callable[[Sequence[Feature], Any], Pipeline]
"""Builds a pipeline whose ONNX model gives the same predictions; see `training.pipelines`."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 # a module's member
    """Return `pipeline`, imported on first access because its module imports this one."""
    if name == "pipeline":
        return importlib.import_module("export.training.pipelines").pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class SpecError(Exception):
    """Error for an invalid model spec; the message names the invalid member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Specification of one model: features, target, candidates."""

    name: str
    """Name of the model in paths and messages: lower-case letters, digits, dots, dashes, underscores."""
    description: str
    kind: Kind
    target: str
    """Name of the column to predict."""
    features: tuple[Feature, ...]
    """Input columns, in the order of the signature."""
    classes: Mapping[str | int, str] = field(default_factory=dict)
    """Class names by value of the target column (classifiers only). The model sorts the classes by name."""
    positive_class: str | None = None
    """The class that the output `probability` refers to; binary models only."""
    candidates: Candidates | None = None
    """Function for the candidate pipelines; None uses the four of `export.training.pipelines` for this kind."""
    data: Path | None = None
    """Default CSV file to train on, if the command line names none."""
    openml: int | None = None
    """ID of the OpenML data set, for --openml."""
    limits: tuple[str, ...] = ()
    """Limits of use, as sentences for the model card."""


def read_spec(path: Path) -> Spec:
    """Run a Python file and return the Spec that it defines.

    Raises SpecError if the file can't be run, if it doesn't define exactly one Spec, or if the Spec is invalid.
    """
    module_spec = importlib.util.spec_from_file_location(f"{SPEC_MODULE}{path.stem}", path)
    if module_spec is None or module_spec.loader is None or not path.is_file():
        raise SpecError(f"{path}: expected a Python file")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_spec.name] = module  # pickle and inspect find the module there
    try:
        module_spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        if error.name in _FORMER_MODULES:
            message = "is no longer a module; use: from export.spec import Spec, Feature, pipeline"
            raise SpecError(f"{path}: {error.name} {message}") from error
        raise SpecError(f"{path}: {type(error).__name__}: {error}") from error
    except Exception as error:  # the code of the spec's author: any exception is possible
        raise SpecError(f"{path}: {type(error).__name__}: {error}") from error
    specs = {id(value): value for value in vars(module).values() if isinstance(value, Spec)}
    if len(specs) != 1:
        raise SpecError(f"{path}: expected it to define one export.spec.Spec; it defines {len(specs)}")
    (spec,) = specs.values()
    try:
        check_spec(spec)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error
    return spec


def check_spec(spec: Spec) -> None:
    """Raise SpecError, naming the member, for an invalid spec."""
    if not _NAME.fullmatch(spec.name):
        raise SpecError(
            f"name: expected up to 64 of a-z, 0-9, '.', '-', '_', not '.' or '-' first; got {quoted(spec.name)}"
        )
    try:
        check_features(spec.features)
    except ManifestError as error:
        raise SpecError(str(error)) from error
    if spec.target in {feature.name for feature in spec.features}:
        raise SpecError(f"target: {spec.target!r} is also a feature: the model would predict the target from itself")
    for feature in spec.features:
        _check_feature(feature)
    _check_classes(spec)


def _check_feature(feature: Feature) -> None:
    if feature.nullable and feature.datatype == "BOOL":
        raise SpecError(
            f"features: {feature.name} is BOOL and nullable; a boolean column has no unused value to represent null"
        )
    for value in [feature.example, *(feature.categories or ())]:
        try:
            Signature([feature]).check(Signature([feature]).from_records([{feature.name: value}]))
        except (InvalidArgument, ValueError, OverflowError) as error:
            raise SpecError(
                f"features: {feature.name}: {value!r} is not a valid value of the feature: {error}"
            ) from error


def _check_classes(spec: Spec) -> None:
    names = [*spec.classes.values()]
    if spec.kind == "regression":
        if names or spec.positive_class is not None:
            raise SpecError("classes, positive_class: a regression has none")
        return
    if len(set(names)) != len(names) or len(names) < 2 or (spec.kind == "binary" and len(names) != 2):
        expected = "two" if spec.kind == "binary" else "two or more"
        raise SpecError(f"classes: expected {expected}, with unique names; got {', '.join(names) or 'none'}")
    if spec.kind == "binary" and spec.positive_class not in names:
        raise SpecError(f"positive_class: expected one of {', '.join(names)}; got {quoted_value(spec.positive_class)}")
    if spec.kind == "multiclass" and spec.positive_class is not None:
        raise SpecError("positive_class: only a binary model has one")

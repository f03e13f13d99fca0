"""All that decides a model's bytes to one digest: data, spec, seed, procedure, libraries, CPU."""

import hashlib
import inspect
import platform
from collections.abc import Mapping
from importlib.metadata import version as installed
from typing import Any, Final

import msgspec
import numpy as np
from sklearn.base import BaseEstimator
from threadpoolctl import threadpool_info

from export.convert import TARGET_OPSETS
from export.data import HELD_OUT_SHARE
from export.pipelines import CALIBRATION, CALIBRATION_FOLDS, candidates
from export.source import Source
from export.spec import SPEC_MODULE
from export.train import FOLDS, MANY_ROWS, REPEATS, SEEDS
from server import VERSION

LIBRARIES: Final = ("numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx")
"""The libraries whose versions decide what the model file holds."""


def versions() -> dict[str, str]:
    """Return the version of everything that decides what the model file holds, Python's and our own among them."""
    return {
        "lifeboat": VERSION,
        "python": platform.python_version(),
        **{name: installed(name) for name in LIBRARIES},
    }


def cpu() -> str:
    """Return the kind of CPU that sums are taken on: its architecture, and the kernels that the BLAS chose for it."""
    kernels = {str(each["architecture"]) for each in threadpool_info() if each.get("architecture")}
    return " ".join([platform.machine(), *sorted(kernels)])


def recipe(source: Source) -> str:
    """Return the digest, in lower-case hexadecimal: the same one gives the same model, to the byte."""
    spec = source.spec
    held = {
        "data": source.data.table.sha256,
        "spec": {
            name: _structure(getattr(spec, name)) for name in spec.__dataclass_fields__ if name not in _NOT_MADE_OF
        },
        "candidates": _structure(candidates(spec, source.seed)),
        "seed": source.seed,
        "procedure": [HELD_OUT_SHARE, FOLDS, REPEATS, SEEDS, MANY_ROWS, CALIBRATION, CALIBRATION_FOLDS, TARGET_OPSETS],
        "versions": versions(),
        "cpu": cpu(),
    }
    return hashlib.sha256(msgspec.json.encode(held, order="sorted")).hexdigest()


_NOT_MADE_OF: Final = frozenset({"candidates", "data", "openml"})
"""Members of a spec that say where something is, or are told by what they make."""


def _structure(value: Any) -> Any:  # noqa: ANN401 # whatever a pipeline holds
    """Return a value as JSON has it: an estimator as its class and parameters, all the way down."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return [[_structure(key), _structure(each)] for key, each in value.items()]
    if isinstance(value, list | tuple):
        return [_structure(each) for each in value]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), _structure(value.tolist())]
    return _structure_of_object(value)


def _structure_of_object(value: Any) -> Any:  # noqa: ANN401 # the same
    if isinstance(value, type):
        return _named(value)
    if inspect.isfunction(value):
        return [_named(value), inspect.getsource(value)]
    if isinstance(value, BaseEstimator):
        return [*_own(type(value)), _structure(value.get_params(deep=False))]
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    return [_named(type(value)), _structure(vars(value)) if hasattr(value, "__dict__") else repr(value)]


def _own(kind: type) -> list[str]:
    """Return a class by its name; one of the spec's own file, which no library's version stands for, with its text."""
    return [_named(kind), *([inspect.getsource(kind)] if kind.__module__.startswith(SPEC_MODULE) else [])]


def _named(value: Any) -> str:  # noqa: ANN401 # a class or a function
    return f"{value.__module__}.{value.__qualname__}"

"""Compute the digest of everything that decides a model's bytes.

The inputs are the data, spec, seed, procedure, libraries and CPU.
"""

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

from export.conversion.convert import TARGET_OPSETS
from export.data.dataset import HELD_OUT_SHARE
from export.data.source import Source
from export.spec import SPEC_MODULE
from export.training.pipelines import CALIBRATION, CALIBRATION_FOLDS, candidates
from export.training.train import FOLDS, MANY_ROWS, REPEATS, SEEDS
from server import VERSION

LIBRARIES: Final = ("numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx")
"""Libraries whose versions determine the content of the model file."""


def versions() -> dict[str, str]:
    """Return the versions of Lifeboat, Python and the libraries that determine the model file."""
    return {
        "lifeboat": VERSION,
        "python": platform.python_version(),
        **{name: installed(name) for name in LIBRARIES},
    }


def cpu() -> str:
    """Return the CPU architecture and the BLAS kernels selected for it.

    Both affect the rounding of sums.
    """
    kernels = {str(each["architecture"]) for each in threadpool_info() if each.get("architecture")}
    return " ".join([platform.machine(), *sorted(kernels)])


def recipe(source: Source) -> str:
    """Return the digest in lower-case hexadecimal: equal digests mean byte-identical models."""
    spec = source.spec
    inputs = {
        "data": source.data.table.sha256,
        "spec": {
            name: _structure(getattr(spec, name)) for name in spec.__dataclass_fields__ if name not in _OMITTED_MEMBERS
        },
        "candidates": _structure(candidates(spec, source.seed)),
        "seed": source.seed,
        "procedure": [HELD_OUT_SHARE, FOLDS, REPEATS, SEEDS, MANY_ROWS, CALIBRATION, CALIBRATION_FOLDS, TARGET_OPSETS],
        "versions": versions(),
        "cpu": cpu(),
    }
    return hashlib.sha256(msgspec.json.encode(inputs, order="sorted")).hexdigest()


_OMITTED_MEMBERS: Final = frozenset({"candidates", "data", "openml"})
"""Spec members that the digest omits: data locations, and `candidates`.

The digest contains the pipelines that `candidates` returns.
"""


def _structure(value: Any) -> Any:  # noqa: ANN401 # any value in a pipeline
    """Return a value as JSON types; an estimator becomes its class and parameters, recursively."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return [[_structure(key), _structure(each)] for key, each in value.items()]
    if isinstance(value, list | tuple):
        return [_structure(each) for each in value]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), _structure(value.tolist())]
    return _structure_of_object(value)


def _structure_of_object(value: Any) -> Any:  # noqa: ANN401 # any value in a pipeline
    if isinstance(value, type):
        return _qualified_name(value)
    if inspect.isfunction(value):
        return [_qualified_name(value), inspect.getsource(value)]
    if isinstance(value, BaseEstimator):
        return [*_class_identity(type(value)), _structure(value.get_params(deep=False))]
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    return [_qualified_name(type(value)), _structure(vars(value)) if hasattr(value, "__dict__") else repr(value)]


def _class_identity(kind: type) -> list[str]:
    """Return the name of a class, and the source code of a spec file's class.

    No library version identifies the code of a spec file.
    """
    return [_qualified_name(kind), *([inspect.getsource(kind)] if kind.__module__.startswith(SPEC_MODULE) else [])]


def _qualified_name(value: Any) -> str:  # noqa: ANN401 # a class or a function
    return f"{value.__module__}.{value.__qualname__}"

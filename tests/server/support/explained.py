"""Models for tests of feature contributions, and independent computations of Shapley values."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.models.manifest import Feature, Golden, Output, Scalar
from tests.server.support import small

Record = dict[str, Any]
Predict = Callable[[list[Record]], NDArray[np.float64]]
"""Function from records to predictions of shape [records, quantities]."""

FEATURES: Final = (
    small.X,
    Feature(name="many", datatype="INT64", description="", example=1, field_number=2, nullable=True, null_value=-1),
    Feature(name="word", datatype="BYTES", description="", example="yes", field_number=3, nullable=True, null_value=""),
    Feature(name="wide", datatype="FP64", description="", example=0.5, field_number=4, nullable=True, null_value="NaN"),
)
_INPUTS: Final = "g (float[N, 1] x, int64[N, 1] many, string[N, 1] word, double[N, 1] wide)"
_TOGETHER: Final = """
  number = Cast<to = 1>(many)
  same = Equal(word, yes)
  is_yes = Cast<to = 1>(same)
  missing = IsNaN(wide)
  there = Where(missing, one, wide)
  broad = Cast<to = 1>(there)
  product = Mul(x, number)
  either = Mul(is_yes, broad)"""
VALUE: Final = f"""{_INPUTS} => (float[N, 1] value) <string[1] yes = {{"yes"}}, double[1] one = {{1}}> {{{_TOGETHER}
  value = Add(product, either)
}}"""
"""A regression with products of features, so that one feature's contribution depends on another feature."""
SHARES: Final = f"""{_INPUTS} => (string[N] label, float[N, 3] probabilities)
<string[1] yes = {{"yes"}}, double[1] one = {{1}}, string[3] names = {{"low", "middle", "high"}}> {{{_TOGETHER}
  scores = Concat<axis = 1>(product, either, x)
  probabilities = Softmax<axis = 1>(scores)
  best = ArgMax<axis = 1, keepdims = 0>(scores)
  label = Gather(names, best)
}}"""
"""A classifier with three classes, from the same products."""
CLASSES: Final = ["low", "middle", "high"]
BACKGROUND: Final[list[dict[str, Scalar | None]]] = [
    {"x": 0.5, "many": 2, "word": "yes", "wide": 0.25},
    {"x": -1.0, "many": None, "word": None, "wide": None},
    {"x": 0.5, "many": 1, "word": "no", "wide": 1.5},
]
RECORDS: Final[list[Record]] = [
    {"x": 1.5, "many": 2, "word": "yes", "wide": -0.5},
    {"x": 0.5, "many": None, "word": None, "wide": None},
    {"x": -0.25, "many": 3, "word": "", "wide": 1.5},
    {"x": 0.5, "many": 2, "word": "yes", "wide": 0.25},
]
GOLDEN: Final[Record] = {"x": 1.0, "many": 1, "word": "yes", "wide": 1.0}


def regression(root: Path, **members: Any) -> None:  # noqa: ANN401 # of any type
    """Write the regression below `root`."""
    onnx = small.onnx_bytes(VALUE, opset=19)
    golden = Golden(records=[GOLDEN], outputs={"value": [[2.0]]}, tolerance=1e-5)
    described: dict[str, Any] = {"features": [*FEATURES], "background": BACKGROUND, "golden": golden}
    small.write(root, onnx, small.manifest(onnx, **described | members))


def multiclass(root: Path, **members: Any) -> None:  # noqa: ANN401
    """Write the classifier below `root`."""
    onnx = small.onnx_bytes(SHARES, opset=19)
    described: dict[str, Any] = {
        "kind": "multiclass",
        "classes": CLASSES,
        "features": [*FEATURES],
        "background": BACKGROUND,
        "outputs": [
            Output(name="label", datatype="BYTES", shape=[-1], role="label"),
            Output(name="probabilities", datatype="FP32", shape=[-1, 3], role="probabilities"),
        ],
        "golden": Golden(records=[GOLDEN], outputs={"label": ["low"]}, tolerance=1e-5),
    }
    small.write(root, onnx, small.manifest(onnx, **described | members))


def wide(root: Path, features: int, **members: Any) -> None:  # noqa: ANN401
    """Write a regression of features f0, f1, ..., with 32 background rows without common values."""
    names = [f"f{number}" for number in range(features)]
    given = ", ".join(f"float[N, 1] {name}" for name in names)
    onnx = small.onnx_bytes(f"g ({given}) => (float[N, 1] value) {{ value = Sum({', '.join(names)}) }}")
    numbers = [
        Feature(name=name, datatype="FP32", description="", example=0.0, field_number=place)
        for place, name in enumerate(names, 1)
    ]
    rows: Any = [{name: float(row * features + place) for place, name in enumerate(names)} for row in range(32)]
    golden = Golden(records=[dict.fromkeys(names, 1.0)], outputs={"value": [[features]]}, tolerance=1e-5)
    described: dict[str, Any] = {"features": numbers, "background": rows, "golden": golden}
    small.write(root, onnx, small.manifest(onnx, **described | members))


_TYPES: Final = {"BOOL": "bool", "FP16": "float16", "FP32": "float", "FP64": "double", "BYTES": "string"}
_ANGLE: Final = """
  f_NAME = Cast<to = 1>(SOURCE)
  m_NAME = IsNaN(f_NAME)
  n_NAME = Where(m_NAME, nought, f_NAME)
  a_NAME = Atan(n_NAME)"""


def angles(root: Path, features: Sequence[Feature], background: list[Record]) -> None:
    """Write the model that adds `angle` of every feature."""
    inputs = ", ".join(f"{_TYPES.get(f.datatype, f.datatype.lower())}[N, 1] {f.name}" for f in features)
    lines = ""
    for each in features:
        is_word = each.datatype == "BYTES"
        lines += f"s_{each.name} = Equal({each.name}, yes)" if is_word else ""
        lines += _ANGLE.replace("NAME", each.name).replace("SOURCE", f"s_{each.name}" if is_word else each.name)
    lines += f" value = Sum({', '.join(f'a_{each.name}' for each in features)})"
    fixed = 'string[1] yes = {"yes"}, float[1] nought = {0}'
    onnx = small.onnx_bytes(f"g ({inputs}) => (float[N, 1] value) <{fixed}> {{ {lines} }}", opset=19)
    none: dict[str, Scalar] = {"BOOL": False, "BYTES": "no"}
    golden = Golden(
        records=[{f.name: none.get(f.datatype, 0) for f in features}], outputs={"value": [[0.0]]}, tolerance=0
    )
    small.write(root, onnx, small.manifest(onnx, features=[*features], background=background, golden=golden))


def angle(feature: Feature, value: Any) -> float:  # noqa: ANN401 # of any type
    """Return a feature's term in the `angles` model.

    It is the arc tangent of a number, and 0 for NaN. A string counts as 1 if it is "yes", else as 0.
    """
    if feature.datatype == "BYTES":
        return math.atan(value == "yes")
    number = float((feature.null if value is None else value) or 0)
    return 0.0 if math.isnan(number) else math.atan(number)


def chain(root: Path, features: int, background: list[Record]) -> None:
    """Write the model that adds products of neighbouring features, and one product of two products."""
    names = [f"f{number}" for number in range(features)]
    given = ", ".join(f"float[N, 1] {name}" for name in names)
    pairs = [f"p{place} = Mul({one}, {other})" for place, (one, other) in enumerate(itertools.pairwise(names))]
    last = f"again = Mul(p0, p{len(pairs) - 1}) value = Sum(again, {', '.join(f'p{p}' for p in range(len(pairs)))})"
    onnx = small.onnx_bytes(f"g ({given}) => (float[N, 1] value) {{ {' '.join(pairs)} {last} }}")
    numbers = [
        Feature(name=name, datatype="FP32", description="", example=0.0, field_number=place)
        for place, name in enumerate(names, 1)
    ]
    golden = Golden(records=[dict.fromkeys(names, 1.0)], outputs={"value": [[features]]}, tolerance=1e-5)
    small.write(root, onnx, small.manifest(onnx, features=numbers, background=background, golden=golden))


MEAN_ADDED: Final = 2.5


def product(root: Path) -> None:
    """Write the model of left * right + added; a fourth feature has no effect."""
    names = ("left", "right", "added", "ignored")
    given = ", ".join(f"float[N, 1] {name}" for name in names)
    lines = "both = Mul(left, right) nothing = Mul(ignored, nought) value = Sum(both, added, nothing)"
    onnx = small.onnx_bytes(f"g ({given}) => (float[N, 1] value) <float[1] nought = {{0}}> {{ {lines} }}")
    features = [
        Feature(name=name, datatype="FP32", description="", example=0.0, field_number=place)
        for place, name in enumerate(names, 1)
    ]
    background: Any = [
        {"left": side, "right": side, "added": added, "ignored": added} for side, added in ((-1.0, 2.0), (3.0, 3.0))
    ]
    golden = Golden(records=[dict.fromkeys(names, 2.0)], outputs={"value": [[6.0]]}, tolerance=1e-5)
    small.write(root, onnx, small.manifest(onnx, features=features, background=background, golden=golden))


def by_definition(
    predict: Predict, names: Sequence[str], record: Record, background: Sequence[Record]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the base value and the Shapley values: mean effects over all orders of features."""
    coalitions = [frozenset(each) for size in range(len(names) + 1) for each in itertools.combinations(names, size)]
    rows = [
        {name: (record if name in known else row)[name] for name in names} for known in coalitions for row in background
    ]
    answers = predict(rows).reshape(len(coalitions), len(background), -1).mean(axis=1)
    worth = dict(zip(coalitions, answers, strict=True))
    added: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    for order in itertools.permutations(names):
        for place, name in enumerate(order):
            added[name].append(worth[frozenset(order[: place + 1])] - worth[frozenset(order[:place])])
    return worth[frozenset()], np.array([np.mean(added[name], axis=0) for name in names])


def by_dividends(
    predict: Predict, names: Sequence[str], record: Record, background: Sequence[Record]
) -> NDArray[np.float64]:
    """Return Shapley values by another formula: each coalition's dividend is divided evenly among its features."""
    size = 2 ** len(names)
    rows = [
        {name: (record if coalition >> place & 1 else row)[name] for place, name in enumerate(names)}
        for coalition in range(size)
        for row in background
    ]
    own = predict(rows).reshape(size, len(background)).mean(axis=1)
    for place in range(len(names)):
        for coalition in range(size):
            if coalition >> place & 1:
                own[coalition] -= own[coalition ^ 1 << place]
    holds = [[coalition for coalition in range(size) if coalition >> place & 1] for place in range(len(names))]
    return np.array([sum(own[coalition] / coalition.bit_count() for coalition in held) for held in holds])

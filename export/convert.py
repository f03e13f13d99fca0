"""A fitted pipeline to ONNX bytes. The only module that imports skl2onnx."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import onnx
from skl2onnx import to_onnx
from skl2onnx.common.data_types import BooleanTensorType, FloatTensorType, Int64TensorType, StringTensorType
from sklearn.pipeline import Pipeline

from server.manifest import Datatype, Feature, Output

TARGET_OPSETS: Final = {"": 21, "ai.onnx.ml": 3}
"""A ceiling, held still so that a newer converter writes the same file; what came out is recorded."""

_TENSOR_TYPES: Final[Mapping[Datatype, Any]] = {
    "BOOL": BooleanTensorType,
    "INT64": Int64TensorType,
    "FP32": FloatTensorType,
    "BYTES": StringTensorType,
}


class ConvertError(Exception):
    """The pipeline has no ONNX form that the server could serve; the message says what stands in the way."""


@dataclass(frozen=True, slots=True)
class Converted:
    """The model file's bytes, its outputs, and the versions it declares."""

    model: bytes
    outputs: tuple[Output, ...]
    ir_version: int
    opsets: Mapping[str, int]


def convert(pipeline: Pipeline, features: Iterable[Feature], classes: int) -> Converted:
    """Convert a fitted classifier: one input of shape [None, 1] a feature, a label and a tensor of probabilities out.

    Raises ConvertError for a datatype or a pipeline that the converter doesn't take, or outputs other than those two.
    """
    inputs = []
    for feature in features:
        if feature.datatype not in _TENSOR_TYPES:
            raise ConvertError(
                f"{feature.name}: datatype {feature.datatype} can't be converted; use {', '.join(_TENSOR_TYPES)}"
            )
        inputs.append((feature.name, _TENSOR_TYPES[feature.datatype]([None, 1])))
    try:
        graph = to_onnx(
            pipeline, initial_types=inputs, options={id(pipeline): {"zipmap": False}}, target_opset=TARGET_OPSETS
        )
    except Exception as error:  # the converter has a class of its own for some reasons, NameError for others
        raise ConvertError(f"skl2onnx can't convert it: {error}") from error
    _sort_opsets(graph)
    onnx.checker.check_model(graph, full_check=True)
    names = [output.name for output in graph.graph.output]
    if len(names) != 2:
        raise ConvertError(f"expected a label and probabilities as outputs; got {', '.join(names)}")
    return Converted(
        graph.SerializeToString(deterministic=True),
        (
            Output(name=names[0], datatype="BYTES", shape=[-1], role="label"),
            Output(name=names[1], datatype="FP32", shape=[-1, classes], role="probabilities"),
        ),
        graph.ir_version,
        {each.domain or "ai.onnx": each.version for each in graph.opset_import},
    )


def _sort_opsets(graph: onnx.ModelProto) -> None:
    """Put the opsets in one order: the converter leaves them in a set's, and the same model would get other bytes."""
    opsets = sorted(graph.opset_import, key=lambda each: each.domain)
    del graph.opset_import[:]
    graph.opset_import.extend(opsets)

"""Convert a fitted pipeline to ONNX bytes; the only module that calls skl2onnx's converter."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import onnx
from skl2onnx import convert_sklearn
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common import data_types
from skl2onnx.common._registration import get_converter
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline

from server.models.manifest import Datatype, Feature, Output

TARGET_OPSETS: Final = {"": 21, "ai.onnx.ml": 3}
"""Maximum opset versions, pinned so that a newer converter writes the same file.

The manifest records the actual versions.
"""

_TENSOR_TYPES: Final[Mapping[Datatype, Any]] = {
    "BOOL": data_types.BooleanTensorType,
    "INT8": data_types.Int8TensorType,
    "INT16": data_types.Int16TensorType,
    "INT32": data_types.Int32TensorType,
    "INT64": data_types.Int64TensorType,
    "UINT8": data_types.UInt8TensorType,
    "UINT16": data_types.UInt16TensorType,
    "UINT32": data_types.UInt32TensorType,
    "UINT64": data_types.UInt64TensorType,
    "FP16": data_types.Float16TensorType,
    "FP32": data_types.FloatTensorType,
    "FP64": data_types.DoubleTensorType,
    "BYTES": data_types.StringTensorType,
}
_FLAGS: Final = "nodes_missing_value_tracks_true"


class ConvertError(Exception):
    """Error for a pipeline that has no servable ONNX model; the message names the reason."""


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """The bytes of the model file, its outputs, and its declared versions."""

    model: bytes
    outputs: tuple[Output, ...]
    ir_version: int
    opsets: Mapping[str, int]


def convert(pipeline: Pipeline, features: Iterable[Feature], classes: int) -> ConvertedModel:
    """Convert a fitted pipeline to ONNX, with one input of shape [None, 1] per feature.

    A classifier has two outputs: labels, shape [rows], and probabilities, shape [rows, classes]. A regression
    (`classes` is 0) has one output: values, shape [rows, 1]. Raises ConvertError if the converter doesn't support the
    pipeline, or if the outputs are different.
    """
    inputs = [(feature.name, _TENSOR_TYPES[feature.datatype]([None, 1])) for feature in features]
    names = [name for name, _ in inputs]
    try:
        graph = convert_sklearn(
            pipeline,
            initial_types=inputs,
            options={id(pipeline): {"zipmap": False}} if classes else None,
            target_opset=TARGET_OPSETS,
            custom_conversion_functions={each: _with_integer_flags(each) for each in _HISTOGRAMS},
        )
    except Exception as error:  # the converter raises its own classes, and also NameError
        raise ConvertError(f"skl2onnx can't convert it: {error}") from error
    graph.graph.name = "model"  # the converter generates a random name each time
    _name_inputs(graph.graph, names)
    _sort_opsets(graph)
    try:
        onnx.checker.check_model(graph, full_check=True)
    except Exception as error:  # the checker and shape inference raise different classes
        raise ConvertError(f"skl2onnx did not return a valid model: {error}") from error
    return ConvertedModel(
        graph.SerializeToString(deterministic=True),
        _outputs([output.name for output in graph.graph.output], classes),
        graph.ir_version,
        {each.domain or "ai.onnx": each.version for each in graph.opset_import},
    )


def _outputs(names: list[str], classes: int) -> tuple[Output, ...]:
    if not classes:
        if len(names) != 1:
            raise ConvertError(f"expected one output, the value; got {', '.join(names)}")
        return (Output(name=names[0], datatype="FP32", shape=[-1, 1], role="value"),)
    if len(names) != 2:
        raise ConvertError(f"expected a label and probabilities as outputs; got {', '.join(names)}")
    return (
        Output(name=names[0], datatype="BYTES", shape=[-1], role="label"),
        Output(name=names[1], datatype="FP32", shape=[-1, classes], role="probabilities"),
    )


def _name_inputs(graph: onnx.GraphProto, names: list[str]) -> None:
    """Rename the inputs to the feature names, which the converter changes to identifiers.

    Renames any other value with a feature's name. The converter names outputs label and probabilities, or variable, so
    a feature can have the same name.
    """
    new_names = {each.name: name for each, name in zip(graph.input, names, strict=True)}
    values = [value for node in graph.node for value in node.output]
    used_names = {*new_names, *names, *values, *(each.name for each in graph.initializer)}
    for value in values:
        if value in names and value not in new_names:
            new_names[value] = next(name for n in itertools.count(1) if (name := f"{value}_{n}") not in used_names)
            used_names.add(new_names[value])
    for each in [*graph.input, *graph.output, *graph.value_info]:
        each.name = new_names.get(each.name, each.name)
    for node in graph.node:
        for value_names in (node.input, node.output):
            value_names[:] = [new_names.get(value, value) for value in value_names]


def _sort_opsets(graph: onnx.ModelProto) -> None:
    """Sort the opsets by domain.

    The converter writes them in the order of a set, so the bytes of the same model would vary.
    """
    opsets = sorted(graph.opset_import, key=lambda each: each.domain)
    del graph.opset_import[:]
    graph.opset_import.extend(opsets)


_HISTOGRAMS: Final = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)


class _IntegerFlags:
    """Wrapper of the converter's container that writes flags as 0 and 1.

    Current protobuf versions reject booleans in a list of integers.
    """

    def __init__(self, container: Any) -> None:  # noqa: ANN401 # untyped
        self._container = container

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 # untyped
        return getattr(self._container, name)

    def add_node(self, op_type: str, inputs: Any, outputs: Any, **attributes: Any) -> None:  # noqa: ANN401 # untyped
        if _FLAGS in attributes:
            attributes[_FLAGS] = [int(flag) for flag in attributes[_FLAGS]]
        self._container.add_node(op_type, inputs, outputs, **attributes)


def _with_integer_flags(estimator: type) -> Callable[[Any, Any, Any], None]:
    """Return skl2onnx's converter of histogram gradient boosting, with flags as integers."""
    converter = get_converter(sklearn_operator_name_map[estimator])
    return lambda scope, operator, container: converter(scope, operator, _IntegerFlags(container))

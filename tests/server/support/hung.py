"""Models whose running time depends on the value of x, up to years."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.server.support import small

NEVER: Final = 1e15
"""A value of x for which a run of `loop` would take years."""
LONG: Final = 2e6
"""A value of x for which a run of `pool` takes minutes in one node.

A run can end only between nodes.
"""
_KERNEL: Final = 200_000


def loop() -> bytes:
    """Return a model that computes 2x after x iterations of a loop."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Add", ["a", "zero"], ["b"])],
        "body",
        [_info("i", TensorProto.INT64, []), _info("c", TensorProto.BOOL, []), _info("a", TensorProto.FLOAT, None)],
        [_info("d", TensorProto.BOOL, []), _info("b", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(0, np.float32), "zero")],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["turns"], to=TensorProto.INT64),
        helper.make_node("Loop", ["turns", "yes", "x"], ["y"], body=body),
        helper.make_node("Add", ["y", "y"], ["value"]),
    ]
    return _model(nodes, [numpy_helper.from_array(np.array(True), "yes")])


def pool() -> bytes:
    """Return a model that computes 2x, with a node that takes longer for larger x."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["count"], to=TensorProto.INT64),
        helper.make_node("Add", ["count", "kernel"], ["size"]),
        helper.make_node("Unsqueeze", ["size", "zeroth"], ["sizes"]),
        helper.make_node("Concat", ["ones", "sizes"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("AveragePool", ["zeros"], ["pooled"], kernel_shape=[_KERNEL], count_include_pad=1),
        helper.make_node("ReduceSum", ["pooled"], ["nothing"], keepdims=0),
        helper.make_node("Add", ["x", "x"], ["twice"]),
        helper.make_node("Add", ["twice", "nothing"], ["value"]),
    ]
    constants = {"kernel": np.array(_KERNEL), "zeroth": np.array([0]), "ones": np.array([1, 1])}
    return _model(nodes, [numpy_helper.from_array(array, name) for name, array in constants.items()])


def write(root: Path, model: bytes, **members: Any) -> Path:  # noqa: ANN401 # of any type
    """Write a version of one of these models with a fast golden row; return its folder."""
    return small.write(root, model, small.manifest(model, **members))


def write_hung(root: Path, version: int, name: str = "small") -> Path:
    """Write a version whose golden row never ends. Returns its folder."""
    return write(root, loop(), name=name, version=version, answers=((NEVER, 2 * NEVER),))


def _info(name: str, kind: int, shape: list[Any] | None) -> Any:  # noqa: ANN401 # onnx ships no types
    return helper.make_tensor_value_info(name, kind, shape)


def _model(nodes: list[Any], constants: list[Any]) -> bytes:
    x, value = _info("x", TensorProto.FLOAT, ["N", 1]), _info("value", TensorProto.FLOAT, ["N", 1])
    graph = helper.make_graph(nodes, "g", [x], [value], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())

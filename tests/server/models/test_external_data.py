"""Models with external data are rejected, because no digest covers the other files."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from server.errors import ModelError
from server.models.external_data import MAX_DEPTH, check_no_external_data
from server.models.session import Model
from tests.server.support import small

REFUSED: Final = r"^model\.onnx: tensor 'w' is in another file: external data is not loaded$"
ONE: Final = numpy_helper.from_array(np.array([1], np.float32), "w")


def outside(location: str = "w.bin") -> Any:  # noqa: ANN401 # onnx ships no types
    """Return a tensor with its bytes in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def sparse(*, values: Any, indices: Any = ONE) -> Any:  # noqa: ANN401 # the same
    """Return a sparse tensor."""
    return onnx.SparseTensorProto(values=values, indices=indices, dims=[1])


def attribute(**members: Any) -> Any:  # noqa: ANN401 # the same
    """Return an attribute with these members."""
    return onnx.AttributeProto(name="a", **members)


def node(each: Any) -> Any:  # noqa: ANN401 # the same
    """Return a node with an attribute."""
    return onnx.NodeProto(op_type="Constant", output=["w"], attribute=[each])


def graph(**members: Any) -> Any:  # noqa: ANN401 # the same
    """Return a graph."""
    return onnx.GraphProto(name="g", **members)


def model(**members: Any) -> Any:  # noqa: ANN401 # the same
    """Return a model."""
    return onnx.ModelProto(ir_version=8, **members)


Place = Callable[[Any], Any]
PLACES: Final[dict[str, Place]] = {
    "initializer": lambda t: model(graph=graph(initializer=[ONE, t])),
    "sparse values": lambda t: model(graph=graph(sparse_initializer=[sparse(values=t)])),
    "sparse indices": lambda t: model(graph=graph(sparse_initializer=[sparse(values=ONE, indices=t)])),
    "attribute": lambda t: model(graph=graph(node=[node(attribute(t=t))])),
    "attribute's list": lambda t: model(graph=graph(node=[node(attribute(tensors=[ONE, t]))])),
    "sparse attribute": lambda t: model(graph=graph(node=[node(attribute(sparse_tensor=sparse(values=t)))])),
    "sparse list": lambda t: model(graph=graph(node=[node(attribute(sparse_tensors=[sparse(values=t)]))])),
    "subgraph": lambda t: model(graph=graph(node=[node(attribute(g=graph(initializer=[t])))])),
    "subgraphs": lambda t: model(graph=graph(node=[node(attribute(graphs=[graph(), graph(initializer=[t])]))])),
    "function": lambda t: model(functions=[onnx.FunctionProto(name="f", node=[node(attribute(t=t))])]),
    "function's default": lambda t: model(functions=[onnx.FunctionProto(name="f", attribute_proto=[attribute(t=t)])]),
    "training": lambda t: model(training_info=[onnx.TrainingInfoProto(algorithm=graph(initializer=[t]))]),
    "training's start": lambda t: model(training_info=[onnx.TrainingInfoProto(initialization=graph(initializer=[t]))]),
    "behind trees": lambda t: model(
        graph=graph(
            node=[node(attribute(floats=[0.5] * 9, ints=[1, 2**40, -1], strings=[b"LEAF", b"BRANCH_LEQ", b"?"], t=t))]
        )
    ),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_every_place_of_a_tensor(place: Place) -> None:
    """External data is found in every place of a tensor; other tensors are accepted."""
    check_no_external_data(place(ONE).SerializeToString())
    with pytest.raises(ModelError, match=REFUSED):
        check_no_external_data(place(outside()).SerializeToString())


@pytest.mark.parametrize(
    "field",
    [
        b"\x70\x81\x00",  # the number 1 in two bytes
        b"\xf0\x00\x01",  # the field's key in two bytes
        b"\x70\x81\x80\x80\x80\x10",  # more bits than an enum has
        b"\x6a\x00",  # an external data entry without data_location
        b"\x70\x00\x70\x01",  # twice: the last value counts
        b"\x0b\x0c\x70\x01",  # after a group, an obsolete encoding
    ],
)
def test_every_encoding(field: bytes) -> None:
    """External data is found in every valid encoding."""
    tensor = ONE.SerializeToString() + field
    encoded = graph().SerializeToString() + b"\x2a" + bytes([len(tensor)]) + tensor
    head = model().SerializeToString() + b"\x3a" + bytes([len(encoded)])
    with pytest.raises(ModelError, match=REFUSED):
        check_no_external_data(head + encoded)


def test_a_version_with_external_data(tmp_path: Path) -> None:
    """A version with external data is rejected, although its digest is right."""
    made = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {small.DOUBLE}')
    made.graph.initializer.append(outside())
    content = made.SerializeToString()
    folder = small.write(tmp_path, content, small.manifest(content))
    (folder / "w.bin").write_bytes(bytes(4))
    with pytest.raises(ModelError, match=REFUSED):
        Model.load(folder)


def test_nesting_without_end() -> None:
    """Nested graphs are checked up to a depth, and rejected beyond it."""
    inner = graph().SerializeToString()
    for key in (b"\x32", b"\x2a", b"\x0a") * (
        MAX_DEPTH // 3 + 1
    ):  # an attribute's graph, a node's attribute, a graph's node
        inner = key + _varint(len(inner)) + inner
    with pytest.raises(ModelError, match=f"expected at most {MAX_DEPTH} nested messages"):
        check_no_external_data(b"\x3a" + _varint(len(inner)) + inner)


def _varint(number: int) -> bytes:
    return bytes([number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14])


@given(st.binary(max_size=200))
def test_bytes_that_are_no_model(content: bytes) -> None:
    """Arbitrary bytes pass or raise ModelError."""
    with suppress(ModelError):
        check_no_external_data(content)


@given(st.data())
def test_a_damaged_model(data: st.DataObject) -> None:
    """A truncated or changed model passes or raises ModelError, and no other exception."""
    content = bytearray(PLACES["behind trees"](ONE).SerializeToString())
    for _ in range(3):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ModelError):
        check_no_external_data(bytes(content[: data.draw(st.integers(0, len(content)))]))

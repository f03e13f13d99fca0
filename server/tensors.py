"""Open Inference Protocol JSON to columns, and output tensors to its JSON.

The shapes, names and errors are those of the protocol's REST specification ("Inference", request and response JSON
objects); a model's inputs are its features, one tensor of shape [rows, 1] each.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Union

import msgspec
import numpy as np
from numpy.typing import NDArray

from server.errors import InvalidArgument, PayloadTooLarge, Unimplemented
from server.feed import Values
from server.json_types import json_type
from server.manifest import Manifest
from server.signature import Column, Outputs, Signature

_ELEMENTS: Final[Mapping[tuple[str, bool], Any]] = {
    ("b", False): list[bool],
    ("b", True): list[bool | None],
    ("i", False): list[int],
    ("i", True): list[int | None],
    ("u", False): list[int],
    ("u", True): list[int | None],
    ("f", False): list[float],
    ("f", True): list[float | None],
    ("O", False): list[str],
    ("O", True): list[str | None],
}
"""numpy's kind, and whether null is allowed, to the JSON values a column may come from."""


Parameters = dict[str, bool | int | float | str]
"""What the protocol allows as the parameters of a request or a tensor."""


class InferInput(msgspec.Struct, kw_only=True):
    """One tensor of a request; `data` may be nested as the shape says, or flat."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET
    parameters: Parameters | None = None


class InferOutput(msgspec.Struct, kw_only=True):
    """One output that the caller asks for."""

    name: str
    parameters: Parameters | None = None


class _Request(msgspec.Struct, kw_only=True):
    """What the body of an inference request holds beside its tensors."""

    id: str | None = None
    outputs: list[InferOutput] | None = None
    parameters: Parameters | None = None


class InferRequest(_Request, kw_only=True):
    """The body of an inference request, of whatever tensors."""

    inputs: list[InferInput]


_decode_request = msgspec.json.Decoder(InferRequest).decode


@dataclass(slots=True)
class Inference:
    """A request, checked: a column of `rows` values for each feature, and what the answer must hold."""

    id: str | None
    columns: Sequence[Values]
    rows: int
    outputs: Sequence[str]


class TensorDecoder:
    """Decodes the body of an inference request for one model.

    As any client sends it, flat and with every feature, a request is decoded and checked in one pass by types made from
    the signature. What those don't take, right or wrong, is looked at piece by piece.
    """

    def __init__(self, manifest: Manifest, signature: Signature, max_rows: int) -> None:
        """Make the types of this signature; more than `max_rows` rows are refused."""
        self._manifest = manifest
        self._signature = signature
        self._max_rows = max_rows
        self._all_outputs = [output.name for output in manifest.outputs]
        self._inputs = [_input_type(index, column) for index, column in enumerate(signature.columns)]
        fields = [("inputs", list[Union[tuple(self._inputs)]])]  # type: ignore[misc] # noqa: UP007 # made at run time
        request: Any = msgspec.defstruct("Request", fields, bases=(_Request,), kw_only=True)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(request).decode

    def decode(self, body: bytes) -> Inference:
        """Decode and check a request; a nullable input that is left out is null in every row.

        Raises InvalidArgument, naming the tensor, where a name, datatype, shape or value is not the signature's;
        PayloadTooLarge where there are too many rows.
        """
        try:
            inference = self._decode_plain(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            inference = None
        return inference or self._decode_any(body)

    def _decode_plain(self, body: bytes) -> Inference | None:
        """Decode a request of flat tensors for every feature and of all outputs; None for any other."""
        request = self._decode(body)
        given = {type(tensor): tensor for tensor in request.inputs}
        if request.outputs or request.parameters or not len(given) == len(request.inputs) == len(self._inputs):
            return None
        shape = request.inputs[0].shape
        if len(shape) != 2 or shape[1] != 1 or not 1 <= shape[0] <= self._max_rows:
            return None
        rows = shape[0]
        columns = []
        for kind in self._inputs:
            tensor = given.get(kind)
            if tensor is None or tensor.shape != shape or len(tensor.data) != rows:
                return None
            columns.append(tensor.data)
        return Inference(request.id, columns, rows, self._all_outputs)

    def _decode_any(self, body: bytes) -> Inference:
        """Decode any request, and say what is wrong with one."""
        try:
            request = _decode_request(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            reason = str(error) if isinstance(error, msgspec.DecodeError) else "no UTF-8, or nested too deep"
            raise InvalidArgument(f"body: expected an inference request: {reason}") from None
        names = _output_names(request, self._manifest)
        columns = _columns(request, self._signature, self._max_rows)
        return Inference(request.id, columns, len(columns[0]), names)


def response(manifest: Manifest, inference: Inference, outputs: Outputs, start: int, stop: int) -> dict[str, Any]:
    """Return the response object for the rows from `start` to `stop`: the request's id echoed, flat data, row-major."""
    body: dict[str, Any] = {"model_name": manifest.name, "model_version": str(manifest.version)}
    if inference.id is not None:
        body["id"] = inference.id
    tensors = {}
    for output, batch in zip(manifest.outputs, outputs, strict=True):
        array = batch[start:stop]
        data = array.reshape(-1).tolist()
        tensors[output.name] = {
            "name": output.name,
            "datatype": output.datatype,
            "shape": list(array.shape),
            "data": data,
        }
    body["outputs"] = [tensors[name] for name in inference.outputs]
    return body


def _input_type(index: int, column: Column) -> type[msgspec.Struct]:
    """Return the type of one feature's tensor: its name tells it from the others, its values are checked."""
    fields: list[tuple[str, Any]] = [
        ("shape", list[int]),
        ("datatype", Literal[column.feature.datatype]),
        ("data", list[json_type(column)]),  # type: ignore[misc] # made at run time
        ("parameters", Parameters | None),
    ]
    tag = column.feature.name
    namespace = {"parameters": None}
    return msgspec.defstruct(f"Input{index}", fields, namespace=namespace, tag_field="name", tag=tag, kw_only=True)


def _columns(request: InferRequest, signature: Signature, max_rows: int) -> list[NDArray[Any]]:
    """Return an array of shape [rows] for each feature."""
    given = _by_name(request.inputs, signature)
    rows = _rows(request.inputs, max_rows)
    columns = []
    for column in signature.columns:
        tensor = given.get(column.feature.name)
        if tensor is None and not column.feature.nullable:
            name = column.feature.name
            raise InvalidArgument(f"{name}: expected {column.expectation()}; there is no such input", field=name)
        array = column.array([None] * rows) if tensor is None else _array(tensor, column)
        column.check(array)
        columns.append(array.reshape(-1))
    return columns


def _output_names(request: InferRequest, manifest: Manifest) -> list[str]:
    """Return the outputs asked for, all of them where none is named.

    Raises InvalidArgument for a name the model doesn't have, Unimplemented for one wanted as binary data.
    """
    known = [output.name for output in manifest.outputs]
    if request.parameters and request.parameters.get("binary_data_output"):
        raise Unimplemented("binary tensors are not served yet; ask with binary_data_output false")
    if not request.outputs:
        return known
    for output in request.outputs:
        if output.name not in known:
            raise InvalidArgument(f"outputs: {output.name[:64]!r} is not among {', '.join(known)}", field="outputs")
        if output.parameters and output.parameters.get("binary_data"):
            raise Unimplemented(f"{output.name}: binary tensors are not served yet; ask with binary_data false")
    return list(dict.fromkeys(output.name for output in request.outputs))


def _by_name(inputs: list[InferInput], signature: Signature) -> dict[str, InferInput]:
    given: dict[str, InferInput] = {}
    for tensor in inputs:
        name = tensor.name[:64]
        if tensor.name not in signature.by_name:
            raise InvalidArgument(f"{name}: no such input; expected {', '.join(signature.by_name)}", field=name)
        if tensor.name in given:
            raise InvalidArgument(f"{name}: the input is given twice", field=name)
        given[tensor.name] = tensor
    return given


def _rows(inputs: list[InferInput], max_rows: int) -> int:
    if not inputs:
        raise InvalidArgument("inputs: expected at least one", field="inputs")
    for tensor in inputs:
        if len(tensor.shape) != 2 or tensor.shape[1] != 1 or tensor.shape[0] < 1:
            got = f"{tensor.shape[:4]}{' and more' * (len(tensor.shape) > 4)}"
            raise InvalidArgument(f"{tensor.name}: expected the shape [rows, 1]; got {got}", field=tensor.name)
        if tensor.shape[0] != inputs[0].shape[0]:
            raise InvalidArgument(
                f"{tensor.name}: expected {inputs[0].shape[0]} rows as in {inputs[0].name}; got {tensor.shape[0]}",
                field=tensor.name,
            )
    if inputs[0].shape[0] > max_rows:
        raise PayloadTooLarge(f"inputs: expected at most {max_rows} rows, got {inputs[0].shape[0]}", field="inputs")
    return inputs[0].shape[0]


def _array(tensor: InferInput, column: Column) -> NDArray[Any]:
    name = tensor.name
    if tensor.datatype != column.feature.datatype:
        raise InvalidArgument(
            f"{name}: expected datatype {column.feature.datatype}; got {tensor.datatype[:16]}", field=name
        )
    if tensor.data is msgspec.UNSET:
        if tensor.parameters and "binary_data_size" in tensor.parameters:
            raise Unimplemented(f"{name}: binary tensors are not served yet; send data as JSON", field=name)
        raise InvalidArgument(f"{name}: expected data", field=name)
    values = _flat(tensor.data)
    if len(values) != tensor.shape[0]:
        raise InvalidArgument(
            f"{name}: expected {tensor.shape[0]} elements as in its shape; got {len(values)}", field=name
        )
    elements = _ELEMENTS[column.dtype.kind, column.feature.nullable]
    try:
        with np.errstate(over="ignore"):  # a number too large for the datatype becomes infinite: in no range
            return column.array(msgspec.convert(values, elements))
    except (msgspec.ValidationError, OverflowError) as error:
        where = str(error).partition("`$")[2].rstrip("`")
        raise InvalidArgument(f"{name}: data{where}: expected {column.expectation()}", field=name) from None


def _flat(data: list[Any]) -> list[Any]:
    """Return the elements of nested [[1], [2]] or flat [1, 2] data."""
    nested = all(isinstance(row, list) for row in data)
    return [value for row in data for value in row] if nested else data

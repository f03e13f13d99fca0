"""Open Inference Protocol JSON to columns, and output tensors to its JSON.

The shapes, names and errors are those of the protocol's REST specification ("Inference", request and response JSON
objects); a model's inputs are its features, one tensor of shape [rows, 1] each.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from server.errors import InvalidArgument, PayloadTooLarge, Unimplemented
from server.manifest import Manifest
from server.signature import Column, Signature

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


class InferRequest(msgspec.Struct, kw_only=True):
    """The body of an inference request."""

    inputs: list[InferInput]
    id: str | None = None
    outputs: list[InferOutput] | None = None
    parameters: Parameters | None = None


_decode_request = msgspec.json.Decoder(InferRequest).decode


def decode(body: bytes) -> InferRequest:
    """Decode a request's JSON. Raises InvalidArgument, with the path of what is wrong."""
    try:
        return _decode_request(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error) if isinstance(error, msgspec.DecodeError) else "no UTF-8, or nested too deep"
        raise InvalidArgument(f"body: expected an inference request: {reason}") from None


def columns(request: InferRequest, signature: Signature, max_rows: int) -> dict[str, NDArray[Any]]:
    """Return a column of shape [rows, 1] for each feature; an input left out is null in every row.

    Raises InvalidArgument, naming the tensor, where a name, datatype, shape or value is not the signature's;
    PayloadTooLarge where there are more than `max_rows`.
    """
    given = _by_name(request.inputs, signature)
    rows = _rows(request.inputs, max_rows)
    result = {}
    for column in signature.columns:
        tensor = given.get(column.feature.name)
        if tensor is None and not column.feature.nullable:
            name = column.feature.name
            raise InvalidArgument(f"{name}: expected {column.expectation()}; there is no such input", field=name)
        result[column.feature.name] = column.array([None] * rows) if tensor is None else _array(tensor, column)
    signature.check(result)
    return result


def response(manifest: Manifest, request: InferRequest, outputs: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the response object: the request's id echoed, each output with flat data, row-major."""
    datatypes = {output.name: output.datatype for output in manifest.outputs}
    body: dict[str, Any] = {"model_name": manifest.name, "model_version": str(manifest.version)}
    if request.id is not None:
        body["id"] = request.id
    body["outputs"] = [
        {"name": name, "datatype": datatypes[name], "shape": list(array.shape), "data": array.reshape(-1).tolist()}
        for name, array in outputs.items()
    ]
    return body


def output_names(request: InferRequest, manifest: Manifest) -> list[str]:
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

"""An Open Inference Protocol request, JSON and the binary data behind it, to columns.

The shapes, names and errors are those of the protocol's REST specification ("Inference", request JSON object) and of
its binary tensor extension; a model's inputs are its features, one tensor of shape [rows, 1] each.
"""

from collections.abc import Callable, Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from server.binary import ColumnReader
from server.errors import InvalidArgument
from server.feed import Values
from server.inference import Inference, InferInput, InferRequest, Parameters, Request, check_place
from server.json_depth import check_depth
from server.json_types import json_type, whole
from server.signature import Column, Signature
from server.tensor_checks import check_datatype, check_names, check_rows, given_or_null, rows_of

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


class _InputParameters(msgspec.Struct, kw_only=True):
    """The parameters of an input that mean something here."""

    binary_data_size: Annotated[int, msgspec.Meta(ge=0)] | msgspec.UnsetType = msgspec.UNSET


_decode_request = msgspec.json.Decoder(InferRequest).decode
_TOO_SHORT: Final = "binary data: the body ends before it"


class TensorDecoder:
    """Decodes the body of an inference request for one model.

    As any client sends it, flat or binary and with every feature, a request is decoded and checked in one pass by types
    made from the signature. What those don't take, right or wrong, is looked at piece by piece.
    """

    def __init__(self, signature: Signature, max_rows: int, max_string_bytes: int, max_json_depth: int) -> None:
        """Make the types of this signature; more rows, longer strings and deeper bodies are refused."""
        self._signature = signature
        self._max_rows = max_rows
        self._max_string_bytes = max_string_bytes
        self._max_json_depth = max_json_depth
        self._readers = [ColumnReader(column, max_string_bytes) for column in signature.columns]
        inputs = [_input_type(index, column) for index, column in enumerate(signature.columns)]
        self._index = {kind: index for index, kind in enumerate(inputs)}
        # By the operator: typing.Union keeps what it made, and with it the types of models that are served no longer.
        fields = [("inputs", list[reduce(or_, inputs)])]  # type: ignore[misc] # made at run time
        request: Any = msgspec.defstruct("Request", fields, bases=(Request,), kw_only=True)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(request).decode

    def decode(self, body: bytes, json_bytes: int | None = None) -> Inference:
        """Decode and check a request; a nullable input that is left out is null in every row.

        `json_bytes` of the body are JSON, all of it where None is given; where it is 0, the body is the only input's
        tensor. Raises InvalidArgument, naming the tensor, where a name, datatype, shape or value is not the
        signature's; PayloadTooLarge where there are too many rows.
        """
        if json_bytes == 0:
            return self._decode_raw(body)
        if json_bytes is not None and json_bytes > len(body):
            raise InvalidArgument(f"inference-header-content-length: the body has {len(body)} bytes, not {json_bytes}")
        document, at = (body, len(body)) if json_bytes is None else (body[:json_bytes], json_bytes)
        try:
            inference = self._decode_plain(document, body, at)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            inference = None
        if inference is None:
            inference = self._decode_any(document, body, at)
        self._signature.check_strings(inference.columns, self._max_string_bytes)
        return inference

    def _decode_plain(self, document: bytes, body: bytes, at: int) -> Inference | None:
        """Decode a request of flat or binary tensors, one for every feature; None for any other."""
        request = self._decode(document)
        inputs = request.inputs
        if len(inputs) != len(self._index):
            return None
        shape = inputs[0].shape
        if len(shape) != 2 or shape[1] != 1 or not 1 <= shape[0] <= self._max_rows:
            return None
        rows = shape[0]
        columns: list[Any] = [None] * len(inputs)
        for tensor in inputs:
            index = self._index[type(tensor)]
            values, at = self._plain_values(tensor, index, rows, body, at)
            if values is None or columns[index] is not None or tensor.shape != shape:
                return None
            columns[index] = values
        if at != len(body):
            return None
        return Inference(columns, rows, request.id, request.outputs, request.parameters)

    def _plain_values(self, tensor: Any, index: int, rows: int, body: bytes, at: int) -> tuple[Values | None, int]:  # noqa: ANN401 # of a type made at run time
        """Return a tensor's values, None where they aren't as plain as that, and where the next one's bytes begin."""
        data = tensor.data
        if tensor.parameters is None:
            return (None if data is msgspec.UNSET or len(data) != rows else data), at
        size = tensor.parameters.binary_data_size
        if size is msgspec.UNSET or data is not msgspec.UNSET or at + size > len(body):
            return None, at
        return self._readers[index].read(body, at, size, rows), at + size

    def _decode_any(self, document: bytes, body: bytes, at: int) -> Inference:
        """Decode any request, and say what is wrong with one."""
        check_depth(document, self._max_json_depth)
        try:
            request = _decode_request(document)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            reason = str(error) if isinstance(error, msgspec.DecodeError) else "no UTF-8, or nested too deep"
            raise InvalidArgument(f"body: expected an inference request: {reason}") from None
        check_names(request.inputs, self._signature)
        rows = rows_of(request.inputs, self._max_rows)
        given: dict[str, Values] = {}
        for tensor in request.inputs:
            column = self._signature.by_name[tensor.name]
            check_datatype(tensor, column)
            check_place(tensor.name, tensor.parameters)
            size = _binary_size(tensor)
            if size is None:
                given[tensor.name] = _array(tensor, column)
                continue
            if at + size > len(body):
                raise InvalidArgument(f"{tensor.name}: {_TOO_SHORT}", field=tensor.name)
            given[tensor.name] = self._reader(column).read(body, at, size, rows)
            at += size
        if at != len(body):
            raise InvalidArgument(f"body: {len(body) - at} bytes are left over behind the last tensor")
        columns = [given_or_null(given, column, rows) for column in self._signature.columns]
        return Inference(columns, rows, request.id, request.outputs, request.parameters)

    def _decode_raw(self, body: bytes) -> Inference:
        """Decode a body that is the one input's tensor and nothing else; every output is to be binary."""
        if len(self._readers) != 1:
            raise InvalidArgument("inference-header-content-length: 0 is for models of one input; expected the JSON's")
        column, reader = self._signature.columns[0], self._readers[0]
        parameters: Parameters = {"binary_data_output": True}
        if column.feature.datatype == "BYTES":  # one string, its length not before it: the body tells that
            array = column.array([reader.string(body)])
            column.check(array)
            return Inference([array.reshape(-1)], 1, parameters=parameters)
        rows, rest = divmod(len(body), column.dtype.itemsize)
        if rest or not rows:
            words = f"{column.feature.name}: expected rows of {column.dtype.itemsize} bytes; got {len(body)} bytes"
            raise InvalidArgument(words, field=column.feature.name)
        check_rows(rows, self._max_rows)
        return Inference([reader.read(body, 0, len(body), rows)], rows, parameters=parameters)

    def _reader(self, column: Column) -> ColumnReader:
        return self._readers[self._signature.columns.index(column)]


def _input_type(index: int, column: Column) -> type[msgspec.Struct]:
    """Return the type of one feature's tensor: its name tells it from the others, its values are checked."""
    fields: list[tuple[str, Any]] = [
        ("shape", list[int]),
        ("datatype", Literal[column.feature.datatype]),
        ("data", list[json_type(column)] | msgspec.UnsetType),  # type: ignore[misc] # made at run time
        ("parameters", _InputParameters | None),
    ]
    tag = column.feature.name
    namespace = {"data": msgspec.UNSET, "parameters": None}
    return msgspec.defstruct(f"Input{index}", fields, namespace=namespace, tag_field="name", tag=tag, kw_only=True)


def _binary_size(tensor: InferInput) -> int | None:
    """Return the bytes of a tensor that follow the JSON; None where its data is in it."""
    size = (tensor.parameters or {}).get("binary_data_size")
    if size is None:
        return None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidArgument(f"{tensor.name}: binary_data_size: expected a number of bytes", field=tensor.name)
    if tensor.data is not msgspec.UNSET:
        raise InvalidArgument(f"{tensor.name}: expected either data or binary_data_size, not both", field=tensor.name)
    return size


def _array(tensor: InferInput, column: Column) -> NDArray[Any]:
    name = tensor.name
    if tensor.data is msgspec.UNSET:
        raise InvalidArgument(f"{name}: expected data", field=name)
    values = _flat(tensor.data)
    if len(values) != tensor.shape[0]:
        raise InvalidArgument(
            f"{name}: expected {tensor.shape[0]} elements as in its shape; got {len(values)}", field=name
        )
    elements = _ELEMENTS[column.dtype.kind, column.feature.nullable]
    try:
        with np.errstate(over="ignore"):  # a number too large for the datatype becomes infinite: in no range
            whole_values = whole(values) if column.dtype.kind in "iu" else values
            array = column.array(msgspec.convert(whole_values, elements)).reshape(-1)
    except (msgspec.ValidationError, OverflowError) as error:
        where = str(error).partition("`$")[2].rstrip("`")
        raise InvalidArgument(f"{name}: data{where}: expected {column.expectation()}", field=name) from None
    column.check(array)
    return array


def _flat(data: list[Any]) -> list[Any]:
    """Return the elements of nested [[1], [2]] or flat [1, 2] data."""
    nested = all(isinstance(row, list) for row in data)
    return [value for row in data for value in row] if nested else data

"""Decode an Open Inference Protocol request, JSON and binary data, to columns.

The shapes, names and errors are those of the protocol's REST specification ("Inference", request JSON object) and of
its binary tensor extension. A model's inputs are its features: one tensor of shape [rows, 1] for each.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from server.codecs import json_errors
from server.codecs.binary_tensors import ColumnReader
from server.codecs.infer_types import (
    DecodedInferRequest,
    InferInput,
    InferRequest,
    Parameters,
    Request,
    check_shared_memory,
)
from server.codecs.json_shape import LARGE_BYTES, MaxCounts, check_counts, check_depth, scan
from server.codecs.json_types import MALFORMED, json_type, with_integers
from server.codecs.tensor_validation import (
    check_datatype,
    check_names,
    check_rows,
    from_base64,
    is_base64,
    rows_of,
    values_or_nulls,
)
from server.errors import InvalidArgument
from server.models.quoting import quoted_value
from server.models.signature import Column, Signature, Values

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
"""JSON element type by numpy dtype kind and whether null is allowed."""


class _InputParameters(msgspec.Struct, kw_only=True):
    """Parameters of an input that this server uses."""

    binary_data_size: Annotated[int, msgspec.Meta(ge=0)] | msgspec.UnsetType = msgspec.UNSET


_ROW: Final = re.compile(r"`\$\[(\d+)\]")
_decode_request = msgspec.json.Decoder(InferRequest).decode
_decode_elements = msgspec.json.Decoder(list[Any]).decode
_TOO_SHORT: Final = "binary data: the body ends before it"


class TensorDecoder:
    """Decoder of inference request bodies for one model.

    Most clients send flat or binary tensors, one for every feature. Types made from the signature decode and check such
    a request in one pass. Any other request, valid or not, is decoded piece by piece.
    """

    def __init__(self, signature: Signature, max_rows: int, max_string_bytes: int, max_json_depth: int) -> None:
        """Make the types of this signature; more rows, longer strings and deeper bodies are rejected."""
        self._signature = signature
        self._max_rows = max_rows
        self._max_string_bytes = max_string_bytes
        self._max_json_depth = max_json_depth
        self._max_counts = _max_counts(signature, max_rows)
        self._readers = [ColumnReader(column, max_string_bytes) for column in signature.columns]
        inputs = [_input_type(index, column) for index, column in enumerate(signature.columns)]
        self._index = {kind: index for index, kind in enumerate(inputs)}
        # typing.Union caches its results, and with them the types of unloaded models; the `|` operator does not.
        fields = [("inputs", list[reduce(or_, inputs)])]  # type: ignore[misc] # the types are made at run time
        request: Any = msgspec.defstruct("Request", fields, bases=(Request,), kw_only=True)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(request).decode

    def decode(self, body: bytes, json_bytes: int | None = None) -> DecodedInferRequest:
        """Decode and check a request; an absent nullable input is null in every row.

        `json_bytes` is the length of the JSON in the body. None: the whole body is JSON. 0: the body is the tensor of
        the only input.

        Raises InvalidArgument, naming the tensor, if a name, datatype, shape or value does not match the signature.
        Raises PayloadTooLarge for too many rows.
        """
        if json_bytes == 0:
            return self._decode_raw(body)
        if json_bytes is not None and json_bytes > len(body):
            raise InvalidArgument(f"inference-header-content-length: the body has {len(body)} bytes, not {json_bytes}")
        document, offset = (body, len(body)) if json_bytes is None else (body[:json_bytes], json_bytes)
        if len(document) > LARGE_BYTES:
            check_counts(document, self._max_counts)
        try:
            inference = self._decode_plain(document, body, offset)
        except MALFORMED:
            inference = None
        if inference is None:
            inference = self._decode_any(document, body, offset)
        self._signature.check_strings(inference.columns, self._max_string_bytes)
        return inference

    def _decode_plain(self, document: bytes, body: bytes, offset: int) -> DecodedInferRequest | None:
        """Decode a request of flat or binary tensors, one for every feature; else return None."""
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
            values, offset = self._plain_values(tensor, index, rows, body, offset)
            if values is None or columns[index] is not None or tensor.shape != shape:
                return None
            columns[index] = values
        if offset != len(body):
            return None
        return DecodedInferRequest(columns, rows, request.id, request.outputs, request.parameters)

    def _plain_values(self, tensor: Any, index: int, rows: int, body: bytes, offset: int) -> tuple[Values | None, int]:  # noqa: ANN401 # the type is made at run time
        """Return a tensor's values and the offset of the next tensor's bytes.

        The values are None if the tensor is not plain: it needs `_decode_any`.
        """
        data = tensor.data
        if tensor.parameters is None:
            return (None if data is msgspec.UNSET or len(data) != rows else data), offset
        size = tensor.parameters.binary_data_size
        if size is msgspec.UNSET or data is not msgspec.UNSET or offset + size > len(body):
            return None, offset
        return self._readers[index].read(body, offset, size, rows), offset + size

    def _decode_any(self, document: bytes, body: bytes, offset: int) -> DecodedInferRequest:
        """Decode any request, or raise the error that describes its fault."""
        check_depth(document, self._max_json_depth)
        document = json_errors.without_bom(document) or document
        request, reason = _parse_request(document)
        check_names(request.inputs, self._signature)
        rows = rows_of(request.inputs, self._max_rows)
        values_by_name: dict[str, Values] = {}
        for tensor in request.inputs:
            column = self._signature.by_name[tensor.name]
            check_datatype(tensor, column)
            check_shared_memory(tensor.name, tensor.parameters)
            size = _binary_size(tensor)
            is_encoded = is_base64(tensor.name, tensor.parameters, is_raw=size is not None)
            if size is None:
                values_by_name[tensor.name] = _array(tensor, column, is_encoded=is_encoded)
                continue
            if offset + size > len(body):
                raise InvalidArgument(f"{tensor.name}: {_TOO_SHORT}", field=tensor.name)
            values_by_name[tensor.name] = self._reader(column).read(body, offset, size, rows)
            offset += size
        if offset != len(body):
            raise InvalidArgument(f"body: {len(body) - offset} bytes are left over after the last tensor")
        if reason is not None:  # NaN and Infinity were in no tensor: the check of a tensor names its row
            raise InvalidArgument(f"body: expected an inference request: {reason}")
        columns = [values_or_nulls(values_by_name, column, rows) for column in self._signature.columns]
        return DecodedInferRequest(columns, rows, request.id, request.outputs, request.parameters)

    def _decode_raw(self, body: bytes) -> DecodedInferRequest:
        """Decode a body that is the only input's tensor, without JSON; every output is binary."""
        if len(self._readers) != 1:
            raise InvalidArgument(
                "inference-header-content-length: 0 is only for models of one input; expected the length of the JSON"
            )
        column, reader = self._signature.columns[0], self._readers[0]
        parameters: Parameters = {"binary_data_output": True}
        if column.feature.datatype == "BYTES":  # one string without a length prefix: the body's length is its length
            array = column.array([reader.string(body)])
            column.check(array)
            return DecodedInferRequest([array.reshape(-1)], 1, parameters=parameters)
        rows, rest = divmod(len(body), column.dtype.itemsize)
        if rest or not rows:
            message = f"{column.feature.name}: expected rows of {column.dtype.itemsize} bytes; got {len(body)} bytes"
            raise InvalidArgument(message, field=column.feature.name)
        check_rows(rows, self._max_rows)
        return DecodedInferRequest([reader.read(body, 0, len(body), rows)], rows, parameters=parameters)

    def _reader(self, column: Column) -> ColumnReader:
        return self._readers[self._signature.columns.index(column)]


def _input_type(index: int, column: Column) -> type[msgspec.Struct]:
    """Return the type of one feature's tensor: the name is the tag, values are checked."""
    fields: list[tuple[str, Any]] = [
        ("shape", list[int]),
        ("datatype", Literal[column.feature.datatype]),
        ("data", list[json_type(column)] | msgspec.UnsetType),  # type: ignore[misc] # the types are made at run time
        ("parameters", _InputParameters | None),
    ]
    tag = column.feature.name
    namespace = {"data": msgspec.UNSET, "parameters": None}
    return msgspec.defstruct(f"Input{index}", fields, namespace=namespace, tag_field="name", tag=tag, kw_only=True)


def _parse_request(document: bytes) -> tuple[InferRequest, str | None]:
    """Return the request in a document, and why it is not valid JSON, or None.

    The parser accepts NaN and other values that JSON lacks; the reason names them. Raises InvalidArgument if the
    document is not a request.
    """
    try:
        return _decode_request(document), None
    except MALFORMED as error:
        reason = json_errors.find_invalid_part(document) or json_errors.reason(document, error)
    try:
        return msgspec.convert(_with_raw_data(json_errors.parse(document)), InferRequest), reason
    except (ValueError, RecursionError, LookupError, TypeError):
        raise InvalidArgument(f"body: expected an inference request: {reason}") from None


def _with_raw_data(document: Any) -> Any:  # noqa: ANN401 # any JSON value
    """Return a request with its tensors' data encoded as JSON again.

    Raises LookupError or TypeError if the document is not a request.
    """
    for tensor in document["inputs"]:
        if "data" in tensor:
            tensor["data"] = msgspec.Raw(json.dumps(tensor["data"]).encode())
    return document


def _binary_size(tensor: InferInput) -> int | None:
    """Return the bytes of a tensor that follows the JSON; None for data in JSON."""
    size = (tensor.parameters or {}).get("binary_data_size")
    if size is None:
        return None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidArgument(f"{tensor.name}: binary_data_size: expected a number of bytes", field=tensor.name)
    if bytes(tensor.data):
        raise InvalidArgument(f"{tensor.name}: expected either data or binary_data_size, not both", field=tensor.name)
    return size


def _array(tensor: InferInput, column: Column, *, is_encoded: bool) -> NDArray[Any]:
    """Return a tensor's data as an array, decoded from base64 if `is_encoded`.

    Raises InvalidArgument, naming the row at fault.
    """
    name = tensor.name
    values, is_json = _elements(tensor)
    values = _flatten(values)
    if is_encoded:
        values = from_base64(name, values)
    if len(values) != tensor.shape[0]:
        raise InvalidArgument(
            f"{name}: expected {tensor.shape[0]} elements as in its shape; got {len(values)}", field=name
        )
    array, row = None, None
    if not is_json:
        row = next((row for row, value in enumerate(values) if json_errors.is_invalid_value(value)), None)
    if row is None:
        array, row = _check_values(values, column)
    if array is None or row is not None:
        raise InvalidArgument(f"{name}: row {row}: {column.fault(values[row or 0])}", field=name)
    return array


def _check_values(values: list[Any], column: Column) -> tuple[NDArray[Any] | None, int | None]:
    """Return a column's values as an array, and the row of the first invalid value."""
    if column.dtype.kind in "iu":
        values = with_integers(values)
    try:
        with np.errstate(over="ignore"):  # a number too large for the datatype becomes infinite, which is in no range
            array = column.array(msgspec.convert(values, _ELEMENTS[column.dtype.kind, column.feature.nullable]))
    except msgspec.ValidationError as error:
        row = _ROW.search(str(error))
        return None, int(row[1]) if row else 0
    except OverflowError:
        return None, next(row for row, value in enumerate(values) if not column.can_hold(value))
    invalid_rows = np.flatnonzero(column.invalid(array))
    return array.reshape(-1), int(invalid_rows[0]) if len(invalid_rows) else None


def _elements(tensor: InferInput) -> tuple[list[Any], bool]:
    """Return a tensor's data, and whether it is valid JSON.

    Data that is not valid JSON may contain NaN and other values that JSON lacks. Raises InvalidArgument. Data with many
    more elements than rows is rejected before it is decoded.
    """
    name, rows, data = tensor.name, tensor.shape[0], bytes(tensor.data)
    if not data:
        raise InvalidArgument(f"{name}: expected data", field=name)
    if len(data) > LARGE_BYTES and data.count(b",") > 2 * rows and scan(data).elements > 2 * rows:
        raise InvalidArgument(f"{name}: expected {rows} elements as in its shape; got more", field=name)
    try:
        return _decode_elements(data), True
    except MALFORMED as error:
        decode_error = error
    try:
        values = json_errors.parse(data)
    except (ValueError, RecursionError):
        reason = json_errors.reason(data, decode_error)
        raise InvalidArgument(f"{name}: data: expected an array: {reason}", field=name) from None
    if not isinstance(values, list):
        raise InvalidArgument(f"{name}: data: expected an array; got {quoted_value(values)}", field=name)
    return values, False


def _max_counts(signature: Signature, max_rows: int) -> MaxCounts:
    """Return the limits on JSON counts: few tensors, outputs and parameters, many elements."""
    features = len(signature.columns)
    return MaxCounts(1024 + 16 * features, 1024 + 16 * features, 1024 + 2 * features * (max_rows + 16))


def _flatten(data: list[Any]) -> list[Any]:
    """Return the elements of nested [[1], [2]] or flat [1, 2] data."""
    nested = all(isinstance(row, list) for row in data)
    return [value for row in data for value in row] if nested else data

"""Codec for ModelInferRequest and ModelInferResponse, with raw and typed contents.

The validation rules are those of `infer_request`; only the location of a tensor's values differs. Raw input contents
are views of the request's bytes. Raw output contents are written once, after the rest of the response. Message objects
of the protobuf library would copy these bytes twice.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.codecs.binary_tensors import ColumnReader, tensor_bytes
from server.codecs.infer_response import TensorEncoder
from server.codecs.infer_types import DecodedInferRequest, InferOutput, Parameters, check_shared_memory
from server.codecs.tensor_validation import (
    check_datatype,
    check_names,
    from_base64,
    is_base64,
    rows_of,
    values_or_nulls,
)
from server.errors import InvalidArgument
from server.models.manifest import Manifest
from server.models.signature import Column, Outputs, Signature, Values
from server.rpc.proto.inference_pb2 import (
    InferParameter,
    ModelInferRequest,
    ModelInferResponse,
)
from server.rpc.protocols import message_codec
from server.rpc.protocols.wire_format import length_head

RAW_INPUTS: Final = ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
RAW_OUTPUTS: Final = ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER
_MAX_CHECKED_ROWS: Final = 8
"""Up to this number of values, checking each value is faster than an array."""
CONTENTS: Final[Mapping[str, str]] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Contents field for a tensor's typed values, by datatype; FP16 has raw contents only."""

ByteRange = tuple[int, int]
"""Start and length of raw contents in the bytes that hold them."""


class Layout(NamedTuple):
    """Request without its values: feature names in tensor order, and the response options."""

    features: Sequence[str]
    rows: int
    id: str | None
    outputs: Sequence[InferOutput] | None
    parameters: Parameters | None

    def inference(self, columns: Sequence[Values]) -> DecodedInferRequest:
        """Return the request with its values.

        Raises InvalidArgument for an invalid priority or timeout.
        """
        return DecodedInferRequest(columns, self.rows, self.id, self.outputs, self.parameters)


class InferDecoder:
    """Decoder and validator of requests for one model."""

    def __init__(self, signature: Signature, max_rows: int, max_string_bytes: int) -> None:
        """Reject requests with more rows or longer strings than the limits."""
        self._signature = signature
        self._max_rows = max_rows
        self._readers = {column.feature.name: ColumnReader(column, max_string_bytes) for column in signature.columns}

    def layout(self, request: ModelInferRequest, raw: int) -> Layout:
        """Return a request without its values; `raw` is the number of raw contents.

        Raises RequestError.
        """
        inputs = request.inputs
        check_names(inputs, self._signature)
        for tensor in inputs:
            check_shared_memory(tensor.name, tensor.parameters)
            is_base64(tensor.name, _parameters(tensor.parameters), is_raw=bool(raw))
        rows = rows_of(inputs, self._max_rows)
        if raw and raw != len(inputs):
            message = f"raw_input_contents: expected {len(inputs)}, one for each input; got {raw}"
            raise InvalidArgument(message, field="raw_input_contents")
        for tensor in inputs:
            check_datatype(tensor, self._signature.by_name[tensor.name])
            if raw and tensor.HasField("contents"):
                message = f"{tensor.name}: expected no contents where there are raw ones"
                raise InvalidArgument(message, field=tensor.name)
        outputs = [InferOutput(name=each.name, parameters=_parameters(each.parameters)) for each in request.outputs]
        names = [tensor.name for tensor in inputs]
        return Layout(names, rows, request.id or None, outputs or None, _parameters(request.parameters))

    def raw(self, layout: Layout, data: bytes, ranges: Sequence[ByteRange]) -> Sequence[Values]:
        """Return the columns from raw contents at `ranges` in `data`. Raises RequestError."""
        rows = layout.rows
        inputs = {
            name: self._readers[name].read(data, at, size, rows)
            for name, (at, size) in zip(layout.features, ranges, strict=True)
        }
        return [values_or_nulls(inputs, column, rows) for column in self._signature.columns]

    def typed(self, layout: Layout, request: ModelInferRequest) -> Sequence[Values]:
        """Return the columns from typed contents. Raises RequestError."""
        rows = layout.rows
        inputs = {tensor.name: self._typed(tensor, rows) for tensor in request.inputs}
        return [values_or_nulls(inputs, column, rows) for column in self._signature.columns]

    def _typed(self, tensor: ModelInferRequest.InferInputTensor, rows: int) -> Values:
        name, datatype = tensor.name, tensor.datatype
        column = self._signature.by_name[name]
        contents = tensor.contents
        field = CONTENTS.get(datatype)
        if field is None:
            raise InvalidArgument(f"{name}: {datatype} has no typed contents; expected raw ones", field=name)
        values: Sequence[Any] = getattr(contents, field)
        if is_base64(name, _parameters(tensor.parameters), is_raw=False):
            values = [text.encode() for text in from_base64(name, values)]
        if len(values) != rows:
            message = f"{name}: {field}: expected {rows} elements as in its shape; got {len(values)}"
            raise InvalidArgument(message, field=name)
        if datatype == "BYTES":
            reader = self._readers[name]
            strings = [reader.string(value) for value in values]
            if column.allowed is None or column.allowed.issuperset(strings):
                return strings
            column.check(np.array(strings, dtype=object))
            return strings
        if rows <= _MAX_CHECKED_ROWS and all(map(self._readers[name].holds, values)):
            return [*values]
        if datatype.endswith(("INT8", "INT16")):
            _check_width(name, column, values)
        array = np.array(values, dtype=column.dtype)
        column.check(array)
        return array


def _check_width(name: str, column: Column, values: Sequence[int]) -> None:
    """Raise InvalidArgument for a number out of range for its datatype.

    The datatype can be narrower than the protobuf field of the number.
    """
    limits = np.iinfo(column.dtype)
    row = next((row for row, value in enumerate(values) if not limits.min <= value <= limits.max), None)
    if row is not None:
        raise InvalidArgument(f"{name}: row {row}: {column.fault(values[row])}", field=name)


def _parameters(parameters: Mapping[str, InferParameter]) -> Parameters | None:
    """Return parameters as JSON values, without those that have no value."""
    if not parameters:
        return None
    kinds = {name: parameter.WhichOneof("parameter_choice") for name, parameter in parameters.items()}
    return {name: getattr(parameters[name], kind) for name, kind in kinds.items() if kind is not None}


class OutputTensor(NamedTuple):
    """One output of a response."""

    name: str
    datatype: str
    data: NDArray[Any]


class InferEncoder:
    """Encoder of responses for one model."""

    def __init__(self, manifest: Manifest) -> None:
        """Encode the outputs of `manifest`."""
        self._tensors = TensorEncoder(manifest)
        self._name, self._version = manifest.name, str(manifest.version)
        self._one_row: bytes | None = None
        """Cached head of a one-row raw response with all outputs; None until first used."""

    def encoder(
        self, codec: str, inference: DecodedInferRequest, *, is_raw: bool
    ) -> Callable[[Outputs, int, int], bytes]:
        """Return the encoder of a response. Raises InvalidArgument for unknown outputs."""
        requested = self._tensors.requested(inference)

        def encode(outputs: Outputs, start: int, stop: int) -> bytes:
            tensors = [
                OutputTensor(each.output.name, *self._tensors.select(each, outputs, start, stop)) for each in requested
            ]
            if is_raw and codec == message_codec.PROTO:
                return self._raw(inference, tensors, stop - start)
            return message_codec.encode(codec, self._message(inference, tensors, is_raw=is_raw))

        return encode

    def _raw(self, inference: DecodedInferRequest, tensors: Sequence[OutputTensor], rows: int) -> bytes:
        """Return a response with its raw contents after all other fields."""
        is_common = rows == 1 and not inference.outputs and inference.id is None
        head = self._one_row if is_common else None
        if head is None:
            head = self._head(inference, tensors).SerializeToString()
            if is_common:
                self._one_row = head
        pieces = [head]
        for each in tensors:
            data = tensor_bytes(each.data)
            pieces += (length_head(RAW_OUTPUTS, len(data)), data)
        return b"".join(pieces)

    def _message(
        self, inference: DecodedInferRequest, tensors: Sequence[OutputTensor], *, is_raw: bool
    ) -> ModelInferResponse:
        response = self._head(inference, tensors)
        is_raw = is_raw or any(each.datatype not in CONTENTS for each in tensors)
        for each, tensor in zip(tensors, response.outputs, strict=True):
            if is_raw:  # all outputs or none, as for the inputs of a request
                response.raw_output_contents.append(tensor_bytes(each.data))
                continue
            values = each.data.reshape(-1).tolist()
            values_field = getattr(tensor.contents, CONTENTS[each.datatype])
            values_field.extend([value.encode() for value in values] if each.datatype == "BYTES" else values)
        return response

    def _head(self, inference: DecodedInferRequest, tensors: Sequence[OutputTensor]) -> ModelInferResponse:
        """Return a response without its output values."""
        response = ModelInferResponse(model_name=self._name, model_version=self._version, id=inference.id or "")
        for each in tensors:
            response.outputs.add(name=each.name, datatype=each.datatype, shape=each.data.shape)
        return response

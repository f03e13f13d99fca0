"""ModelInferRequest to checked columns, and a model's outputs to ModelInferResponse, with raw and with typed contents.

The rules are those of `server.tensors`; what differs is where a tensor's values stand. Raw contents are views on the
request's bytes and are written once, behind the rest of the response: a message of the library's would copy them twice.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.binary import ColumnReader, tensor_bytes
from server.errors import InvalidArgument
from server.feed import Values
from server.inference import Inference, InferOutput, Parameters, check_place
from server.manifest import Manifest
from server.rpc import codecs
from server.rpc.proto.inference_pb2 import (
    InferParameter,
    ModelInferRequest,
    ModelInferResponse,
)
from server.rpc.wire_format import length_head
from server.signature import Column, Outputs, Signature
from server.tensor_answers import TensorEncoder
from server.tensor_checks import check_datatype, check_names, given_or_null, rows_of

RAW_INPUTS: Final = ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
RAW_OUTPUTS: Final = ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER
_FEW_ROWS: Final = 8
"""Up to this many values are faster looked at one by one than as an array."""
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
"""Where a tensor's typed values stand, by its datatype; FP16 is raw only."""

Place = tuple[int, int]
"""Where raw contents begin in the bytes that hold them, and how many there are."""


class Layout(NamedTuple):
    """A request but for its values: the feature of each tensor in their order, and what is said of the answer."""

    features: Sequence[str]
    rows: int
    id: str | None
    outputs: Sequence[InferOutput] | None
    parameters: Parameters | None

    def inference(self, columns: Sequence[Values]) -> Inference:
        """Return the request with its values. Raises InvalidArgument for a priority or a timeout that is none."""
        return Inference(columns, self.rows, self.id, self.outputs, self.parameters)


class InferDecoder:
    """Checks the requests for one model."""

    def __init__(self, signature: Signature, max_rows: int, max_string_bytes: int) -> None:
        """Refuse more rows and longer strings."""
        self._signature = signature
        self._max_rows = max_rows
        self._readers = {column.feature.name: ColumnReader(column, max_string_bytes) for column in signature.columns}

    def layout(self, request: ModelInferRequest, raw: int) -> Layout:
        """Return what a request with so many `raw` contents, maybe none, is but for its values. Raises RequestError."""
        inputs = request.inputs
        check_names(inputs, self._signature)
        for tensor in inputs:
            check_place(tensor.name, tensor.parameters)
        rows = rows_of(inputs, self._max_rows)
        if raw and raw != len(inputs):
            words = f"raw_input_contents: expected {len(inputs)}, one for each input; got {raw}"
            raise InvalidArgument(words, field="raw_input_contents")
        for tensor in inputs:
            check_datatype(tensor, self._signature.by_name[tensor.name])
            if raw and tensor.HasField("contents"):
                words = f"{tensor.name}: expected no contents where there are raw ones"
                raise InvalidArgument(words, field=tensor.name)
        outputs = [InferOutput(name=each.name, parameters=_parameters(each.parameters)) for each in request.outputs]
        names = [tensor.name for tensor in inputs]
        return Layout(names, rows, request.id or None, outputs or None, _parameters(request.parameters))

    def raw(self, layout: Layout, data: bytes, places: Sequence[Place]) -> Sequence[Values]:
        """Return the columns whose raw contents stand at `places` of `data`. Raises RequestError."""
        rows = layout.rows
        given = {
            name: self._readers[name].read(data, at, size, rows)
            for name, (at, size) in zip(layout.features, places, strict=True)
        }
        return [given_or_null(given, column, rows) for column in self._signature.columns]

    def typed(self, layout: Layout, request: ModelInferRequest) -> Sequence[Values]:
        """Return the columns of typed contents. Raises RequestError."""
        rows = layout.rows
        given = {tensor.name: self._typed(tensor, rows) for tensor in request.inputs}
        return [given_or_null(given, column, rows) for column in self._signature.columns]

    def _typed(self, tensor: ModelInferRequest.InferInputTensor, rows: int) -> Values:
        name, datatype = tensor.name, tensor.datatype
        column = self._signature.by_name[name]
        contents = tensor.contents
        field = CONTENTS.get(datatype)
        if field is None:
            raise InvalidArgument(f"{name}: {datatype} has no typed contents; expected raw ones", field=name)
        values: Sequence[Any] = getattr(contents, field)
        if len(values) != rows:
            words = f"{name}: {field}: expected {rows} elements as in its shape; got {len(values)}"
            raise InvalidArgument(words, field=name)
        if datatype == "BYTES":
            reader = self._readers[name]
            strings = [reader.string(value) for value in values]
            if column.allowed is None or column.allowed.issuperset(strings):
                return strings
            column.check(np.array(strings, dtype=object))
            return strings
        if rows <= _FEW_ROWS and all(map(self._readers[name].holds, values)):
            return [*values]
        if datatype.endswith(("INT8", "INT16")):
            _check_width(name, column, values)
        array = np.array(values, dtype=column.dtype)
        column.check(array)
        return array


def _check_width(name: str, column: Column, values: Sequence[int]) -> None:
    """Raise InvalidArgument for a number that its datatype, narrower than the field it came in, doesn't hold."""
    limits = np.iinfo(column.dtype)
    if min(values) < limits.min or max(values) > limits.max:
        raise InvalidArgument(f"{name}: expected {column.expectation()}", field=name)


def _parameters(given: Mapping[str, InferParameter]) -> Parameters | None:
    """Return parameters as JSON would have them; one that says nothing is left out."""
    if not given:
        return None
    chosen = {name: parameter.WhichOneof("parameter_choice") for name, parameter in given.items()}
    return {name: getattr(given[name], choice) for name, choice in chosen.items() if choice is not None}


class Chosen(NamedTuple):
    """One output of an answer."""

    name: str
    datatype: str
    data: NDArray[Any]


class InferEncoder:
    """Writes the responses of one model."""

    def __init__(self, manifest: Manifest) -> None:
        """Write for the outputs of `manifest`."""
        self._tensors = TensorEncoder(manifest)
        self._name, self._version = manifest.name, str(manifest.version)
        self._one_row: bytes | None = None
        """The head of a raw answer for one row of every output, once it was made."""

    def encoder(self, codec: str, inference: Inference, *, is_raw: bool) -> Callable[[Outputs, int, int], bytes]:
        """Return what encodes the answer to a request. Raises InvalidArgument for outputs that there aren't."""
        wanted = self._tensors.wanted(inference)

        def encode(outputs: Outputs, start: int, stop: int) -> bytes:
            chosen = [Chosen(each.output.name, *self._tensors.chosen(each, outputs, start, stop)) for each in wanted]
            if is_raw and codec == codecs.PROTO:
                return self._raw(inference, chosen, stop - start)
            return codecs.encode(codec, self._message(inference, chosen, is_raw=is_raw))

        return encode

    def _raw(self, inference: Inference, chosen: Sequence[Chosen], rows: int) -> bytes:
        """Return a response with raw contents behind everything else of it."""
        is_usual = rows == 1 and not inference.outputs and inference.id is None
        head = self._one_row if is_usual else None
        if head is None:
            head = self._head(inference, chosen).SerializeToString()
            if is_usual:
                self._one_row = head
        pieces = [head]
        for each in chosen:
            data = tensor_bytes(each.data)
            pieces += (length_head(RAW_OUTPUTS, len(data)), data)
        return b"".join(pieces)

    def _message(self, inference: Inference, chosen: Sequence[Chosen], *, is_raw: bool) -> ModelInferResponse:
        response = self._head(inference, chosen)
        is_raw = is_raw or any(each.datatype not in CONTENTS for each in chosen)
        for each, tensor in zip(chosen, response.outputs, strict=True):
            if is_raw:  # of all outputs or of none, as with a request's inputs
                response.raw_output_contents.append(tensor_bytes(each.data))
                continue
            values = each.data.reshape(-1).tolist()
            into = getattr(tensor.contents, CONTENTS[each.datatype])
            into.extend([value.encode() for value in values] if each.datatype == "BYTES" else values)
        return response

    def _head(self, inference: Inference, chosen: Sequence[Chosen]) -> ModelInferResponse:
        """Return a response but for its outputs' values."""
        response = ModelInferResponse(model_name=self._name, model_version=self._version, id=inference.id or "")
        for each in chosen:
            response.outputs.add(name=each.name, datatype=each.datatype, shape=each.data.shape)
        return response

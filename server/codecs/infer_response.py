"""Encode output tensors as an Open Inference Protocol response: JSON, then binary data.

The request's parameters select binary data.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from server.codecs.binary_tensors import tensor_bytes
from server.codecs.infer_types import DecodedInferRequest, InferOutput, Parameters, check_shared_memory
from server.errors import InvalidArgument
from server.models.manifest import Manifest, Output
from server.models.quoting import quoted, quoted_names, quoted_value
from server.models.signature import Outputs

LENGTH_HEADER: Final = b"inference-header-content-length"


class RequestedOutput(NamedTuple):
    """One output with the request's options."""

    position: int
    """Index of the output in the model's outputs."""
    output: Output
    binary: bool
    classes: int
    """Number of the most likely classes to return as strings; 0: return the tensor."""


class TensorEncoder:
    """Encoder of one model's responses."""

    def __init__(self, manifest: Manifest) -> None:
        """Encode the outputs of `manifest`."""
        self._classes = manifest.classes
        self._by_name: Mapping[str, tuple[int, Output]] = {
            output.name: (index, output) for index, output in enumerate(manifest.outputs)
        }
        self._served = {"model_name": manifest.name, "model_version": str(manifest.version)}
        self._all = {is_binary: self._all_outputs(is_binary=is_binary) for is_binary in (False, True)}

    def requested(self, inference: DecodedInferRequest) -> Sequence[RequestedOutput]:
        """Return the outputs that a request names; all outputs if it names none.

        Raises InvalidArgument for an unknown output, and for an invalid parameter.
        """
        is_binary = _flag(inference.parameters, "binary_data_output", default=False)
        if not inference.outputs:
            return self._all[is_binary]
        by_name = {output.name: self._requested(output, is_binary=is_binary) for output in inference.outputs}
        return list(by_name.values())

    def encode(
        self,
        inference: DecodedInferRequest,
        requested: Sequence[RequestedOutput],
        outputs: Outputs,
        start: int,
        stop: int,
    ) -> tuple[bytes, list[bytes]]:
        """Return JSON and the binary tensors that follow it, for rows `start` to `stop`.

        The response repeats the request's id. Data are flat, row-major.
        """
        body: dict[str, Any] = dict(self._served)
        if inference.id is not None:
            body["id"] = inference.id
        tensors, binary_tensors = [], []
        for each in requested:
            datatype, data = self.select(each, outputs, start, stop)
            tensor: dict[str, Any] = {"name": each.output.name, "datatype": datatype, "shape": list(data.shape)}
            if each.binary:
                binary_tensors.append(tensor_bytes(data))
                tensor["parameters"] = {"binary_data_size": len(binary_tensors[-1])}
            else:
                tensor["data"] = data.reshape(-1).tolist()
            tensors.append(tensor)
        body["outputs"] = tensors
        return msgspec.json.encode(body), binary_tensors

    def select(self, requested: RequestedOutput, outputs: Outputs, start: int, stop: int) -> tuple[str, NDArray[Any]]:
        """Return the datatype and values of one output, for rows `start` to `stop`."""
        array = outputs[requested.position][start:stop]
        if requested.classes:
            return "BYTES", self._likeliest(array, requested.classes)
        return requested.output.datatype, array

    def _all_outputs(self, *, is_binary: bool) -> list[RequestedOutput]:
        return [RequestedOutput(index, output, is_binary, 0) for index, output in self._by_name.values()]

    def _requested(self, requested: InferOutput, *, is_binary: bool) -> RequestedOutput:
        name = requested.name
        if requested.name not in self._by_name:
            message = f"no such output; expected {quoted_names(self._by_name)}; got {quoted(requested.name)}"
            raise InvalidArgument(f"outputs: {message}", field="outputs")
        check_shared_memory(name, requested.parameters)
        index, output = self._by_name[requested.name]
        classes = (requested.parameters or {}).get("classification", 0)
        if not isinstance(classes, int) or isinstance(classes, bool) or classes < 0:
            message = f"classification: expected a number of classes; got {quoted_value(classes)}"
            raise InvalidArgument(f"{name}: {message}", field=name)
        if classes and output.role != "probabilities":
            raise InvalidArgument(f"{name}: classification: expected an output of probabilities", field=name)
        is_binary = _flag(requested.parameters, "binary_data", default=is_binary)
        return RequestedOutput(index, output, is_binary, min(classes, len(self._classes)))

    def _likeliest(self, array: NDArray[Any], classes: int) -> NDArray[Any]:
        """Return `classes` strings for each row, `score:index:label`, the most likely first.

        The format is that of Triton's classification extension.
        """
        order = np.argsort(-array, axis=1, kind="stable")[:, :classes]
        strings = [
            [f"{row[index]:f}:{index}:{self._classes[index]}" for index in indices]
            for row, indices in zip(array.tolist(), order.tolist(), strict=True)
        ]
        return np.array(strings, dtype=object).reshape(len(array), classes)


def _flag(parameters: Parameters | None, name: str, *, default: bool) -> bool:
    value = (parameters or {}).get(name, default)
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name}: expected true or false; got {quoted_value(value)}", field="parameters")
    return value

"""Output tensors to an Open Inference Protocol answer: JSON, with binary data behind it where that is asked for."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from server.binary import tensor_bytes
from server.errors import InvalidArgument
from server.inference import Inference, InferOutput, Parameters, check_place
from server.manifest import Manifest, Output
from server.replies import OCTET_STREAM, Body, Reply
from server.signature import Outputs

LENGTH_HEADER: Final = b"inference-header-content-length"


class Wanted(NamedTuple):
    """One output as the caller wants it."""

    place: int
    """Of the output among the model's."""
    output: Output
    binary: bool
    classes: int
    """How many of the likeliest classes, as strings, instead of the tensor; 0: the tensor."""


class TensorEncoder:
    """Writes the answers of one model."""

    def __init__(self, manifest: Manifest) -> None:
        """Write for the outputs of `manifest`."""
        self._classes = manifest.classes
        self._by_name: Mapping[str, tuple[int, Output]] = {
            output.name: (index, output) for index, output in enumerate(manifest.outputs)
        }
        self._served = {"model_name": manifest.name, "model_version": str(manifest.version)}
        self._all = {is_binary: self._every(is_binary=is_binary) for is_binary in (False, True)}

    def wanted(self, inference: Inference) -> Sequence[Wanted]:
        """Return the outputs that a request asks for, all of them where it names none.

        Raises InvalidArgument for a name the model doesn't have, and for a parameter that can't be kept.
        """
        is_binary = _flag(inference.parameters, "binary_data_output", default=False)
        if not inference.outputs:
            return self._all[is_binary]
        by_name = {output.name: self._wanted(output, is_binary=is_binary) for output in inference.outputs}
        return list(by_name.values())

    def encode(self, inference: Inference, wanted: Sequence[Wanted], outputs: Outputs, start: int, stop: int) -> Body:
        """Return the answer for the rows from `start` to `stop`: the request's id echoed, flat data, row-major."""
        body: dict[str, Any] = dict(self._served)
        if inference.id is not None:
            body["id"] = inference.id
        tensors, blobs = [], []
        for each in wanted:
            datatype, data = self.chosen(each, outputs, start, stop)
            tensor: dict[str, Any] = {"name": each.output.name, "datatype": datatype, "shape": list(data.shape)}
            if each.binary:
                blobs.append(tensor_bytes(data))
                tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
            else:
                tensor["data"] = data.reshape(-1).tolist()
            tensors.append(tensor)
        body["outputs"] = tensors
        document = msgspec.json.encode(body)
        if not blobs:
            return document
        headers = ((LENGTH_HEADER, b"%d" % len(document)),)
        return Reply(b"".join((document, *blobs)), OCTET_STREAM, headers)

    def chosen(self, wanted: Wanted, outputs: Outputs, start: int, stop: int) -> tuple[str, NDArray[Any]]:
        """Return the datatype and the values of one output, for the rows from `start` to `stop`."""
        array = outputs[wanted.place][start:stop]
        if wanted.classes:
            return "BYTES", self._likeliest(array, wanted.classes)
        return wanted.output.datatype, array

    def _every(self, *, is_binary: bool) -> list[Wanted]:
        return [Wanted(index, output, is_binary, 0) for index, output in self._by_name.values()]

    def _wanted(self, asked: InferOutput, *, is_binary: bool) -> Wanted:
        name = asked.name[:64]
        if asked.name not in self._by_name:
            raise InvalidArgument(f"outputs: {name!r} is not among {', '.join(self._by_name)}", field="outputs")
        check_place(name, asked.parameters)
        index, output = self._by_name[asked.name]
        classes = (asked.parameters or {}).get("classification", 0)
        if not isinstance(classes, int) or isinstance(classes, bool) or classes < 0:
            raise InvalidArgument(f"{name}: classification: expected a number of classes", field=name)
        if classes and output.role != "probabilities":
            raise InvalidArgument(f"{name}: classification: expected an output of probabilities", field=name)
        is_binary = _flag(asked.parameters, "binary_data", default=is_binary)
        return Wanted(index, output, is_binary, min(classes, len(self._classes)))

    def _likeliest(self, array: NDArray[Any], classes: int) -> NDArray[Any]:
        """Return `classes` strings a row, `score:index:label`, the likeliest first, as Triton's extension has it."""
        order = np.argsort(-array, axis=1, kind="stable")[:, :classes]
        strings = [
            [f"{row[at]:f}:{at}:{self._classes[at]}" for at in places]
            for row, places in zip(array.tolist(), order.tolist(), strict=True)
        ]
        return np.array(strings, dtype=object)


def _flag(parameters: Parameters | None, name: str, *, default: bool) -> bool:
    value = (parameters or {}).get(name, default)
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name}: expected true or false", field="parameters")
    return value

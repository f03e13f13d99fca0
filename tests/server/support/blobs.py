"""Inference requests with binary tensors, encoded by hand as the extension specifies."""

import json
import struct
from collections.abc import Collection
from typing import Any, Final

import httpx
import numpy as np

from tests.passenger import DATATYPES

LENGTH: Final = "inference-header-content-length"
_FORMATS: Final = {
    "BOOL": "?",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
NULLS: Final = {"age": float("nan"), "fare": float("nan"), "embarked": ""}
"""The value that encodes null in a binary tensor, for each nullable feature."""


def blob(datatype: str, values: list[Any]) -> bytes:
    """Return values encoded as a binary tensor."""
    if datatype != "BYTES":
        return struct.pack(f"<{len(values)}{_FORMATS[datatype]}", *values)
    encoded = [value.encode() for value in values]
    return b"".join(struct.pack("<I", len(each)) + each for each in encoded)


def request(
    records: list[dict[str, Any]],
    binary: Collection[str] = tuple(DATATYPES),
    **members: Any,  # noqa: ANN401
) -> tuple[bytes, dict[str, str]]:
    """Return the body and headers of a request.

    Inputs in `binary` follow the JSON; the others are in it.
    """
    inputs, blobs = [], []
    for name, datatype in DATATYPES.items():
        values = [record[name] for record in records]
        tensor: dict[str, Any] = {"name": name, "shape": [len(records), 1], "datatype": datatype}
        if name in binary:
            blobs.append(blob(datatype, [NULLS[name] if value is None else value for value in values]))
            tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            tensor["data"] = values
        inputs.append(tensor)
    document = json.dumps({"inputs": inputs} | members).encode()
    return b"".join((document, *blobs)), {LENGTH: str(len(document))}


def read(response: httpx.Response) -> dict[str, Any]:
    """Return a response's outputs by name, as lists, from JSON or binary data."""
    assert response.status_code == 200, response.text
    length = int(response.headers.get(LENGTH, len(response.content)))
    document, rest = json.loads(response.content[:length]), response.content[length:]
    outputs = {}
    for output in document["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            outputs[output["name"]] = np.array(output["data"]).reshape(output["shape"]).tolist()
            continue
        data, rest = rest[:size], rest[size:]
        outputs[output["name"]] = _values(output["datatype"], data, output["shape"])
    assert rest == b""
    return outputs


def _values(datatype: str, data: bytes, shape: list[int]) -> list[Any]:
    if datatype != "BYTES":
        count = len(data) // struct.calcsize(_FORMATS[datatype])
        return np.array(struct.unpack(f"<{count}{_FORMATS[datatype]}", data)).reshape(shape).tolist()  # type: ignore[no-any-return]
    strings = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        strings.append(data[4 : 4 + length].decode())
        data = data[4 + length :]
    return np.array(strings, dtype=object).reshape(shape).tolist()  # type: ignore[no-any-return]

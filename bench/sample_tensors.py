"""Sample inference requests: passengers as JSON, as binary tensors, and as arrays."""

import csv
import itertools
import json
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

DATA: Final = Path(__file__).parents[1] / "export" / "data" / "titanic.csv"
DATATYPES: Final = {
    "pclass": "INT64",
    "sex": "BYTES",
    "age": "FP32",
    "sibsp": "INT64",
    "parch": "INT64",
    "fare": "FP32",
    "embarked": "BYTES",
}
_DTYPES: Final[dict[str, Any]] = {"INT64": np.int64, "FP32": np.float32, "BYTES": object}
Columns = dict[str, NDArray[Any]]


def passengers(rows: int) -> Columns:
    """Return `rows` passengers as arrays of shape [rows, 1].

    The data set is repeated as often as needed. Null is encoded as in the model.
    """
    with DATA.open(newline="") as file:
        records = list(itertools.islice(itertools.cycle(csv.DictReader(file)), rows))
    return {name: _column([record[name] for record in records], datatype) for name, datatype in DATATYPES.items()}


def _column(values: list[str], datatype: str) -> NDArray[Any]:
    if datatype != "BYTES":
        return np.array([float(value or "nan") for value in values]).astype(_DTYPES[datatype]).reshape(-1, 1)
    return np.array(values, dtype=object).reshape(-1, 1)


def one(passenger: dict[str, Any]) -> Columns:
    """Return one passenger as arrays of shape [1, 1]."""
    return {name: np.full((1, 1), passenger[name], _DTYPES[datatype]) for name, datatype in DATATYPES.items()}


def as_json(columns: Columns) -> bytes:
    """Return a request with JSON tensors; no value may be null."""
    inputs = [_input(name, array) | {"data": array.reshape(-1).tolist()} for name, array in columns.items()]
    return json.dumps({"inputs": inputs}, separators=(",", ":")).encode()


def as_binary(columns: Columns) -> tuple[bytes, int]:
    """Return a request for binary outputs with binary tensors, and its JSON's length."""
    inputs, blobs = [], []
    for name, array in columns.items():
        blobs.append(_blob(array))
        inputs.append(_input(name, array) | {"parameters": {"binary_data_size": len(blobs[-1])}})
    document = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    text = json.dumps(document, separators=(",", ":")).encode()
    return b"".join((text, *blobs)), len(text)


def _input(name: str, array: NDArray[Any]) -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape), "datatype": DATATYPES[name]}


def _blob(array: NDArray[Any]) -> bytes:
    if array.dtype != object:
        return array.tobytes()
    encoded = [each.encode() for each in array.reshape(-1).tolist()]
    return b"".join(struct.pack("<I", len(each)) + each for each in encoded)

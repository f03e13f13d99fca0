"""A model with a feature of every datatype, and rows for it."""

from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from server.models.manifest import Feature, Golden, Output, Scalar
from server.models.session import Model
from tests.server.support import small

EVERY: Final = """g (bool[N, 1] bool, int8[N, 1] int8, int16[N, 1] int16, int32[N, 1] int32, int64[N, 1] int64,
  uint8[N, 1] uint8, uint16[N, 1] uint16, uint32[N, 1] uint32, uint64[N, 1] uint64,
  float16[N, 1] fp16, float[N, 1] fp32, double[N, 1] fp64, string[N, 1] bytes, string[N, 1] category)
  => (double[N, 1] value) <string[1] yes = {"yes"}, double[1] nought = {0}> {
  a = Cast<to = 11>(bool)
  b = Cast<to = 11>(int8)
  c = Cast<to = 11>(int16)
  d = Cast<to = 11>(int32)
  e = Cast<to = 11>(int64)
  f = Cast<to = 11>(uint8)
  g = Cast<to = 11>(uint16)
  h = Cast<to = 11>(uint32)
  i = Cast<to = 11>(uint64)
  j = Cast<to = 11>(fp16)
  k = Cast<to = 11>(fp32)
  same = Equal(bytes, yes)
  other = Equal(category, yes)
  l = Cast<to = 11>(same)
  m = Cast<to = 11>(other)
  missing = IsNaN(fp64)
  n = Where(missing, nought, fp64)
  value = Sum(a, b, c, d, e, f, g, h, i, j, k, l, m, n)
}"""
"""A sum of one feature of every datatype: a wrong value changes the result."""
ROWS: Final[dict[str, list[Any]]] = {
    "bool": [True, False, True],
    "int8": [-128, 127, 3],
    "int16": [-(2**15), 2**15 - 1, 5],
    "int32": [-(2**31), 2**31 - 1, None],
    "int64": [-(2**53), 2**53, 7],
    "uint8": [0, 255, 1],
    "uint16": [0, 2**16 - 1, 2],
    "uint32": [0, 2**32 - 1, 3],
    "uint64": [0, 2**63 - 1, 4],
    "fp16": [0.5, -2.25, 6.0],
    "fp32": [0.5, -0.375, 16777216.0],
    "fp64": [0.1, None, 1e-300],
    "bytes": ["yes", 'no "quotes",\nor lines', "ß€😀"],
    "category": ["yes", None, "no"],
}
_TYPES: Final[dict[str, Any]] = {"fp16": pa.float16(), "fp32": pa.float32(), "fp64": pa.float64()} | dict.fromkeys(
    ("bytes", "category"), pa.string()
)
SCHEMA: Final = pa.schema([(name, _TYPES.get(name) or getattr(pa, name.replace("bool", "bool_"))()) for name in ROWS])
"""Each feature with the Arrow type of its datatype."""
_NULLS: Final[dict[str, Scalar]] = {"int32": -1, "fp64": "NaN", "category": ""}


def load(root: Path) -> Model:
    """Write the model below `root` and load it."""
    onnx = small.onnx_bytes(EVERY, opset=19)
    none: dict[str, Scalar | None] = {
        name: False if name == "bool" else "no" if name in {"bytes", "category"} else 0 for name in ROWS
    }
    described = small.manifest(
        onnx,
        features=[*FEATURES],
        outputs=[Output(name="value", datatype="FP64", shape=[-1, 1], role="value")],
        golden=Golden(records=[none], outputs={"value": [[0.0]]}, tolerance=0),
    )
    return Model.load(small.write(root, onnx, described))


def _feature(number: int, name: str) -> Feature:
    datatype: Any = "BYTES" if name == "category" else name.upper()
    example = ROWS[name][0]
    categories: Any = ["yes", "no"] if name == "category" else None
    return Feature(
        name=name,
        datatype=datatype,
        description="",
        example=example,
        field_number=number,
        nullable=name in _NULLS,
        null_value=_NULLS.get(name),
        categories=categories,
    )


FEATURES: Final = tuple(_feature(number, name) for number, name in enumerate(ROWS, 1))

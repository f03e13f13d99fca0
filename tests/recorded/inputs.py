"""Records, tensors and files of the cases, with the same bytes in each run."""

import gzip
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tests.recorded.messages import Value, message

RECORD: Final[Mapping[str, Any]] = {
    "pclass": 1,
    "sex": "female",
    "age": 29,
    "sibsp": 0,
    "parch": 0,
    "fare": 211.3375,
    "embarked": "S",
}
LEAST: Final[Mapping[str, Any]] = {"pclass": 3, "sex": "male", "sibsp": 0, "parch": 0}
"""The features that must not be null."""
QUERY: Final = "pclass=1&sex=female&age=29&sibsp=0&parch=0&fare=211.3375&embarked=S"
CSV: Final = (
    "name,sex,pclass,age,sibsp,parch,fare,embarked\n"
    "Elisabeth,female,1,29,0,0,211.3375,S\n"
    '"Owen, Mr.",male,3,,1,0,7.25,S\n'
    "Zoë,female,2,NA,0,2,,C\n"
)
BROKEN_CSV: Final = "pclass,sex,sibsp,parch\n1,female,0,0\n9,male,1,0\n2,male,0,x\n3,female,0,1\n"
"""Four rows; the second and the third are invalid."""


def encoded(value: Any) -> bytes:  # noqa: ANN401 # any JSON value
    """Return a value as JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def record(**changes: Any) -> bytes:  # noqa: ANN401 # any JSON value
    """Return a record as JSON, with `changes`."""
    return encoded({**RECORD, **changes})


def without(*names: str) -> bytes:
    """Return a record as JSON, without some features."""
    return encoded({name: value for name, value in RECORD.items() if name not in names})


def records(count: int) -> list[dict[str, Any]]:
    """Return `count` records with different values."""
    return [
        {
            "pclass": at % 3 + 1,
            "sex": "female" if at % 2 else "male",
            "age": None if at % 7 == 0 else at % 80 + 0.5,
            "sibsp": at % 4,
            "parch": at % 3,
            "fare": None if at % 11 == 0 else at * 1.25 % 300,
            "embarked": [None, "C", "Q", "S"][at % 4],
        }
        for at in range(count)
    ]


def csv_rows(count: int) -> bytes:
    """Return `count` records as CSV."""
    rows = [["" if value is None else str(value) for value in each.values()] for each in records(count)]
    return "".join([",".join(row) + "\n" for row in [[*RECORD], *rows]]).encode()


def ndjson(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows as NDJSON, one JSON object per line."""
    return b"".join(encoded(each) + b"\n" for each in rows)


def table(count: int = 5, **columns: Sequence[Any]) -> pa.Table:
    """Return `count` records as a table, with additional columns."""
    rows = records(count)
    return pa.table({**{name: [each[name] for each in rows] for name in RECORD}, **columns})


def arrow_stream(rows: pa.Table) -> bytes:
    """Return a table as an Arrow IPC stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue()


def arrow_file(rows: pa.Table) -> bytes:
    """Return a table as an Arrow IPC file."""
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue()


def parquet(rows: pa.Table) -> bytes:
    """Return a table as Parquet."""
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd")
    return sink.getvalue()


def gzipped(content: bytes) -> bytes:
    """Return content compressed with gzip, without a timestamp."""
    return gzip.compress(content, mtime=0)


def deflated(content: bytes, *, bare: bool = False) -> bytes:
    """Return content compressed with zlib, or with raw deflate if `bare`."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS if bare else zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


def typed_record(values: Mapping[str, Any] = RECORD) -> bytes:
    """Return a record as a `PredictRequest` message of the typed service."""
    kinds = {"pclass": int, "sex": str, "age": float, "sibsp": int, "parch": int, "fare": float, "embarked": str}
    fields: list[tuple[int, Value]] = []
    for number, (name, kind) in enumerate(kinds.items(), 1):
        if values.get(name) is not None:
            fields.append((number, kind(values[name])))
    return message(*fields)


DATATYPES: Final[Mapping[str, str]] = {
    "pclass": "INT64",
    "sex": "BYTES",
    "age": "FP32",
    "sibsp": "INT64",
    "parch": "INT64",
    "fare": "FP32",
    "embarked": "BYTES",
}


def tensors(count: int = 2, **changes: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the inputs of a JSON inference request.

    `changes` maps an input's name to changed keys; None leaves the input out.
    """
    rows = records(count)
    found = []
    for name, datatype in DATATYPES.items():
        change = changes.get(name, {})
        if change is not None:
            data = [row[name] for row in rows]
            found.append({"name": name, "shape": [count, 1], "datatype": datatype, "data": data, **change})
    return found


def infer(count: int = 2, more: Mapping[str, Any] | None = None, **changes: Mapping[str, Any] | None) -> bytes:
    """Return a JSON inference request with `more` keys."""
    return encoded({"inputs": tensors(count, **changes), **(more or {})})

"""Sample files in every format, with the repeated rows of the data set.

pyarrow and the standard library write them, as other programs do.
"""

import csv
import itertools
import json
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.json
import pyarrow.parquet

from bench.sample_tensors import DATA, DATATYPES
from bench.targets import BUILD

FORMS: Final = {
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
"""Suffix of a file to its media type."""
BATCH_ROWS: Final = 65_536
"""Rows of a record batch. pyarrow writes such batches for a table read from Parquet."""


def answer() -> Path:
    """Return the path for the response to a file."""
    return _folder() / "answer"


def written(form: str, rows: int) -> Path:
    """Return the path of a file with `rows` passengers. Writes the file if it does not exist."""
    path = _folder() / f"{rows}.{form}"
    if not path.exists():
        begun = path.with_suffix(".begun")
        _write(form, rows, begun)
        begun.rename(path)
    return path


def _write(form: str, rows: int, path: Path) -> None:
    if form == "csv":
        lines = [",".join(record.values()) + "\n" for record in _records()]
        path.write_text(",".join(DATATYPES) + "\n" + _over_and_over(lines, rows))
    elif form == "ndjson":
        lines = [json.dumps(_object(record), separators=(",", ":")) + "\n" for record in _records()]
        path.write_text(_over_and_over(lines, rows))
    elif form == "arrow":
        table = _table(rows)
        with pa.ipc.new_stream(str(path), table.schema) as stream:
            stream.write_table(table, max_chunksize=BATCH_ROWS)
    else:
        pa.parquet.write_table(_table(rows), path)


def answers(path: Path, form: str) -> tuple[int, float, float]:
    """Return a scored file's number of rows, and its first and last probability."""
    table = read(path, form)
    column = table.column("probability_survived")
    return table.num_rows, float(column[0].as_py()), float(column[-1].as_py())


def read(path: Path, form: str) -> pa.Table:
    """Read a file of the format `form`."""
    if form == "csv":
        return pa.csv.read_csv(path)
    if form == "ndjson":
        return pa.json.read_json(path)
    if form == "arrow":
        return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    return pa.parquet.read_table(path)


def _table(rows: int) -> pa.Table:
    """Return passengers with the types that pyarrow infers from the CSV file. Empty text is null."""
    nulls = pa.csv.ConvertOptions(strings_can_be_null=True)
    return pa.csv.read_csv(written("csv", rows), convert_options=nulls).combine_chunks()


def _records() -> list[dict[str, str]]:
    with DATA.open(newline="") as file:
        return [{name: record[name] for name in DATATYPES} for record in csv.DictReader(file)]


def _object(record: dict[str, str]) -> dict[str, Any]:
    """Return a record with the types of its JSON values."""
    kinds = {"INT64": int, "FP32": float, "BYTES": str}
    return {name: kinds[DATATYPES[name]](text) if text else None for name, text in record.items()}


def _over_and_over(lines: list[str], rows: int) -> str:
    return "".join(itertools.islice(itertools.cycle(lines), rows))


def _folder() -> Path:
    folder = BUILD / "files"
    folder.mkdir(parents=True, exist_ok=True)
    return folder

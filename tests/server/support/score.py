"""Run `python -m server score` as a user does, and build tables for it."""

import csv
import hashlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from tests.server.support.process import HUNG_S, ROOT

DATA: Final = ROOT / "export" / "data" / "titanic.csv"
FEATURES: Final = ("pclass", "sex", "age", "sibsp", "parch", "fare", "embarked")
_TYPES: Final = {"pclass": int, "sex": str, "age": float, "sibsp": int, "parch": int, "fare": float, "embarked": str}
Rows = list[dict[str, Any]]


def command(*arguments: str | Path) -> list[str]:
    """Return the command line."""
    return [sys.executable, "-W", "error", "-m", "server", "score", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without variables that affect the command."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("LIFEBOAT_", "COLUMNS"))} | more


def score(*arguments: str | Path, given: bytes | None = None, **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end; it must never print a traceback.

    `given` is its standard input.
    """
    done = subprocess.run(
        command(*arguments),
        cwd=ROOT,
        input=given,
        env=environment(**more),
        capture_output=True,
        check=False,
        timeout=HUNG_S,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert b"panicked" not in done.stderr, done.stderr.decode()
    return done


def scored(*arguments: str | Path, **more: str) -> str:
    """Run the command, which must succeed, and return its standard error."""
    done = score(*arguments, given=None, **more)
    assert done.returncode == 0, done.stderr.decode()
    return done.stderr.decode()


def refused(*arguments: str | Path, code: int = 1, **more: str) -> str:
    """Run the command, which must fail with `code`, and return its last line."""
    done = score(*arguments, given=None, **more)
    assert done.returncode == code, done.stderr.decode()
    return done.stderr.decode().splitlines()[-1]


def rows(number: int, **wrong: int) -> Rows:
    """Return data set rows, repeated, each with a note.

    `age=5` makes the age of row 5 invalid.
    """
    with DATA.open(newline="") as file:
        known = [{name: kind(row[name]) if row[name] else None for name, kind in _TYPES.items()}
                 for row in csv.DictReader(file)]  # fmt: skip
    found = [{"id": f"n{place}", **known[place % len(known)], "note": 'a "b", c\nd'} for place in range(number)]
    for name, row in wrong.items():
        found[row - 1][name] = -3
    return found


def as_csv(given: Rows, delimiter: str = ",") -> bytes:
    """Return rows as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(given[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(given)
    return out.getvalue().encode()


def as_ndjson(given: Rows) -> bytes:
    """Return rows as NDJSON."""
    return b"".join([msgspec.json.encode(row) + b"\n" for row in given])


def as_arrow(given: Rows) -> bytes:
    """Return rows as an Arrow IPC stream of several record batches."""
    found = pa.Table.from_pylist(given)
    out = io.BytesIO()
    with pa.ipc.new_stream(out, found.schema) as stream:
        stream.write_table(found, max_chunksize=700)
    return out.getvalue()


def as_parquet(given: Rows) -> bytes:
    """Return rows as a Parquet file of several row groups."""
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(given), out, row_group_size=900)
    return out.getvalue()


def long(number: int) -> bytes:
    """Return CSV with long incompressible rows, so that no compression or buffering delays the output."""
    noted = [{**row, "note": hashlib.shake_256(row["id"].encode()).hexdigest(256)} for row in rows(number)]
    return as_csv(noted)


FORMS: Final = {
    "csv": ("text/csv", as_csv),
    "ndjson": ("application/x-ndjson", as_ndjson),
    "arrow": ("application/vnd.apache.arrow.stream", as_arrow),
    "parquet": ("application/vnd.apache.parquet", as_parquet),
}
"""The media type and the writer of each format."""
PAIRS: Final = [
    *((form, form) for form in FORMS),
    ("csv", "parquet"),
    ("ndjson", "arrow"),
    ("arrow", "csv"),
    ("parquet", "ndjson"),
]
"""Pairs of input and output format: each format with itself, and each with another one."""


def table(path: Path) -> pa.Table:
    """Read an Arrow stream or a Parquet file with pyarrow."""
    if path.suffix == ".parquet":
        return pq.read_table(path)
    with pa.ipc.open_stream(path.read_bytes()) as stream:
        return stream.read_all()


def notes(path: Path) -> dict[str, int]:
    """Return the row counts in the metadata of an Arrow stream or a Parquet file."""
    found: Any
    if path.suffix == ".parquet":
        found = pq.read_metadata(path).metadata
    else:
        with pa.ipc.open_stream(path.read_bytes()) as stream:
            found = list(stream.iter_batches_with_custom_metadata())[-1].custom_metadata
    return {name: int(found[f"lifeboat.rows-{name}".encode()]) for name in ("read", "scored", "failed")}


def read(path: Path) -> Rows:
    """Read a scored file by its suffix, with libraries independent of this project."""
    form = path.suffix.removeprefix(".")
    if form in {"arrow", "parquet"}:
        return list(table(path).to_pylist())
    if form == "ndjson":
        return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if form == "tsv" else ","))


@contextmanager
def held(*arguments: str | Path, at: Path, number: signal.Signals = signal.SIGKILL) -> Iterator[list[bytes]]:
    """Run the command until it writes `at`; after the block, end it by a signal.

    The gate is a named pipe with the name of the unfinished file. It blocks a writer after some 64 KiB. Yields a list
    that contains the command's standard error at the end.
    """
    gate = at.with_name(f".{at.name}.unfinished")
    gate.parent.mkdir(exist_ok=True)
    os.mkfifo(gate)
    said: list[bytes] = []
    with subprocess.Popen(command(*arguments), cwd=ROOT, env=environment(), stderr=subprocess.PIPE) as process:
        descriptor = os.open(gate, os.O_RDONLY)
        assert os.read(descriptor, 10)
        yield said
        process.send_signal(number)
        assert process.stderr is not None
        said.append(process.stderr.read())
        os.close(descriptor)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    gate.unlink(missing_ok=number != signal.SIGKILL)


def left(folder: Path) -> set[str]:
    """Return the names in a folder."""
    return {path.name for path in folder.iterdir()}

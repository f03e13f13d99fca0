"""Score files without a socket, by the job of the batch endpoint and command line."""

import csv
import functools
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
from numpy.typing import NDArray
from starlette.datastructures import Headers, QueryParams

from server.batch.job import Job
from server.batch.options import parse_options
from server.codecs.tables.media_types import ARROW, CSV, NDJSON, PARQUET, FileFormat
from server.errors import RequestError
from server.models.session import Model
from server.settings import Settings
from tests.server.support.rpc import MODELS

FORMS: Final = (CSV, NDJSON, ARROW, PARQUET)
PASSENGERS: Final[dict[str, list[Any]]] = {
    "pclass": [1, 3, 2, 3],
    "sex": ["female", "male", "female", "male"],
    "age": [29.0, None, 0.9167, 41.0],
    "sibsp": [0, 1, 1, 0],
    "parch": [0, 0, 2, 5],
    "fare": [211.3375, 7.25, None, 0.0],
    "embarked": ["S", "C", None, "Q"],
}
"""Passengers with a null in every nullable column."""


class Pieces:
    """A source that returns pieces of given sizes, then the rest."""

    def __init__(self, body: bytes, sizes: Iterable[int] = ()) -> None:
        """Read from `body`."""
        self.failure: Exception | None = None
        self._body = memoryview(body)
        self._sizes = iter(sizes)

    def read(self, size: int = -1, /) -> bytes:
        """Return the next piece."""
        room = len(self._body) if size < 0 else size
        data, self._body = self._body[: (most := min(room, next(self._sizes, room)))], self._body[most:]
        return bytes(data)


class Kept:
    """A sink that stores the written bytes."""

    def __init__(self) -> None:
        """Begin empty."""
        self.failure: Exception | None = None
        self.data = bytearray()

    def write(self, data: bytes, /) -> int:
        """Store some bytes."""
        self.data += data
        return len(data)

    def flush(self) -> None:
        """Do nothing, because all bytes are stored."""


@dataclass
class Answer:
    """The result of a job."""

    body: bytes
    """The written bytes, up to the error if there was one."""
    form: FileFormat | None
    """Format of the response; None if the file was rejected before its first row."""
    error: RequestError | None
    counts: tuple[int, int, int]
    """Rows read, scored and failed."""
    error_bytes: bytes = b""

    def table(self) -> pa.Table:
        """Return the response as a pyarrow table.

        All CSV columns are strings, and empty fields are null.
        """
        assert self.error is None, self.error.message
        return read(self.body, self.form)

    def column(self, name: str) -> list[Any]:
        """Return one column of the response."""
        return self.table()[name].to_pylist()

    def refusal(self) -> RequestError:
        """Return the error of a file that was rejected before the response began."""
        assert self.error is not None
        assert self.form is None, "it was refused only after the answer began"
        return self.error


def score(
    model: Model,
    body: bytes,
    query: str = "",
    *,
    sizes: Iterable[int] = (),
    settings: Settings | None = None,
    **headers: str,
) -> Answer:
    """Score a file like a request with this query and these headers.

    Raises every error but a RequestError, which is part of the result.
    """
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    kept, forms, error = Kept(), list[FileFormat](), None
    job = Job(parse_options(model, QueryParams(query), Headers(named)), settings or Settings())
    try:
        job.run(Pieces(body, sizes), lambda: False, kept, forms.append)
    except RequestError as failed:
        error = failed
    counts = (job.counts.read, job.counts.scored, job.counts.failed)
    words = job.error_bytes(error) if error and forms else b""
    return Answer(bytes(kept.data), forms[0] if forms else None, error, counts, words)


@functools.cache
def titanic() -> Model:
    """Return the committed model."""
    return Model.load(MODELS / "titanic" / "1")


def read(body: bytes, form: FileFormat | None) -> pa.Table:
    """Return a file as a pyarrow table.

    All CSV columns are strings, and empty fields are null.
    """
    if form is ARROW:
        return pa.ipc.open_stream(body).read_all()
    if form is PARQUET:
        return pq.read_table(io.BytesIO(body))
    if form is NDJSON:
        return pa.json.read_json(io.BytesIO(body))
    names = next(iter(_rows_of_csv(body)))
    options = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    return pa.csv.read_csv(
        io.BytesIO(body), parse_options=pa.csv.ParseOptions(newlines_in_values=True), convert_options=options
    )


def _rows_of_csv(body: bytes) -> Iterator[Sequence[str]]:
    return csv.reader(io.StringIO(body.decode(), newline=""))


def write(table: pa.Table, form: FileFormat) -> bytes:
    """Return a table as a file by pyarrow; NDJSON by Python's json."""
    out = io.BytesIO()
    if form is ARROW:
        with pa.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table)
    elif form is PARQUET:
        pq.write_table(table, out)
    elif form is CSV:
        pa.csv.write_csv(table, out)
    else:
        out.write(b"".join(json.dumps(row).encode() + b"\n" for row in table.to_pylist()))
    return out.getvalue()


def run(model: Model, table: pa.Table) -> dict[str, NDArray[Any]]:
    """Return the session's outputs for rows of features, with the manifest's null values."""
    feed = {}
    for column in model.signature.columns:
        name, null = column.feature.name, column.feature.null
        values = table[name].to_pylist() if name in table.column_names else [None] * table.num_rows
        feed[name] = np.array([null if value is None else value for value in values], column.dtype).reshape(-1, 1)
    return dict(zip(model.output_names, model._session.run(model.output_names, feed), strict=True))  # noqa: SLF001

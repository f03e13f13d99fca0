"""Tests of the page on limits: variables, defaults, ranges, and responses above each limit."""

import io
import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from server.codecs.tables.arrow_messages import MAX_METADATA_BYTES
from server.codecs.tables.compression import _MAX_WINDOW_LOG, FREE_FRAMES, MIN_FRAME_BYTES
from server.codecs.tables.limits import BLOCK_CELLS, MAX_NAMES_BYTES, MAX_RECORD_BYTES
from server.codecs.tables.row_bytes import MAX_ROW_BYTES
from server.errors import CODES, RequestTimeout, SettingsError
from server.http.acceptor import MAX_CONNECTIONS, RESERVED_DESCRIPTORS
from server.http.header_numbers import MAX_DIGITS
from server.http.http2 import _MAX_STREAMS
from server.http.request_turns import _MAX_WAITING
from server.models.manifest import MAX_EXPLAINED_FEATURES
from server.models.repository import Repository
from server.settings import Settings, from_environment, variable
from tests.server.support.in_process import InProcess

INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "reference" / "limits.md").read_text()
_ROW: Final = re.compile(r"^\| [^|]+ \| `(\w+)` \| `(\d+)` \| `(\d+)` \| `(\d+)` \| ([^|]+) \|$", re.MULTILINE)


class Row(NamedTuple):
    """A row of the page's first table."""

    variable: str
    default: str
    low: str
    high: str
    beyond: str

    @property
    def field(self) -> str:
        """Name of the setting in the server."""
        return next(field.name for field in fields(Settings) if variable(field.name) == self.variable)


ROWS: Final = [Row(*match) for match in _ROW.findall(PAGE)]
Call = Callable[[InProcess, dict[str, Any]], httpx.Response]


def _parquet(client: InProcess, passenger: dict[str, Any]) -> httpx.Response:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([passenger]), out)
    return client.post_bytes("/api/batch", out.getvalue())


def _arrow(client: InProcess, passenger: dict[str, Any]) -> httpx.Response:
    table = pa.Table.from_pylist([passenger] * 1000)
    with pa.BufferOutputStream() as out:
        with pa.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table)
        return client.post_bytes("/api/batch", out.getvalue().to_pybytes())


BEYOND: Final[dict[str, tuple[int, Call]]] = {
    "max_body_bytes": (100, lambda client, record: client.post("/api/predict", {"records": [record] * 2})),
    "max_rows": (1, lambda client, record: client.post("/api/predict", {"records": [record] * 2})),
    "max_json_depth": (4, lambda client, _: client.post_bytes("/api/predict", b"[" * 5)),
    "max_batches": (0, lambda client, record: client.post_bytes("/api/batch", ",".join(record).encode())),
    "max_explain_rows": (4096, lambda client, record: client.post("/api/explain", {"records": [record] * 2})),
    "max_explanations": (0, lambda client, record: client.post("/api/explain", record)),
    "max_protobuf_json_bytes": (10, lambda client, _: client.post(INFER, {"modelName": "titanic"})),
    "max_record_batch_bytes": (1024, _arrow),
    "max_columns": (0, lambda client, record: client.post_bytes("/api/batch", ",".join([*record, "x"]).encode())),
    "max_spool_bytes": (100, _parquet),
}
"""A setting so low that the request beside it exceeds it."""
ELSEWHERE: Final = {
    "max_held_bytes": "http/test_held_bodies.py::test_bodies_over_the_limit",
    "body_timeout_s": "http/test_held_bodies.py::test_a_body_that_takes_too_long",
    "min_bytes_per_s": "batch/test_batch_pace.py::test_a_file_that_crawls",
    "max_header_bytes": "http/test_limits.py::test_a_head_over_the_limit",
    "max_string_bytes": "http/test_limits.py::test_a_string_over_the_limit",
    "max_queue_rows": "http/test_fast_path.py::test_a_full_queue_is_told_at_once",
    "max_batch_rows": "http/test_load_report.py::test_a_large_request_reports_too",
    "max_idle_s": "batch/test_batch.py::test_a_file_that_stands_still_is_given_up",
    "run_timeout_s": "models/test_hung_models.py::test_a_large_run_that_never_ends",
    "load_timeout_s": "models/test_hung_models.py::test_a_load_that_never_ends",
    "max_model_bytes": "models/test_repository_files.py::test_a_model_over_the_limit",
    "drain_s": "http/test_start.py::test_drain_ends",
}
"""Limits that need a socket or more to exceed, with the test in tests/server for each."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.field)
def test_default_and_range(row: Row) -> None:
    """The default is the server's; the ends of the range are accepted, values outside are rejected."""
    assert str(getattr(Settings(), row.field)) == row.default
    for taken in (row.low, row.high):
        assert getattr(from_environment({row.variable: taken}), row.field) == int(taken)
    for refused in (int(row.low) - 1, int(row.high) + 1):
        with pytest.raises(SettingsError, match=row.variable):
            from_environment({row.variable: str(refused)})


@pytest.mark.parametrize("row", [row for row in ROWS if row.field in BEYOND], ids=lambda row: row.field)
def test_beyond(row: Row, passenger: dict[str, Any]) -> None:
    """A request above the limit gets the documented status, code and Retry-After."""
    status, code = re.match(r"(\d+) `(\w+)`", row.beyond).groups()  # type: ignore[union-attr] # each such row begins so
    small, call = BEYOND[row.field]
    repository = Repository.load(ROOT / "models")
    with InProcess(repository) as client:
        taken = call(client, passenger)
    with InProcess(repository, replace(Settings(), **{row.field: small})) as client:  # type: ignore[arg-type] # a number
        refused = call(client, passenger)
    assert taken.content != refused.content
    assert (refused.status_code, refused.json()["code"]) == (int(status), code)
    assert ("retry-after" in refused.headers) == ("`Retry-After`" in row.beyond)


def test_every_limit_is_told_and_tried() -> None:
    """Each limiting setting is on the page, and a test exceeds it."""
    told = {row.field for row in ROWS}
    assert {field.name for field in fields(Settings) if field.name.startswith("max_")} <= told
    assert told == {*BEYOND, *ELSEWHERE}
    for where in ELSEWHERE.values():
        file, _, test = where.partition("::")
        assert f"def {test}(" in (ROOT / "tests" / "server" / file).read_text()


def test_the_codes_are_the_tables() -> None:
    """Every status on the page has its code from the table of errors."""
    stated = re.findall(r"(\d{3}) `(\w+)`", PAGE)
    assert stated
    late = RequestTimeout("")
    assert (str(late.status), late.code) in stated
    for status, code in stated:
        assert int(status) in {CODES[code].http, late.status if code == late.code else None}


def test_what_no_variable_changes() -> None:
    """The fixed limits on the page are those of the code."""
    assert f"explained | {MAX_EXPLAINED_FEATURES} | 501" in PAGE
    assert f"| {MAX_RECORD_BYTES >> 20} MiB | 413" in PAGE
    assert f"Arrow message | {MAX_METADATA_BYTES >> 20} MiB | 413" in PAGE
    assert f"Arrow or Parquet file | {MAX_ROW_BYTES >> 20} MiB | 413" in PAGE
    assert f"of a file together | {MAX_NAMES_BYTES >> 20} MiB | 413" in PAGE
    assert f"at a time | {BLOCK_CELLS:,} | nothing" in PAGE
    assert f"zstd stream | {2**_MAX_WINDOW_LOG >> 20} MiB | 400" in PAGE
    assert f"| {FREE_FRAMES:,}, or one for each {MIN_FRAME_BYTES} compressed bytes | 413" in PAGE
    assert f"| {_MAX_STREAMS:,} | the connection ends" in PAGE
    assert f"requests that wait to start, over all connections | {_MAX_WAITING:,} |" in PAGE
    assert (
        f"descriptors, {RESERVED_DESCRIPTORS} and what is open at the start apart, and at most | {MAX_CONNECTIONS:,} |"
        in PAGE
    )
    assert f"in gRPC 8 | {MAX_DIGITS} | 400" in PAGE

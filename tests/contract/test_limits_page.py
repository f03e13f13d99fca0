"""The page on limits: variables, defaults and ranges are the server's, and so is the answer beyond."""

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

from server.errors import CODES, SettingsError
from server.http2 import _MAX_STREAMS
from server.manifest import MAX_EXPLAINED_FEATURES
from server.repository import Repository
from server.settings import Settings, from_environment, variable
from server.tables.blocks import MAX_RECORD_BYTES
from server.tables.ipc import MAX_METADATA_BYTES
from server.tables.packing import _MAX_WINDOW_LOG
from tests.server.in_process import InProcess

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "limits.md").read_text()
_ROW: Final = re.compile(r"^\| [^|]+ \| `(\w+)` \| `(\d+)` \| `(\d+)` \| `(\d+)` \| ([^|]+) \|$", re.MULTILINE)


class Row(NamedTuple):
    """A line of the page's first table."""

    variable: str
    default: str
    low: str
    high: str
    beyond: str

    @property
    def field(self) -> str:
        """The setting's name in the server."""
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
    "max_record_batch_bytes": (1024, _arrow),
    "max_spool_bytes": (100, _parquet),
}
"""Settings so small that one call is beyond them."""
ELSEWHERE: Final = {
    "max_header_bytes": "test_limits.py::test_a_head_over_the_limit",
    "max_string_bytes": "test_limits.py::test_a_string_over_the_limit",
    "max_queue_rows": "test_short_way.py::test_a_full_queue_is_told_at_once",
    "max_batch_rows": "test_load.py::test_a_large_request_reports_too",
    "max_idle_s": "test_batch.py::test_a_file_that_stands_still_is_given_up",
    "drain_s": "test_start.py::test_drain_ends",
}
"""What takes a socket or more to go beyond: the tests of tests/server that do."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.field)
def test_default_and_range(row: Row) -> None:
    """The default is the server's; the ends of the range are taken, and what is outside is not."""
    assert str(getattr(Settings(), row.field)) == row.default
    for taken in (row.low, row.high):
        assert getattr(from_environment({row.variable: taken}), row.field) == int(taken)
    for refused in (int(row.low) - 1, int(row.high) + 1):
        with pytest.raises(SettingsError, match=row.variable):
            from_environment({row.variable: str(refused)})


@pytest.mark.parametrize("row", [row for row in ROWS if row.field in BEYOND], ids=lambda row: row.field)
def test_beyond(row: Row, passenger: dict[str, Any]) -> None:
    """A call beyond the limit gets the status and the code that the page tells, with Retry-After where it says so."""
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
    """Each setting that limits something is on the page, and a test goes beyond it."""
    told = {row.field for row in ROWS}
    assert {field.name for field in fields(Settings) if field.name.startswith("max_")} <= told
    assert told == {*BEYOND, *ELSEWHERE}
    for where in ELSEWHERE.values():
        file, _, test = where.partition("::")
        assert f"def {test}(" in (ROOT / "tests" / "server" / file).read_text()


def test_the_codes_are_the_tables() -> None:
    """Every status on the page goes with its code."""
    stated = re.findall(r"(\d{3}) `(\w+)`", PAGE)
    assert stated
    for status, code in stated:
        assert CODES[code].http == int(status)


def test_what_no_variable_changes() -> None:
    """The fixed limits are those of the code."""
    assert f"explained | {MAX_EXPLAINED_FEATURES} | 501" in PAGE
    assert f"| {MAX_RECORD_BYTES >> 20} MiB | 413" in PAGE
    assert f"Arrow message | {MAX_METADATA_BYTES >> 20} MiB | 413" in PAGE
    assert f"zstd stream | {2**_MAX_WINDOW_LOG >> 20} MiB | 400" in PAGE
    assert f"| {_MAX_STREAMS:,} | the connection ends" in PAGE

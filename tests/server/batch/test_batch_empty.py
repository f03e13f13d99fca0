"""Files without rows, or with all rows skipped: 200 with an empty table."""

import io
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.server.support.process import ServerProcess

HEADER: Final = b"pclass,sex,sibsp,parch\n"
WRONG: Final = b'{"pclass":9,"sex":"female","sibsp":0,"parch":0}\n'
MARK: Final = b"\xef\xbb\xbf"
NDJSON: Final = "application/x-ndjson"
ARROW: Final = "application/vnd.apache.arrow.stream"
PARQUET: Final = "application/vnd.apache.parquet"
NO_ROWS: Final = pa.table(
    {
        "pclass": pa.array([], pa.int64()),
        "sex": pa.array([], pa.string()),
        "sibsp": pa.array([], pa.int64()),
        "parch": pa.array([], pa.int64()),
    }
)


def _arrow() -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_stream(out, NO_ROWS.schema):
        pass
    return out.getvalue()


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(NO_ROWS, out)
    return out.getvalue()


EMPTY: Final[dict[str, tuple[bytes, str, str]]] = {
    "CSV without rows": (HEADER, "text/csv", ""),
    "CSV without a line end": (HEADER.strip(), "text/csv", ""),
    "CSV of blank lines": (HEADER + b"\n\r\n\n", "text/csv", ""),
    "CSV, all skipped": (HEADER + b"9,female,0,0\n", "text/csv", "?on_error=skip"),
    "NDJSON of blank lines": (b"\n  \r\n\n", NDJSON, ""),
    "NDJSON of a byte order mark": (MARK, NDJSON, ""),
    "NDJSON, all skipped": (WRONG * 3, NDJSON, "?on_error=skip"),
    "NDJSON that is no JSON, all skipped": (b"{x\n", NDJSON, "?on_error=skip"),
    "Arrow without rows": (_arrow(), ARROW, ""),
    "Parquet without rows": (_parquet(), PARQUET, ""),
}
"""Request body, its media type, and the query."""


def _rows(body: bytes, kind: str) -> int:
    """Return the number of rows of a response, counted by a reader of its format."""
    if kind == "text/csv":
        return body.count(b"\n") - 1
    if kind == NDJSON:
        assert body == b""
        return 0
    if kind == ARROW:
        return int(pa.ipc.open_stream(body).read_all().num_rows)
    return int(pq.read_table(io.BytesIO(body)).num_rows)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve HTTP/1.1 and HTTP/2; yield the URL of the batch endpoint."""
    if shutil.which("curl") is None:
        pytest.skip("curl is missing (Debian: curl)")
    with ServerProcess(LIFEBOAT_HTTP2="1") as process:
        host, port = process.address()
        yield f"http://{host}:{port}/api/batch"


@pytest.mark.parametrize("case", EMPTY)
@pytest.mark.parametrize("kind", ["text/csv", NDJSON, ARROW, PARQUET])
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_a_response_without_rows(url: str, case: str, kind: str, version: str, tmp_path: Path) -> None:
    """Every kind of file without rows gets an empty table, in every format and protocol."""
    body, stated, query = EMPTY[case]
    sent, got = tmp_path / "sent", tmp_path / "got"
    sent.write_bytes(body)
    command = ["curl", "--silent", "--show-error", version, "--upload-file", str(sent), "--output", str(got)]
    headers = ["--header", f"content-type: {stated}", "--header", f"accept: {kind}"]
    shown = ["--write-out", "%{http_code} %{content_type}", url + query]
    ended = subprocess.run([*command, *headers, *shown], capture_output=True, check=True, text=True)
    assert ended.stdout == f"200 {kind}"
    assert _rows(got.read_bytes(), kind) == 0

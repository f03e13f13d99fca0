"""Files that might cost much CPU time for their size: tiny frames, wide tables."""

import gzip
import io
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pyarrow as pa
import pytest
from backports import zstd

from server.codecs.tables.compression import FREE_FRAMES, MIN_FRAME_BYTES
from tests.server.support.files import BATCH, HEADER
from tests.server.support.process import HUNG_S, ServerProcess
from tests.server.support.tables import PASSENGERS

_BYTES: Final = 2_000_000
_ROW: Final = b"1,female,29,0,0,7,S\n"
_EMPTY: Final = zstd.compress(b"")
_SKIPPABLE: Final = struct.pack("<II", 0x184D2A50, 0)
_FEW: Final = zstd.compress(b"\n", options={zstd.CompressionParameter.content_size_flag: 0})
_TIMES: Final = 3
"""Limit of a compressed file's CPU time, relative to plain CSV of equal size.

Without limits on frames it is 9.
"""


def _filled(part: bytes, encoding: str) -> bytes:
    """Return a compressed header and row, and then `part` repeatedly."""
    compress = gzip.compress if encoding == "gzip" else zstd.compress
    return compress(HEADER + _ROW) + part * (_BYTES // len(part))


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """Start a server process of its own, so that its CPU time can be measured."""
    with ServerProcess() as process:
        yield process
        process.signal(signal.SIGTERM)
        assert process.end() == 0


@pytest.fixture(scope="module")
def caller(server: ServerProcess) -> Iterator[httpx.Client]:
    """Yield a client of the server."""
    host, port = server.address()
    with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as client:
        yield client


@pytest.fixture(scope="module")
def plain_ticks(server: ServerProcess, caller: httpx.Client) -> int:
    """Return the CPU time of a CSV file of the same size."""
    caller.post(BATCH, content=HEADER + _ROW)  # the first file imports the libraries
    before = _ticks(server)
    assert caller.post(BATCH, content=HEADER + _ROW * (_BYTES // len(_ROW))).status_code == 200
    return _ticks(server) - before


@pytest.mark.parametrize(
    ("part", "encoding", "status"),
    [
        pytest.param(_EMPTY, "zstd", 413, id="empty zstd frames"),
        pytest.param(_SKIPPABLE, "zstd", 413, id="skippable zstd frames"),
        pytest.param(_EMPTY + _SKIPPABLE, "zstd", 413, id="both in turn"),
        pytest.param(_FEW, "zstd", 413, id="zstd frames of a byte"),
        pytest.param(gzip.compress(b""), "gzip", 200, id="empty gzip members"),
        pytest.param(gzip.compress(b"\n"), "gzip", 200, id="gzip members of a byte"),
    ],
)
@pytest.mark.parametrize("stated", [True, False], ids=["stated", "found out"])
def test_many_small_frames(
    server: ServerProcess,
    caller: httpx.Client,
    plain_ticks: int,
    part: bytes,
    encoding: str,
    status: int,
    stated: bool,
) -> None:
    """Empty or tiny frames are rejected, or read at the cost of plain text."""
    headers = {"content-encoding": encoding} if stated else {}
    body = _filled(part, encoding)
    before = _ticks(server)
    response = caller.post(f"{BATCH}?on_error=skip", content=body, headers=headers)
    assert _ticks(server) - before <= _TIMES * plain_ticks
    assert response.status_code == status
    if status == 413:
        assert response.json()["code"] == "payload_too_large"
        assert response.json()["error"].startswith(f"body: expected at most {FREE_FRAMES} zstd frames")


@pytest.mark.parametrize("between", [b"", struct.pack("<III", 0x184D2A50, 4, 0)], ids=["bare", "as pzstd writes them"])
def test_frames_of_many_rows(caller: httpx.Client, between: bytes) -> None:
    """A file with many frames is scored if each frame holds some rows."""
    rows = b"".join(b"%d,female,%d,%d,0,%d.25,S\n" % (n % 3 + 1, n * 7 % 80, n % 5, n * 3571 % 500) for n in range(12))
    frame = zstd.compress(rows)
    assert len(frame + between) > 2 * MIN_FRAME_BYTES
    body = zstd.compress(HEADER) + (between + frame) * (FREE_FRAMES + 2_000)
    response = caller.post(f"{BATCH}?columns=none", content=body, headers={"content-encoding": "zstd"})
    assert response.status_code == 200
    assert response.text.count("\n") == 1 + 12 * (FREE_FRAMES + 2_000)


def test_a_small_frame_for_each_row(caller: httpx.Client) -> None:
    """A file with one frame for each row is scored up to the limit."""
    body = zstd.compress(HEADER) + zstd.compress(_ROW) * (FREE_FRAMES - 1)
    assert caller.post(BATCH, content=body).status_code == 200


def test_record_batches_without_rows(server: ServerProcess, caller: httpx.Client, plain_ticks: int) -> None:
    """An Arrow stream of empty record batches costs no more than plain text."""
    table = pa.table(PASSENGERS)
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
        while out.tell() < _BYTES:
            writer.write_batch(pa.RecordBatch.from_pylist([], schema=table.schema))
    before = _ticks(server)
    response = caller.post(BATCH, content=out.getvalue())
    assert _ticks(server) - before <= _TIMES * plain_ticks
    assert response.status_code == 200


@pytest.mark.alone
@pytest.mark.parametrize("query", ["?on_error=null", "?on_error=null&decimal=,&delimiter=;"], ids=["points", "commas"])
def test_wide_files(server: ServerProcess, caller: httpx.Client, query: str) -> None:
    """The CPU time grows about linearly with the columns, even for invalid rows."""
    caller.post(BATCH, content=HEADER + _ROW)

    def taken(columns: int, times: int) -> int:
        names = [HEADER.strip().decode(), *(f"c{n}" for n in range(columns))]
        body = ",".join(names).replace(",", ";" if "decimal" in query else ",").encode() + b"\n" + b"1\n" * 40
        before = _ticks(server)
        for _ in range(times):
            assert caller.post(BATCH + query, content=body).status_code == 200
        return _ticks(server) - before

    taken(1_000, 1)
    wide, narrow = (min(taken(*each) for _ in range(3)) for each in ((4_000, 1), (1_000, 4)))  # others share the cache
    assert wide < 2 * narrow + 20


def _ticks(server: ServerProcess) -> int:
    """Return the server's CPU time, in the kernel's ticks of 10 ms."""
    user, system = Path(f"/proc/{server.pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
    return int(user) + int(system)

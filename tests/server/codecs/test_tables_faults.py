"""A real server rejects files with every kind of fault, and continues to serve."""

import gzip
import itertools
import json
import re
import signal
import struct
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pyarrow as pa
import pytest

from server.codecs.tables.media_types import ARROW, CSV, FILE_FORMATS, NDJSON, FileFormat
from tests.server.support.bad_files import FAULTS, stream
from tests.server.support.files import BATCH, HEADER, upload
from tests.server.support.process import HUNG_S, ServerProcess
from tests.server.support.tables import PASSENGERS, write

_MOST: Final = 12
"""Number of files sent for each kind of fault.

Some of the files need a reader process each.
"""
_LEAKED: Final = 8 * 2**20
"""Maximum growth of the server in bytes after 300 rejected files."""
_PENDING: Final = re.compile(r"^nv_inference_pending_request_count\{.*\} 1", re.MULTILINE)
_SOUND: Final = b"pclass,sex,sibsp,parch\n1,female,0,0\n"
ROWS: Final = 4096


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """Start a server that scores one file at a time."""
    with ServerProcess(LIFEBOAT_MAX_BATCHES="1", LIFEBOAT_LOG_FORMAT="json", RUST_BACKTRACE="1") as process:
        yield process
        process.signal(signal.SIGTERM)
        assert process.end() == 0
        assert all(line.startswith("{") for line in process.log), "a library wrote to standard error"
        assert "internal error" not in process.text


@pytest.fixture(scope="module")
def caller(server: ServerProcess) -> Iterator[httpx.Client]:
    """Yield a client of the server."""
    host, port = server.address()
    with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as client:
        yield client


def _sent(client: httpx.Client, body: bytes, query: str = "", **headers: str) -> int:
    """Return the status of a file's response, 0 if aborted.

    Sends the file again on 429.
    """
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    while True:
        try:
            status = client.post(BATCH + query, content=body, headers=named).status_code
        except httpx.RemoteProtocolError:
            return 0
        if status != 429:
            return status


@pytest.mark.parametrize("kind", FAULTS)
def test_faults(server: ServerProcess, caller: httpx.Client, kind: str) -> None:
    """A fault of an Arrow or Parquet file is at most a client error.

    The next file is scored.
    """
    bodies = list(FAULTS[kind]())
    accepted = itertools.cycle(file_format.media_type for file_format in FILE_FORMATS)
    for body in bodies[:: max(1, len(bodies) // _MOST)]:
        assert _sent(caller, body, "?on_error=null", accept=next(accepted)) in {0, 200, 400, 413}
    assert _sent(caller, _SOUND) == 200
    assert Path(f"/proc/{server.pid}").exists()


def _often(values: Any, rows: int = ROWS) -> dict[str, Any]:  # noqa: ANN401 # a pyarrow array
    return {"x": pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), values)}


def _lists(offset: int, values: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"x": pa.ListArray.from_arrays(pa.array([0] + [offset] * ROWS, pa.int32()), values)}


BOMBS: Final[dict[str, dict[str, Any]]] = {
    "codes of lists": _often(pa.array([[1] * 1_000_000])),
    "codes of structures": _often(pa.array([{"a": "y" * 1_000_000}])),
    "codes in many columns": {
        f"x{n}": column for n in range(200) for column in _often(pa.array(["y" * 100_000])).values()
    },
    "runs of long strings": {
        "x": pa.RunEndEncodedArray.from_arrays(pa.array([ROWS], pa.int32()), pa.array(["y" * 1_000_000]))
    },
    "lists of codes": _lists(2**22, _often(pa.array([1]), 2**22)["x"]),
    "lists of nulls": _lists(2**31 - 1, pa.nulls(2**31 - 1)),
    "lists of empty structures": _lists(2**30, pa.Array.from_buffers(pa.struct([]), 2**30, [None], children=[])),
    "one long string": {"x": pa.array(["y" * 100_000_000] + [""] * (ROWS - 1))},
}


@pytest.mark.parametrize("kind", BOMBS)
def test_small_files_that_grow(server: ServerProcess, caller: httpx.Client, kind: str) -> None:
    """A small Arrow file that expands to gigabytes is rejected in bounded memory."""
    columns = {name: values * (ROWS // 4) for name, values in PASSENGERS.items()} | BOMBS[kind]
    body = stream(pa.table(columns), "zstd")
    assert len(body) < 300_000
    _sent(caller, _SOUND)
    _forget_peak(server)
    before = _kb(server, "VmRSS")
    for file_format in (NDJSON, ARROW):
        assert _sent(caller, body, accept=file_format.media_type) == 413
    assert _kb(server, "VmHWM") - before < 200 * 1024


def _wide(file_format: FileFormat, columns: int) -> bytes:
    names = [f"c{n}" for n in range(columns)]
    if file_format is CSV:
        return HEADER.strip() + b"," + ",".join(names).encode() + b"\n" + b"1\n" * 2048
    if file_format is NDJSON:
        record = {name: values[0] for name, values in PASSENGERS.items()}
        fields = (dict.fromkeys(some, 1) for some in zip(*[iter(names)] * 10, strict=True))
        return b"".join(json.dumps(record | each).encode() + b"\n" for each in fields)
    return write(pa.table(PASSENGERS | dict.fromkeys(names, [1] * 4)), file_format)


@pytest.mark.parametrize("file_format", FILE_FORMATS, ids=lambda file_format: file_format.name)
def test_too_many_columns(caller: httpx.Client, file_format: FileFormat) -> None:
    """A file with too many columns is rejected by its header or first lines."""
    body = gzip.compress(_wide(file_format, 4_100)) if file_format is CSV else _wide(file_format, 4_100)
    wanted = {"accept": CSV.media_type, "content-type": file_format.media_type}
    rejected = caller.post(f"{BATCH}?on_error=null", content=body, headers=wanted)
    assert rejected.status_code == 413
    assert rejected.json()["error"].startswith("columns: expected at most 4103")


@pytest.mark.parametrize("wanted", FILE_FORMATS, ids=lambda file_format: file_format.name)
@pytest.mark.parametrize("file_format", FILE_FORMATS, ids=lambda file_format: file_format.name)
def test_many_columns_pass(caller: httpx.Client, file_format: FileFormat, wanted: FileFormat) -> None:
    """A file of a thousand columns is scored, from every format to every format."""
    headers = {"accept": wanted.media_type, "content-type": file_format.media_type}
    scored = caller.post(f"{BATCH}?on_error=skip", content=_wide(file_format, 1_000), headers=headers)
    assert scored.status_code == 200
    assert b"c999" in scored.content or (file_format, wanted) == (CSV, NDJSON)  # no row of that file is valid


def _wrong_rows() -> dict[str, bytes]:
    table = pa.table(PASSENGERS | {"pclass": [9] * 4})
    coded = table.append_column("x", pa.array(["a", "b", "a", "b"]).dictionary_encode())
    return {file_format.name: write(table, file_format) for file_format in FILE_FORMATS} | {
        "arrow of codes": write(coded, ARROW)
    }


@pytest.mark.parametrize(("kind", "times"), [("csv", 300), ("ndjson", 300), ("arrow", 300), ("parquet", 40)])
def test_rejected_files_leave_nothing(server: ServerProcess, caller: httpx.Client, kind: str, times: int) -> None:
    """Rejected files leave no memory behind."""
    body = _wrong_rows()[kind]
    for _ in range(20):
        assert _sent(caller, body) == 400
    before = _kb(server, "VmRSS")
    for _ in range(times):
        assert _sent(caller, body) == 400
    assert (_kb(server, "VmRSS") - before) * 1024 < _LEAKED * times // 300 + 2**21


_ENOUGH: Final = {"no room": 100_000}
"""Rows read at most after the client disconnected; without an entry 10,000,000."""


def _long_member() -> bytes:
    """Return 10,000 invalid lines in a gzip member of 10,000 bytes.

    An extra field pads the member.
    """
    member = gzip.compress(b"{}\n" * 10_000)
    return member[:3] + b"\x04" + member[4:10] + struct.pack("<H", 9_940) + bytes(9_940) + member[10:]


def _endless() -> Iterator[tuple[str, bytes, str]]:
    codes = pa.array(["a" * 100_000]).dictionary_encode().take(pa.array([0] * ROWS))
    table = pa.table({name: values * (ROWS // 4) for name, values in PASSENGERS.items()} | {"x": codes})
    wide = HEADER.strip() + b"," + b",".join(b"c%d" % n for n in range(4_000)) + b"\n" + b"1\n" * 100_000
    yield "csv", gzip.compress(wide), "?on_error=null"
    # # The server works on a quarter of a megabyte, at least 200,000 rows, before it reads on and sees the
    # disconnect.
    yield "no room", _long_member() * 100, "?on_error=skip"
    yield "ndjson", gzip.compress(b"{}\n" * 50_000_000, 1), "?on_error=skip"
    yield (
        "arrow",
        stream(pa.table(dict.fromkeys(("pclass", "sex", "sibsp", "parch"), pa.nulls(10**8)))),
        "?on_error=skip",
    )
    yield "arrow of codes", stream(table, "zstd"), ""


@pytest.mark.parametrize(("kind", "body", "query"), list(_endless()), ids=lambda each: each if len(each) < 20 else "")
def test_a_client_that_leaves_gives_its_place_back(
    server: ServerProcess, caller: httpx.Client, kind: str, body: bytes, query: str
) -> None:
    """The work on a file stops soon after its client disconnects."""
    request_id = uuid.uuid4().hex
    with upload(caller, f"x-request-id: {request_id}", path=BATCH + query) as left:
        left.send(body)  # the end of the body never comes: only the disconnect ends the file
        while not _PENDING.search(caller.get("/metrics").text):
            pass  # the file has no place yet
    assert _sent(caller, _SOUND) == 200
    while not (failed := [line for line in server.log if "batch failed" in line and request_id in line]):
        time.sleep(0.01)  # the log is read in a thread
    assert "(canceled: " in failed[0]
    assert int(failed[0].partition("version 1: ")[2].split()[0]) < _ENOUGH.get(kind, 10**7)


@pytest.mark.parametrize(
    ("behind", "status"),
    [(b"", 200), (bytes(1), 200), (bytes(200_000), 200), (gzip.compress(b""), 200), (b"x", 400), (b"\0\0x", 400)],
    ids=["nothing", "a zero", "zeros", "a member", "a byte", "a byte behind zeros"],
)
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_what_stands_behind_gzip(caller: httpx.Client, behind: bytes, status: int, encoding: str) -> None:
    """Zeros after a gzip stream are ignored; other bytes are an error.

    Archives and tapes add zeros.
    """
    assert _sent(caller, gzip.compress(_SOUND) + behind, content_encoding=encoding) == status


def _kb(server: ServerProcess, name: str) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name))


def _forget_peak(server: ServerProcess) -> None:
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")

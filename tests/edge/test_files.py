"""Tests of files through the Worker: streaming in both directions, failures, compression, disconnects and sleep."""

import gzip
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd

from tests.edge import behaviour
from tests.edge.conftest import SLEEP_AFTER_S
from tests.edge.stack import ROOT, Local
from tests.server.support import files
from tests.server.support.files import BATCH, HEADER, Record, upload
from tests.server.support.process import connect

WRONG: Final = b"1,female,29,0,0,7,X\n"
WORDS: Final = 'row {row}: embarked: expected one of "C", "Q", "S" or null; got "X"'
ROWS: Final = 100_000
"""Rows of a file larger than all the buffers between client and server."""
COUNTS: Final = {"rows-read": 3, "rows-scored": 2, "rows-failed": 1}


def _curl(*options: str) -> subprocess.CompletedProcess[bytes]:
    """Run curl, which sends and receives at the same time."""
    if shutil.which("curl") is None:
        pytest.skip("curl is missing (Debian: curl)")
    return subprocess.run(["curl", "--silent", "--show-error", *options], capture_output=True, check=False)


def _url(client: httpx.Client) -> str:
    return str(client.base_url.join(BATCH))


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    "path",
    [BATCH, *(f"/api/models/titanic{which}/batch" for which in ("", "/versions/1", "/labels/stable"))],
)
def test_a_file_is_scored(local: Local, passengers: list[Record], method: str, path: str) -> None:
    """By any method and path, a file is scored with onnxruntime's own outputs, bit for bit."""
    response = local.edge.http.request(method, path, content=files.csv(passengers))
    assert (response.status_code, response.headers["content-type"]) == (200, "text/csv")
    assert (response.headers["lifeboat-model"], response.headers["lifeboat-version"]) == ("titanic", "1")
    files.check(response.content, passengers)


def test_a_response_of_no_bytes(local: Local) -> None:
    """NDJSON whose rows are all skipped gets 200 with an empty body."""
    wrong = b'{"pclass":9,"sex":"female","sibsp":0,"parch":0}\n'
    response = local.edge.http.put(f"{BATCH}?on_error=skip", content=wrong)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson")
    assert response.content == b""


@pytest.mark.parametrize(
    ("encoding", "unpacker"),
    [
        ("identity", lambda: bytes),
        ("gzip", lambda: _gunzip().decompress),
        ("zstd", lambda: zstd.ZstdDecompressor().decompress),
    ],
)
def test_scored_rows_come_while_the_file_is_sent(
    local: Local, passengers: list[Record], encoding: str, unpacker: Callable[[], Callable[[bytes], bytes]]
) -> None:
    """Each scored row arrives before the client sends the next row, also compressed."""
    unpack = unpacker()
    with upload(local.edge.http, f"accept-encoding: {encoding}") as sent:
        sent.send(HEADER + files.line(passengers[0]))
        status, headers = sent.head()
        assert (status, headers.get("content-encoding", "identity")) == (200, encoding)
        scored = b""
        for row, passenger in enumerate(passengers[1:4], 1):
            while scored.count(b"\n") < 1 + row:
                scored += unpack(sent.piece() or b"")
            assert scored.count(b"\n") == 1 + row
            sent.send(files.line(passenger))
        sent.end()
        rest, trailers = sent.rest()
    files.check(scored + unpack(rest), passengers[:4])
    assert trailers == {}


def _gunzip() -> Any:  # noqa: ANN401 # zlib has no public name for it
    import zlib

    return zlib.decompressobj(31)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing (Debian: curl)")
def test_a_large_file_loses_no_row(
    local: Local, server: httpx.Client, passengers: list[Record], tmp_path: Path
) -> None:
    """A file of 50 MB comes back as scored, while the runtime holds little of it."""
    file = behaviour.large_file(tmp_path, passengers)
    scored = tmp_path / "scored.csv"
    behaviour.a_large_file_takes_no_memory(local.edge, file, scored)
    done = _curl("--fail", "--upload-file", str(file), _url(server))
    assert done.returncode == 0, done.stderr
    assert scored.read_bytes() == done.stdout


def test_who_reads_when_all_is_sent(local: Local, passengers: list[Record]) -> None:
    """A client that reads nothing until it has sent its file gets the whole response."""
    response = local.edge.http.put(BATCH, content=files.csv(passengers, 2 * ROWS))
    assert response.status_code == 200
    assert response.content.count(b"\n") == 2 * ROWS + 1


@pytest.mark.parametrize("size", ["content-length", "chunked"])
def test_expect_100_continue(local: Local, passengers: list[Record], tmp_path: Path, size: str) -> None:
    """`Expect: 100-continue` from curl gets 100, and its file is scored."""
    file = tmp_path / "passengers.csv"
    file.write_bytes(files.csv(passengers))
    chunked = ["--header", "transfer-encoding: chunked"] if size == "chunked" else []
    expect = ["--header", "expect: 100-continue", "--expect100-timeout", "60"]
    done = _curl("--include", *chunked, *expect, "--upload-file", str(file), _url(local.edge.http))
    interim, _, rest = done.stdout.partition(b"\r\n\r\n")
    head, _, text = rest.partition(b"\r\n\r\n")
    assert interim.startswith(b"HTTP/1.1 100 ")
    assert head.startswith(b"HTTP/1.1 200 ")
    files.check(text, passengers)


@pytest.mark.parametrize(
    ("form", "end"),
    [
        ("text/csv", "# error: {words}"),
        ("application/x-ndjson", '{{"error":{quoted},"code":"invalid_argument","field":"embarked"}}'),
    ],
)
def test_a_stream_that_fails_is_broken_off(
    local: Local, passengers: list[Record], tmp_path: Path, form: str, end: str
) -> None:
    """A wrong value in a late row ends the response with the reason and a transport error."""
    file = tmp_path / "wrong.csv"
    file.write_bytes(files.csv(passengers, ROWS) + WRONG)
    words = WORDS.format(row=ROWS + 1)
    last = f"\n{end.format(words=words, quoted=json.dumps(words))}\n".encode()
    for _ in range(4):  # four times: the runtime drops the end of a response only now and then
        done = _curl("--header", f"accept: {form}", "--upload-file", str(file), _url(local.edge.http))
        assert done.returncode == 18, done.stderr
        assert done.stdout.endswith(last)
    with pytest.raises(httpx.RemoteProtocolError):
        local.edge.http.put(BATCH, content=file.read_bytes(), headers={"accept": form})
    assert local.edge.http.put(BATCH, content=files.csv(passengers[:1])).status_code == 200


@pytest.mark.parametrize("form", ["application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_binary_stream_that_fails_is_broken_off(
    local: Local, passengers: list[Record], form: str, encoding: str
) -> None:
    """A failed Arrow, Parquet or compressed response ends as a transport error."""
    headers = {"accept": form, "accept-encoding": encoding}
    with pytest.raises(httpx.RemoteProtocolError):
        local.edge.http.put(BATCH, content=files.csv(passengers, 4 * ROWS) + WRONG, headers=headers)


def test_a_wrong_row_at_the_start_is_a_refusal(local: Local, passengers: list[Record]) -> None:
    """An error found before the response starts is the error envelope with its status."""
    response = local.edge.http.put(BATCH, content=files.csv(passengers[:2]) + WRONG)
    assert (response.status_code, response.json()["error"]) == (400, WORDS.format(row=3))


def test_a_death_under_a_file_breaks_it_off(local: Local, passengers: list[Record]) -> None:
    """A container killed during a file cuts off the response; the next file is scored."""
    local.edge.answered()
    with upload(local.edge.http) as sent:
        sent.send(files.csv(passengers))
        assert sent.head()[0] == 200
        assert sent.piece()
        local.engine.kill(signal.SIGKILL)
        assert sent.rest()[1] is None
    assert local.edge.answered().status_code == 200
    assert local.edge.http.put(BATCH, content=files.csv(passengers[:1])).status_code == 200


@pytest.mark.parametrize("form", ["csv", "ndjson", "arrow", "parquet"])
def test_the_counts_arrive(local: Local, passengers: list[Record], form: str) -> None:
    """Without trailers, the counts arrive in the last record or the metadata of every format."""
    types = {"csv": "text/csv", "ndjson": "application/x-ndjson"}
    headers = {"accept": types.get(form, f"application/vnd.apache.{form}" + ".stream" * (form == "arrow"))}
    body = files.csv(passengers[:2]) + WRONG
    response = local.edge.http.put(f"{BATCH}?on_error=skip&summary=last", content=body, headers=headers)
    assert response.headers["content-type"] == headers["accept"]
    assert "trailer" not in response.headers
    assert _counts(form, response.content) == COUNTS


def _counts(form: str, content: bytes) -> dict[str, int]:
    if form == "csv":
        last = content.decode().splitlines()[-1].removeprefix("# ")
        return {name: int(number) for name, number in (pair.split("=") for pair in last.split(", "))}
    if form == "ndjson":
        return dict(json.loads(content.splitlines()[-1])["summary"])
    if form == "parquet":
        notes: Any = pq.read_metadata(io.BytesIO(content)).metadata
    else:
        notes = [each.custom_metadata for each in _batches(content)][-1]
    return {name: int(notes[f"lifeboat.{name}".encode()]) for name in COUNTS}


def _batches(content: bytes) -> Iterator[Any]:
    with pa.ipc.open_stream(content) as reader:
        yield from reader.iter_batches_with_custom_metadata()


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_packed_both_ways(local: Local, passengers: list[Record], encoding: str) -> None:
    """A compressed body and a compressed response pass unchanged, with `Content-Encoding`."""
    pack, unpack = (gzip.compress, gzip.decompress) if encoding == "gzip" else (zstd.compress, zstd.decompress)
    headers = {"content-encoding": encoding, "accept-encoding": encoding}
    body = pack(files.csv(passengers))
    with local.edge.http.stream("PUT", BATCH, content=body, headers=headers) as response:
        assert response.headers["content-encoding"] == encoding
        files.check(unpack(b"".join(response.iter_raw())), passengers)


@pytest.mark.parametrize("accepted", [None, "identity", "br"])
def test_no_answer_is_packed_unasked(local: Local, passengers: list[Record], accepted: str | None) -> None:
    """A client that accepts neither gzip nor zstd gets an uncompressed response."""
    headers = [] if accepted is None else [f"accept-encoding: {accepted}"]
    with upload(local.edge.http, *headers) as sent:
        sent.send(files.csv(passengers))
        sent.end()
        assert "content-encoding" not in sent.head()[1]
        files.check(sent.rest()[0], passengers)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_caller_who_leaves_stops_the_work(local: Local, passengers: list[Record], share: float) -> None:
    """A client that disconnects during a file or its response stops the container's work."""
    local.edge.answered()
    mark = len(local.engine.log.lines)
    body = files.csv(passengers, 10 * ROWS)
    head = f"PUT {BATCH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with connect(local.edge.http) as caller:
        caller.sendall(head + body[: int(len(body) * share)])
        assert caller.recv(64).startswith(b"HTTP/1.1 200 ")
    said = local.engine.log.wait_for(r"batch failed \(canceled: the client disconn.*: (\d+) rows read", after=mark)
    assert int(said[1]) < 10 * ROWS * share


def test_a_slow_file_keeps_its_instance_awake(sleepy: Local, passengers: list[Record]) -> None:
    """A file that takes longer than the sleep time is scored by the instance that began it."""
    sleepy.edge.answered()
    before = sleepy.engine.running()
    with upload(sleepy.edge.http) as sent:
        sent.send(files.csv(passengers[:1]))
        assert sent.head()[0] == 200
        began = time.monotonic()
        rows = 1
        while time.monotonic() - began < 3 * SLEEP_AFTER_S:
            sent.send(files.line(passengers[rows]))
            rows += 1
            time.sleep(SLEEP_AFTER_S / 2)  # the slow upload is the condition under test
        sent.end()
        text, trailers = sent.rest()
    assert trailers is not None
    files.check(text, passengers[:rows])
    assert sleepy.edge.predict().status_code == 200  # no stop signal, which would also let the file end
    assert sleepy.engine.running() == before


def test_who_left_keeps_no_instance_awake(sleepy: Local, passengers: list[Record]) -> None:
    """An instance whose last clients disconnected during a file goes to sleep."""
    sleepy.edge.answered()
    (server,) = [each for each in sleepy.engine.servers() if each["State"]["Running"]]
    with upload(sleepy.edge.http) as sent, upload(sleepy.edge.http) as other:
        sent.send(files.csv(passengers[:1]))
        assert sent.head()[0] == 200
        other.send(HEADER[:9])
        sleepy.edge.predict()
    assert sleepy.engine.ended(server["Name"]) == 0


def test_score_sends_parts(local: Local, passengers: list[Record], tmp_path: Path) -> None:
    """`python -m server score --url` sends a file in parts and writes one file with all rows."""
    local.edge.answered()
    source, scored = tmp_path / "large.csv", tmp_path / "scored.csv"
    source.write_bytes(files.csv(passengers))
    command = [sys.executable, "-W", "error", "-m", "server", "score", str(source), str(scored), "--quiet"]
    options = ["--url", str(local.edge.http.base_url), "--part-rows", "500"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    files.check(scored.read_bytes(), passengers)

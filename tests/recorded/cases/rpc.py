"""Cases for Connect (unary, GET and streams) and gRPC-Web over HTTP/1.1."""

import base64
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote

from tests.recorded.cases.calls import BATCH, HEALTH, INFERENCE, JSON, PREDICT, PROTO, STREAM, STREAMS
from tests.recorded.exchange import Case
from tests.recorded.http1 import Fields, Http1, request
from tests.recorded.inputs import LEAST, RECORD, deflated, encoded, gzipped, record, records, typed_record
from tests.recorded.messages import enveloped

_CONNECT: Final[Mapping[str, Fields]] = {
    "a version": [("connect-protocol-version", "1")],
    "a wrong version": [("connect-protocol-version", "2")],
    "a timeout": [("connect-timeout-ms", "60000")],
    "a timeout of 0": [("connect-timeout-ms", "0")],
    "a timeout of 11 digits": [("connect-timeout-ms", "9" * 11)],
    "a timeout in words": [("connect-timeout-ms", "soon")],
    "an unknown encoding": [("content-encoding", "br")],
    "gzip stated of text": [("content-encoding", "gzip")],
    "accept-encoding": [("accept-encoding", "gzip")],
    "a report": [("x-lifeboat-report", "1")],
    "a charset": [("content-type", "application/json; charset=utf-8")],
    "an unknown type": [("content-type", "text/plain")],
    "no type": [("content-type", "")],
    "grpc over HTTP/1.1": [("content-type", "application/grpc")],
}
_QUERIES: Final = (
    f"connect=v1&encoding=json&message={quote(record())}",
    f"encoding=json&message={quote(record())}",
    f"connect=v1&encoding=json&message={quote(record(sex='x'))}",
    f"connect=v1&encoding=proto&base64=1&message={base64.urlsafe_b64encode(typed_record()).decode()}",
    f"connect=v1&encoding=proto&base64=1&message={base64.urlsafe_b64encode(typed_record(LEAST)).decode().rstrip('=')}",
    f"connect=v1&encoding=json&base64=1&compression=gzip&message={quote(base64.urlsafe_b64encode(gzipped(record())))}",
    f"connect=v1&encoding=json&compression=br&message={quote(record())}",
    f"connect=v2&encoding=json&message={quote(record())}",
    "connect=v1&encoding=json&message=",
    "connect=v1&encoding=json",
    "connect=v1&encoding=xml&message={}",
    "connect=v1&encoding=json&base64=1&message=***",
    "connect=v1&encoding=json&message={",
    "",
)


def cases() -> Iterator[Case]:
    """Yield the cases."""
    for name, (path, body) in PROTO.items():
        yield _call(f"connect proto: {name}", "connect", path, body, "application/proto")
        yield _call(f"grpc-web: {name}", "grpc-web", path, enveloped(body), "application/grpc-web+proto")
    for name, (path, body) in JSON.items():
        yield _call(f"connect json: {name}", "connect", path, body, "application/json")
        if "Statistics" not in name:  # the length of its numbers varies
            yield _call(f"grpc-web json: {name}", "grpc-web", path, enveloped(body), "application/grpc-web+json")
    for name, fields in _CONNECT.items():
        given = [*fields] if "content-type" in dict(fields) else [("content-type", "application/json"), *fields]
        yield Http1(f"connect with {name}", "connect", (request("POST", PREDICT, record(), given),))
    yield from _compressed()
    yield from _gets()
    yield from _streams()
    yield from _web()


def _call(name: str, interface: str, path: str, body: bytes, media_type: str, fields: Fields = ()) -> Http1:
    return Http1(name, interface, (request("POST", path, body, [("content-type", media_type), *fields]),))


def _compressed() -> Iterator[Case]:
    large = encoded({"records": records(40)})
    for name, (encoding, body) in {
        "gzip": ("gzip", gzipped(large)),
        "deflate": ("deflate", deflated(large)),
        "half of gzip": ("gzip", gzipped(large)[:50]),
        "identity": ("identity", large),
    }.items():
        fields = [("content-encoding", encoding), ("accept-encoding", "gzip")]
        yield _call(f"connect {name} both ways", "connect", BATCH, body, "application/json", fields)


def _gets() -> Iterator[Case]:
    for query in _QUERIES:
        yield Http1(f"connect GET {query}", "connect", (request("GET", f"{PREDICT}?{query}"),))
    for name, (path, body) in JSON.items():
        target = f"{path}?connect=v1&encoding=json&message={quote(body)}"
        yield Http1(f"connect GET: {name}", "connect", (request("GET", target),))
    query = _QUERIES[0]
    for fields in ([("if-none-match", "*")], [("if-none-match", '"x"')], [("accept-encoding", "gzip")]):
        yield Http1(f"connect GET with {fields}", "connect", (request("GET", f"{PREDICT}?{query}", fields=fields),))
    yield Http1("connect HEAD", "connect", (request("HEAD", f"{PREDICT}?{query}"),))
    other = "connect=v1&encoding=json&message=%7B%7D"
    for path in (f"{HEALTH}/Check", f"{INFERENCE}/ServerMetadata", f"{INFERENCE}/RepositoryModelLoad", STREAM):
        yield Http1(f"connect GET {path}", "connect", (request("GET", f"{path}?{other}"),))


def _streams() -> Iterator[Case]:
    for name, (path, messages) in STREAMS.items():
        body = b"".join(enveloped(each) for each in messages)
        yield _call(f"connect stream: {name}", "connect", path, body, "application/connect+proto")
        yield _call(f"grpc-web stream: {name}", "grpc-web", path, body, "application/grpc-web")
    body = enveloped(encoded({"records": [RECORD, {**RECORD, "sex": "male"}]}))
    media_type = "application/connect+json"
    variants: Mapping[str, tuple[bytes, Fields]] = {
        "JSON": (body, ()),
        "a wrong version": (body, [("connect-protocol-version", "x")]),
        "a timeout of 0": (body, [("connect-timeout-ms", "0")]),
        "gzip": (enveloped(gzipped(body[5:]), 1), [("connect-content-encoding", "gzip")]),
        "gzip not stated": (enveloped(gzipped(body[5:]), 1), ()),
        "an unknown encoding": (body, [("connect-content-encoding", "br")]),
        "accept gzip": (body, [("connect-accept-encoding", "gzip")]),
        "half an envelope": (body[:30], ()),
        "half a head": (body[:3], ()),
        "unknown flags": (enveloped(body[5:], 0x10), ()),
        "no envelope": (body[5:], ()),
    }
    for name, (content, fields) in variants.items():
        yield _call(f"connect stream with {name}", "connect", STREAM, content, media_type, fields)
    yield _call("connect stream as unary", "connect", STREAM, record(), "application/json")
    yield _call("connect unary as stream", "connect", PREDICT, body, media_type)


def _web() -> Iterator[Case]:
    body = enveloped(typed_record())
    text = base64.b64encode(body)
    variants: Mapping[str, tuple[bytes, str, Fields]] = {
        "text": (text, "application/grpc-web-text", ()),
        "text+proto": (text, "application/grpc-web-text+proto", ()),
        "text that is no base64": (b"****", "application/grpc-web-text", ()),
        "text that is cut": (text[:-1], "application/grpc-web-text", ()),
        "an unknown codec": (body, "application/grpc-web+thrift", ()),
        "a timeout": (body, "application/grpc-web", [("grpc-timeout", "1M")]),
        "a timeout of 0": (body, "application/grpc-web", [("grpc-timeout", "0n")]),
        "a wrong timeout": (body, "application/grpc-web", [("grpc-timeout", "1x")]),
        "gzip": (enveloped(gzipped(typed_record()), 1), "application/grpc-web", [("grpc-encoding", "gzip")]),
        "an unknown encoding": (body, "application/grpc-web", [("grpc-encoding", "br")]),
        "two messages": (body * 2, "application/grpc-web", ()),
        "no message": (b"", "application/grpc-web", ()),
        "half a message": (body[:9], "application/grpc-web", ()),
        "no envelope": (typed_record(), "application/grpc-web", ()),
        "accept gzip": (body, "application/grpc-web", [("grpc-accept-encoding", "gzip")]),
    }
    for name, (content, media_type, fields) in variants.items():
        yield _call(f"grpc-web with {name}", "grpc-web", PREDICT, content, media_type, fields)

"""Cases for requests that exceed the limits of the settings, on every interface."""

from collections.abc import Iterator, Mapping
from typing import Final

from tests.recorded import inputs
from tests.recorded.cases.calls import BATCH, INFER, PREDICT, STREAM
from tests.recorded.exchange import Case
from tests.recorded.http1 import Fields, Http1, chunked, request
from tests.recorded.http2 import Http2
from tests.recorded.inputs import CSV, QUERY, encoded, gzipped, infer, record, records, typed_record
from tests.recorded.messages import enveloped, message

_LARGE: Final = record(embarked="S" * 5000)
_CHUNKED: Final = [("transfer-encoding", "chunked")]
_SMALL: Final[Mapping[str, tuple[str, str, bytes | None, Fields]]] = {
    "one record": ("POST", "/api/predict", record(), ()),
    "a large body": ("POST", "/api/predict", _LARGE, ()),
    "a large body in chunks": ("POST", "/api/predict", chunked(_LARGE), _CHUNKED),
    "a large body in gzip": ("POST", "/api/predict", gzipped(_LARGE), [("content-encoding", "gzip")]),
    "a large body of another path": ("POST", "/api/models/titanic/predict", _LARGE, ()),
    "four records": ("POST", "/api/predict", encoded({"records": records(4)}), ()),
    "three records": ("POST", "/api/predict", encoded({"records": records(3)}), ()),
    "a long string": ("POST", "/api/predict", record(sex="x" * 101), ()),
    "a long query": ("GET", f"/api/predict?{QUERY}&x={'x' * 2000}", None, ()),
    "a string of a query": ("GET", f"/api/predict?pclass=1&sex={'x' * 101}&sibsp=0&parch=0", None, ()),
    "five arrays in each other": ("POST", "/api/predict", b"[[[[[]]]]]", ()),
    "large headers": ("POST", "/api/predict", record(), [("x-large", "x" * 2000)]),
    "large trailers": ("POST", "/api/predict", chunked(record(), trailers=b"a: " + b"x" * 3000 + b"\r\n"), _CHUNKED),
    "a cacheable query": ("GET", f"/api/predict?{QUERY}", None, ()),
    "a cacheable query of a version": ("GET", f"/api/models/titanic/versions/1/predict?{QUERY}", None, ()),
    "an explanation": ("POST", "/api/explain", record(), ()),
    "a file": ("PUT", "/api/batch", CSV.encode(), ()),
    "four rows of tensors": ("POST", "/v2/models/titanic/infer", infer(4), ()),
    "a large body of tensors": ("POST", "/v2/models/titanic/infer", infer(300), ()),
    "a long string in tensors": ("POST", "/v2/models/titanic/infer", infer(1, sex={"data": ["x" * 101]}), ()),
    "drift": ("GET", "/api/models/titanic/drift", None, ()),
    "a model": ("GET", "/api/models/titanic", None, ()),
    "the page": ("GET", "/", None, ()),
    "a large control body": ("POST", "/v2/repository/index", b"{" + b" " * 5000 + b"}", ()),
    "metrics": ("GET", "/metrics", None, ()),
}
_FILES: Final[Mapping[str, tuple[str, str, bytes | None, Fields]]] = {
    "too many columns": ("PUT", "/api/batch", b"a,b,c,d,e,f,g,h,i,pclass,sex,sibsp,parch\n" + b"1," * 12 + b"0\n", ()),
    "a large Parquet file": ("PUT", "/api/batch", inputs.parquet(inputs.table()), ()),
    "a large record batch": ("PUT", "/api/batch", inputs.arrow_stream(inputs.table(500)), ()),
    "a long row": ("PUT", "/api/batch", b"name,pclass,sex,sibsp,parch\n" + b"x" * 1_100_000 + b",1,male,0,0\n", ()),
    "two explanations": ("POST", "/api/explain", encoded({"records": records(2)}), ()),
    "three rows of a queue": ("POST", "/api/predict", encoded({"records": records(3)}), ()),
    "three rows of tensors": ("POST", "/v2/models/titanic/infer", infer(3), ()),
    "300 rows of a queue": ("POST", "/api/predict", encoded({"records": records(300)}), ()),
    "two rows of a queue": ("POST", "/api/predict", encoded({"records": records(2)}), ()),
}


def cases() -> Iterator[Case]:
    """Yield the cases."""
    for server, variants in (("limits", _SMALL), ("files", _FILES)):
        for name, (method, path, body, fields) in variants.items():
            yield Http1(f"{server}: {name}", "limits", (request(method, path, body, fields),), server)
    yield from _calls()


def _calls() -> Iterator[Case]:
    many = message(*[(1, typed_record(each)) for each in records(4)])
    large = typed_record({"pclass": 1, "sex": "x" * 5000})
    for name, (path, body) in {
        "a large message": (PREDICT, large),
        "a long string": (PREDICT, typed_record({"pclass": 1, "sex": "x" * 101})),
        "four records": (BATCH, many),
        "a large inference": (INFER, message((1, "titanic"), (3, "x" * 5000))),
    }.items():
        sent = request("POST", path, body, [("content-type", "application/proto")])
        yield Http1(f"limits: connect, {name}", "limits", (sent,), "limits")
        fields = (("content-type", "application/grpc"), ("te", "trailers"))
        yield Http2(f"limits: grpc, {name}", "limits", path, enveloped(body), fields, server="limits")
    stream = (("content-type", "application/grpc"), ("te", "trailers"))
    yield Http2("limits: grpc, a stream of four", "limits", STREAM, enveloped(many), stream, server="limits")
    long_json = encoded({"modelName": "titanic", "id": "x" * 400})
    sent = request("POST", INFER, long_json, [("content-type", "application/json")])
    yield Http1("limits: connect, a long message in protobuf's JSON", "limits", (sent,), "limits")
    large_head = (("x-large", "x" * 2000),)
    for path in ("/api/models", PREDICT):
        yield Http2(f"limits: HTTP/2, large headers to {path}", "limits", path, b"", large_head, server="limits")
    yield Http2("limits: HTTP/2, a large body", "limits", "/api/predict", _LARGE, server="limits")

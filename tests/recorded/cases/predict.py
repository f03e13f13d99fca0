"""Cases for predictions by POST and GET: valid and invalid records, headers, encodings, caching."""

from collections.abc import Iterator, Mapping
from typing import Final

from tests.recorded import inputs
from tests.recorded.exchange import Case
from tests.recorded.http1 import Fields, Http1, chunked, request
from tests.recorded.inputs import LEAST, QUERY, RECORD, encoded, gzipped, record, without

_BODIES: Final[Mapping[str, bytes]] = {
    "one record": record(),
    "the least record": encoded(LEAST),
    "nulls": record(age=None, fare=None, embarked=None),
    "floats for integers": record(pclass=1.0, sibsp=2.0),
    "an integer for a float": record(age=29, fare=7),
    "an exponent": b'{"pclass":1e0,"sex":"male","age":2.9e1,"sibsp":0,"parch":0}',
    "escapes": b'{"pclass":3,"\\u0073ex":"\\u0066emale","sibsp":0,"parch":0}',
    "blanks": b' \n{ "pclass" : 3 ,\t"sex":"male","sibsp":0,"parch":0 }\r\n ',
    "a byte order mark": b"\xef\xbb\xbf" + record(),
    "records: one": encoded({"records": [RECORD]}),
    "records: three": encoded({"records": inputs.records(3)}),
    "records: none": encoded({"records": []}),
    "records: 300": encoded({"records": inputs.records(300)}),
    "records: no list": encoded({"records": RECORD}),
    "records: null": encoded({"records": None}),
    "records: a number among them": encoded({"records": [RECORD, 1]}),
    "records: the second wrong": encoded({"records": [RECORD, dict(RECORD, sex="other")]}),
    "records: another key": encoded({"records": [RECORD], "options": {}}),
    "records: a field beside": encoded({"records": [RECORD], "pclass": 1}),
    "records of records": encoded({"records": [[RECORD]]}),
    "a missing feature": without("sex"),
    "missing features": without("sex", "pclass"),
    "a null that may not be": record(sex=None),
    "an unknown feature": record(cabin="C85"),
    "a name of other case": record(Sex="male"),
    "a name of other case alone": without("sex")[:-1] + b',"Sex":"male"}',
    "a name with a blank": without("age")[:-1] + b'," age":1}',
    "a name twice": record()[:-1] + b',"sex":"male"}',
    "a category that is none": record(sex="x"),
    "a number that is no category": record(pclass=4),
    "a category of other case": record(embarked="s"),
    "a category of a long text": record(embarked="S" * 300),
    "text for a number": record(age="29"),
    "text for an integer": record(pclass="1"),
    "a number for text": record(sex=1),
    "a boolean for a number": record(age=True),
    "a list for a number": record(age=[29]),
    "an object for text": record(sex={"is": "male"}),
    "a fraction for an integer": record(sibsp=0.5),
    "below the range": record(age=-1),
    "above the range": record(age=121),
    "an integer below the range": record(sibsp=-1),
    "an integer of 65 bits": record(sibsp=2**64),
    "an integer of 40 digits": record(sibsp=10**40),
    "a float beyond 32 bits": record(fare=1e39),
    "a float beyond 64 bits": b'{"pclass":1,"sex":"male","age":1e999,"sibsp":0,"parch":0}',
    "a bare NaN": b'{"pclass":1,"sex":"male","age":NaN,"sibsp":0,"parch":0}',
    "a bare Infinity": b'{"pclass":1,"sex":"male","age":-Infinity,"sibsp":0,"parch":0}',
    "a leading zero": b'{"pclass":01,"sex":"male","sibsp":0,"parch":0}',
    "a trailing comma": b'{"pclass":1,"sex":"male","sibsp":0,"parch":0,}',
    "single quotes": b"{'pclass':1}",
    "a comment": b'{"pclass":1 /* first */}',
    "empty": b"",
    "blanks alone": b" \n ",
    "a mark alone": b"\xef\xbb\xbf",
    "an empty object": b"{}",
    "a list": b"[]",
    "a list of a record": encoded([RECORD]),
    "null": b"null",
    "a number": b"1",
    "a string": b'"record"',
    "half an object": record()[:40],
    "two objects": record() + record(),
    "text behind": record() + b" x",
    "no UTF-8": b'{"pclass":1,"sex":"\xff\xfe","sibsp":0,"parch":0}',
    "a lone surrogate": b'{"pclass":1,"sex":"\\ud800","sibsp":0,"parch":0}',
    "UTF-16": record().decode().encode("utf-16"),
    "a control character": b'{"pclass":1,"sex":"fe\nmale","sibsp":0,"parch":0}',
    "a NUL": record(embarked="\0"),
    "40 arrays in each other": b"[" * 40 + b"]" * 40,
    "a deep value": b'{"pclass":' + b"[" * 40 + b"]" * 40 + b"}",
    "a form": b"pclass=1&sex=female",
    "XML": b"<record/>",
}
_TYPES: Final = (
    "application/json",
    "application/json; charset=utf-8",
    "application/json;charset=latin-1",
    "APPLICATION/JSON",
    "application/x-www-form-urlencoded",
    "text/plain",
    "text/csv",
    "application/octet-stream",
    "application/problem+json",
    "multipart/form-data; boundary=x",
    "",
    ";",
)
_QUERIES: Final = (
    QUERY,
    "embarked=S&fare=211.3375&parch=0&sibsp=0&age=29.0&sex=female&pclass=1",
    "pclass=1&sex=female&sibsp=0&parch=0",
    "pclass=1&sex=female&age=&sibsp=0&parch=0&fare=null&embarked=",
    "pclass=1&sex=female&age=2.9e1&sibsp=0&parch=0",
    "pclass=1&sex=fem%61le&sibsp=+0&parch=0",
    "pclass=1&sex=female&sibsp=0",
    "pclass=1&sex=&sibsp=0&parch=0",
    "pclass=4&sex=female&sibsp=0&parch=0",
    "pclass=one&sex=female&sibsp=0&parch=0",
    "pclass=1&pclass=2&sex=female&sibsp=0&parch=0",
    "pclass=1&sex=female&sibsp=0&parch=0&cabin=C85",
    "pclass=1&Sex=female&sibsp=0&parch=0",
    "pclass=1&sex=female&sibsp=0&parch=0&age=121",
    "pclass=1&sex=female&sibsp=0&parch=0&age=NaN",
    "pclass=1&sex=%ff&sibsp=0&parch=0",
    "pclass=1&sex=female&sibsp=0&parch=0&&",
    "pclass=1;sex=female",
    "records=[]",
    "",
)
_PATHS: Final = (
    "/api/models/titanic/predict",
    "/api/models/titanic/versions/1/predict",
    "/api/models/titanic/labels/stable/predict",
    "/api/models/nothing/predict",
    "/api/models/titanic/versions/9/predict",
    "/api/models/titanic/versions/01/predict",
    "/api/models/titanic/versions/x/predict",
    "/api/models/titanic/labels/nothing/predict",
    "/api/models/Titanic/predict",
    "/api/predict/",
    "/api/models//predict",
)
_TAG: Final = ('"other"', "*", 'W/"0", *', "")
_HEADERS: Final[Mapping[str, Fields]] = {
    "a timeout": [("x-request-timeout-ms", "60000")],
    "a timeout of 0": [("x-request-timeout-ms", "0")],
    "a timeout in words": [("x-request-timeout-ms", "soon")],
    "a negative timeout": [("x-request-timeout-ms", "-1")],
    "a timeout of 20 digits": [("x-request-timeout-ms", "9" * 20)],
    "an empty timeout": [("x-request-timeout-ms", "")],
    "two timeouts": [("x-request-timeout-ms", "60000"), ("x-request-timeout-ms", "1")],
    "a report": [("x-lifeboat-report", "1")],
    "a report of 0": [("x-lifeboat-report", "0")],
    "a request id": [("x-request-id", "recorded-1")],
    "a traceparent": [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")],
    "no drift": [("lifeboat-drift", "none")],
    "another drift": [("lifeboat-drift", "all")],
    "accept": [("accept", "text/html")],
    "accept-encoding": [("accept-encoding", "gzip, br")],
    "an origin": [("origin", "https://example.com")],
    "authorization": [("authorization", "Bearer x")],
    "a cookie": [("cookie", "a=b")],
    "close": [("connection", "close")],
    "te": [("te", "trailers")],
}
_ENCODINGS: Final[Mapping[str, tuple[str, bytes]]] = {
    "gzip": ("gzip", gzipped(record())),
    "GZIP in capitals": ("GZIP", gzipped(record())),
    "x-gzip": ("x-gzip", gzipped(record())),
    "deflate": ("deflate", inputs.deflated(record())),
    "bare deflate": ("deflate", inputs.deflated(record(), bare=True)),
    "identity": ("identity", record()),
    "br": ("br", b"\x0b\x02\x80{}\x03"),
    "zstd": ("zstd", b"(\xb5/\xfd \x02\x11\0\0{}"),
    "gzip twice": ("gzip, gzip", gzipped(gzipped(record()))),
    "an unknown one": ("rot13", record()),
    "an empty one": ("", record()),
    "gzip that is none": ("gzip", record()),
    "half of gzip": ("gzip", gzipped(record())[:20]),
    "gzip without its end": ("gzip", gzipped(record())[:-4]),
    "gzip with a wrong sum": ("gzip", gzipped(record())[:-8] + bytes(8)),
    "gzip and text behind": ("gzip", gzipped(record()) + b"x"),
    "gzip and zeros behind": ("gzip", gzipped(record()) + bytes(9)),
    "deflate that is none": ("deflate", b"\x78\x9c" + bytes(8)),
    "gzip of nothing": ("gzip", gzipped(b"")),
    "an empty body in gzip": ("gzip", b""),
    "gzip of 3 MB of zeros": ("gzip", gzipped(bytes(3_000_000))),
    "gzip of a wrong record": ("gzip", gzipped(record(pclass=9))),
    "gzip of 300 records": ("gzip", gzipped(encoded({"records": inputs.records(300)}))),
}


def _post(name: str, path: str, body: bytes, fields: Fields = ()) -> Http1:
    return Http1(f"POST {path}: {name}", "predict", (request("POST", path, body, fields),))


def cases() -> Iterator[Case]:
    """Yield the cases."""
    path = "/api/predict"
    for name, body in _BODIES.items():
        yield _post(name, path, body)
        yield _post(f"{name}, charset stated", path, body, [("content-type", "application/json; charset=utf-8")])
    for media_type in _TYPES:
        yield _post(f"content-type {media_type!r}", path, record(), [("content-type", media_type)])
    for name, fields in _HEADERS.items():
        yield _post(f"with {name}", path, record(), fields)
        yield Http1(f"GET {path} with {name}", "predict", (request("GET", f"{path}?{QUERY}", fields=fields),))
    for name, (encoding, body) in _ENCODINGS.items():
        yield _post(f"encoding {name}", path, body, [("content-encoding", encoding)])
    for each in _PATHS:
        yield _post("one record", each, record())
        yield _post("a wrong record", each, record(pclass=9))
        yield Http1(f"GET {each}: one record", "predict", (request("GET", f"{each}?{QUERY}"),))
    yield from _queries(path)
    yield Http1("POST /api/predict: query and body", "predict", (request("POST", f"{path}?{QUERY}", record()),))
    for size in (1, 7, 4096):
        sent = request("POST", path, chunked(record(), size), [("transfer-encoding", "chunked")])
        yield Http1(f"POST {path}: chunks of {size}", "predict", (sent,))


def _queries(path: str) -> Iterator[Case]:
    for query in _QUERIES:
        yield Http1(f"GET {path}?{query}", "predict", (request("GET", f"{path}?{query}"),))
    for method in ("HEAD", "OPTIONS", "DELETE"):
        yield Http1(f"{method} {path}?{QUERY}", "methods", (request(method, f"{path}?{QUERY}"),))
    for each in (path, "/api/models/titanic/versions/1/predict"):
        for tag in _TAG:
            sent = request("GET", f"{each}?{QUERY}", fields=[("if-none-match", tag)])
            yield Http1(f"GET {each} with if-none-match {tag!r}", "conditional", (sent,))
    sent = request("GET", f"{path}?pclass=9", fields=[("if-none-match", "*")])
    yield Http1(f"GET {path}: a wrong record with if-none-match", "conditional", (sent,))

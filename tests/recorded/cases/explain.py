"""Cases for explanations: one record and several, every path, and rejected requests."""

from collections.abc import Iterator, Mapping
from typing import Final

from tests.recorded import inputs
from tests.recorded.exchange import Case
from tests.recorded.http1 import Fields, Http1, request
from tests.recorded.inputs import LEAST, RECORD, encoded, gzipped, record, without

_BODIES: Final[Mapping[str, bytes]] = {
    "one record": record(),
    "the least record": encoded(LEAST),
    "records: two": encoded({"records": inputs.records(2)}),
    "records: none": encoded({"records": []}),
    "records: 33": encoded({"records": inputs.records(33)}),
    "records: the second wrong": encoded({"records": [RECORD, dict(RECORD, pclass=9)]}),
    "a missing feature": without("sex"),
    "an unknown feature": record(cabin="C85"),
    "a category that is none": record(sex="x"),
    "text for a number": record(age="29"),
    "malformed": b'{"pclass"',
    "empty": b"",
    "a list": b"[]",
}
_PATHS: Final = (
    "/api/models/titanic/explain",
    "/api/models/titanic/versions/1/explain",
    "/api/models/titanic/labels/stable/explain",
    "/api/models/nothing/explain",
    "/api/models/titanic/versions/9/explain",
    "/api/models/titanic/labels/nothing/explain",
)
_HEADERS: Final[Mapping[str, Fields]] = {
    "a timeout of 0": [("x-request-timeout-ms", "0")],
    "a wrong timeout": [("x-request-timeout-ms", "1.5")],
    "a wrong type": [("content-type", "text/csv")],
    "a wrong encoding": [("content-encoding", "br")],
    "a report": [("x-lifeboat-report", "1")],
}


def cases() -> Iterator[Case]:
    """Yield the cases."""
    path = "/api/explain"
    for name, body in _BODIES.items():
        yield _post(name, path, body)
    for each in _PATHS:
        yield _post("one record", each, record())
    for name, fields in _HEADERS.items():
        yield _post(f"with {name}", path, record(), fields)
    yield _post("gzip", path, gzipped(record()), [("content-encoding", "gzip")])
    yield Http1(f"GET {path}", "explain", (request("GET", path),))


def _post(name: str, path: str, body: bytes, fields: Fields = ()) -> Http1:
    return Http1(f"POST {path}: {name}", "explain", (request("POST", path, body, fields),))

"""GET /api/predict: one record as a query."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import httpx
import msgspec
import pytest

from server.models.repository import Repository
from tests.server.rest.test_predict import PATHS
from tests.server.support import every, small
from tests.server.support.in_process import InProcess
from tests.server.support.rpc import Http2, get
from tests.server.support.wire import Wire, wire

PASSENGER: Final = "pclass=1&sex=female&age=29&sibsp=0&parch=0&fare=211.3375&embarked=S"
OF_EVERY: Final = (
    "bool=true&int8=-1&int16=2&int32=3&int64=4&uint8=5&uint16=6&uint32=7&uint64=8&fp16=0.5&fp32=-2&fp64=1e3"
)
"""Values for all features but the strings of the every-datatype model; their sum is 1032.5."""


@pytest.fixture(scope="module")
def any_type(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """Serve the model with a feature of every datatype."""
    root = tmp_path_factory.mktemp("models")
    every.load(root)
    with InProcess(Repository.load(root)) as app:
        yield app


@pytest.mark.parametrize("path", PATHS)
def test_a_query_gets_the_records_answer(server: httpx.Client, passenger: dict[str, Any], path: str) -> None:
    """A record as a query gets the same bytes as in a body."""
    asked, posted = server.get(f"{path}?{PASSENGER}"), server.post(path, json=passenger)
    assert (asked.status_code, asked.headers["content-type"]) == (200, "application/json")
    assert asked.content == posted.content


def test_head_is_get_without_a_body(server: httpx.Client) -> None:
    """HEAD has the status and headers of GET, for valid and invalid records."""
    for query in (PASSENGER, "pclass=9", PASSENGER + "&age=1"):
        asked, head = server.get(f"/api/predict?{query}"), server.head(f"/api/predict?{query}")
        assert head.status_code == asked.status_code
        assert head.content == b""
        assert {**head.headers, "date": ""} == {**asked.headers, "date": ""}


def test_by_http2() -> None:
    """A query over HTTP/2 gets the same response as over HTTP/1.1."""
    with wire(Repository.load(Path(__file__).parents[3] / "models"), http2=True) as served:
        http1 = get(served, f"/api/predict?{PASSENGER}")
        with Http2(served) as connection:
            http2 = connection.answer(connection.send(f"/api/predict?{PASSENGER}", b"", method="GET"))
            tag = ("if-none-match", http1.headers["etag"])
            known = connection.answer(connection.send(f"/api/predict?{PASSENGER}", b"", tag, method="GET"))
            head = connection.answer(connection.send(f"/api/predict?{PASSENGER}", b"", method="HEAD"))
    assert (http2.status, http2.body) == (200, http1.body)
    assert (known.status, known.body, known.headers["etag"]) == (304, b"", http1.headers["etag"])
    assert (head.status, head.body, head.headers["etag"]) == (200, b"", http1.headers["etag"])


@pytest.mark.parametrize(
    "query",
    [
        "embarked=S&fare=211.3375&parch=0&sibsp=0&age=29&sex=female&pclass=1",
        "&" + PASSENGER.replace("&", "&&") + "&",
        PASSENGER.replace("=1&", "=1.0&").replace("=29&", "=2.9e1&"),
        PASSENGER.replace("female", "%66em%61le").replace("pclass", "%70class"),
    ],
)
def test_ways_to_write_a_query(server: httpx.Client, passenger: dict[str, Any], query: str) -> None:
    """Order, empty parameters, number spelling and percent-encoding change nothing."""
    assert server.get(f"/api/predict?{query}").content == server.post("/api/predict", json=passenger).content


@pytest.mark.parametrize("name", ["age", "fare", "embarked"])
def test_absent_empty_and_null_are_the_same(server: httpx.Client, passenger: dict[str, Any], name: str) -> None:
    """A nullable feature that is left out, or has no value, is null."""
    null = server.post("/api/predict", json=passenger | {name: None}).content
    others = urlencode({each: value for each, value in passenger.items() if each != name})
    for query in (others, f"{others}&{name}=", f"{others}&{name}"):
        assert server.get(f"/api/predict?{query}").content == null


@pytest.mark.parametrize(
    ("parameters", "record"),
    [
        ("bytes=&category=", {"bytes": "", "category": None}),
        ("bytes=yes", {"bytes": "yes"}),
        ("bytes=null&category=yes", {"bytes": "null", "category": "yes"}),
        ("bytes=a+b%2B%26%3D%25%00", {"bytes": "a b+&=%\0"}),
        ("bytes=" + quote("ß€😀"), {"bytes": "ß€😀"}),
        ("bytes=1&fp64=null&int32=", {"bytes": "1", "fp64": None, "int32": None}),
    ],
)
def test_what_a_value_says(any_type: InProcess, parameters: str, record: dict[str, Any]) -> None:
    """A string is the percent-decoded text, maybe empty; other values are written as in JSON."""
    posted: dict[str, Any] = {
        "bool": True, "int8": -1, "int16": 2, "int32": 3, "int64": 4, "uint8": 5, "uint16": 6, "uint32": 7,
        "uint64": 8, "fp16": 0.5, "fp32": -2, "fp64": 1e3,
    }  # fmt: skip
    kept = [each for each in OF_EVERY.split("&") if each.partition("=")[0] not in record]
    asked = any_type.get(f"/api/predict?{'&'.join([*kept, parameters])}")
    assert asked.status_code == 200, asked.text
    assert asked.content == any_type.post("/api/predict", posted | record).content


def test_an_empty_string_is_no_null(tmp_path: Path) -> None:
    """A string feature without categories is null only if it is left out."""
    model = small.onnx_bytes(small.YES, opset=19)
    feature = msgspec.structs.replace(small.WORD, nullable=True, null_value="yes")
    small.write(tmp_path, model, small.manifest(model, feature, answers=[("yes", 1.0), ("no", 0.0)]))
    with InProcess(Repository.load(tmp_path)) as app:
        values = [app.get(f"/api/predict{query}").json()["value"] for query in ("", "?x=yes", "?x=", "?x")]
    assert values == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"pclass": "4"}, "pclass", "pclass: expected one of 1, 2, 3; got 4"),
        ({"pclass": ""}, "pclass", 'pclass: expected one of 1, 2, 3; got ""'),
        ({"age": "old"}, "age", 'age: expected a number from 0 to 120 or null; got "old"'),
        ({"age": "-3"}, "age", "age: expected a number from 0 to 120 or null; got -3"),
        ({"age": "NaN"}, "age", 'age: expected a number from 0 to 120 or null; got "NaN"'),
        ({"age": "1e999"}, "age", "age: expected a number from 0 to 120 or null; got"),
        ({"age": " 29"}, "age", 'age: expected a number from 0 to 120 or null; got " 29"'),
        ({"age": "029"}, "age", 'age: expected a number from 0 to 120 or null; got "029"'),
        ({"age": "[29]"}, "age", 'age: expected a number from 0 to 120 or null; got "[29]"'),
        ({"sibsp": "1.5"}, "sibsp", "sibsp: expected an integer of at least 0; got 1.5"),
        ({"sex": "x"}, "sex", 'sex: expected one of "female", "male"; got "x"'),
        ({"sex": None}, "sex", 'sex: expected one of "female", "male"; it is missing'),
        (
            {"cabin": "C85"},
            "cabin",
            'cabin: no such feature; expected "pclass", "sex", "age", "sibsp", "parch", "fare"',
        ),
        ({"records": "1"}, "records", 'records: no such feature; expected "pclass",'),
        ({"": "1"}, "", '"": no such feature; expected "pclass",'),
    ],
)
def test_refused_in_a_records_words(
    server: httpx.Client, passenger: dict[str, Any], change: dict[str, Any], field: str, words: str
) -> None:
    """An invalid value is rejected by name, with the same message as in a body."""
    record = {name: value for name, value in (passenger | change).items() if value is not None}
    response = server.get(f"/api/predict?{urlencode(record)}")
    answer = response.json()
    assert (response.status_code, answer["code"], answer["field"]) == (400, "invalid_argument", field)
    assert answer["error"].startswith(words)


@pytest.mark.parametrize(
    ("parameter", "field", "words"),
    [
        ("age=30", "age", "age: expected once; it is given more than once"),
        ("%61ge", "age", "age: expected once; it is given more than once"),
        ("embarked=%zz", "embarked", 'embarked: expected percent-encoded UTF-8; got "%zz"'),
        ("embarked=100%", "embarked", 'embarked: expected percent-encoded UTF-8; got "100%"'),
        ("embarked=%ff", "embarked", 'embarked: expected percent-encoded UTF-8; got "%ff"'),
        ("embarked=%ED%A0%80", "embarked", 'embarked: expected percent-encoded UTF-8; got "%ED%A0%80"'),
        ("%ff=1", "query", 'query: expected percent-encoded UTF-8; got "%ff"'),
    ],
)
def test_refused_as_a_query(server: httpx.Client, parameter: str, field: str, words: str) -> None:
    """A feature given twice and invalid percent-encoded UTF-8 are rejected by name."""
    whole = PASSENGER if field == "age" else PASSENGER.replace("&embarked=S", "")
    response = server.get(f"/api/predict?{whole}&{parameter}")
    assert response.status_code == 400
    assert response.json() == {"error": words, "code": "invalid_argument", "field": field}


def test_a_query_without_end(served: Wire) -> None:
    """A query that exceeds the limit of the request head is rejected with 413."""
    short, long = [get(served, f"/api/predict?{PASSENGER}&x={'y' * length}") for length in (60_000, 70_000)]
    assert (short.status, msgspec.json.decode(short.body)["field"]) == (400, "x")
    assert (long.status, msgspec.json.decode(long.body)["code"]) == (413, "payload_too_large")


def test_a_string_that_is_too_long(tmp_path: Path) -> None:
    """A string that exceeds the limit is rejected with 413, as in a body."""
    every.load(tmp_path)
    with wire(Repository.load(tmp_path), max_string_bytes=8) as served:
        answers = [get(served, f"/api/predict?{OF_EVERY}&bytes={text}") for text in ("12345678", "%C3%9F12345678")]
    assert [answer.status for answer in answers] == [200, 413]


def test_a_deadline(served: Wire) -> None:
    """A query has the deadline that its client states."""
    late = get(served, f"/api/predict?{PASSENGER}", "x-request-timeout-ms: 0")
    assert late.status == 504
    assert get(served, f"/api/predict?{PASSENGER}", "x-request-timeout-ms: soon").status == 400


@pytest.mark.parametrize("path", ["/api/models/nobody/predict", "/api/models/titanic/versions/9/predict"])
def test_what_is_not_served(server: httpx.Client, path: str) -> None:
    """A model or version that isn't served is rejected with 404."""
    assert server.get(f"{path}?{PASSENGER}").status_code == 404

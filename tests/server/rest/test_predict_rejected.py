"""POST /api/predict: rejected requests and their messages."""

import json
from typing import Any

import httpx
import pytest

NAMES = '"pclass", "sex", "age", "sibsp", "parch", "fare", "embarked"'
FARE = "fare: expected a number of at least 0 or null"
AGE = "age: expected a number from 0 to 120 or null"
SIBSP = "sibsp: expected an integer of at least 0"
FARE_FP32 = "fare: expected a number from 0 to 3.40282346638529e+38 or null"
SIBSP_INT64 = "sibsp: expected an integer from 0 to 9223372036854775807"

WRONG_VALUES: list[tuple[dict[str, Any], str, str]] = [
    ({"sex": 1}, "sex", 'sex: expected one of "female", "male"; got 1'),
    ({"sex": None}, "sex", 'sex: expected one of "female", "male"; got null'),
    ({"sex": "Female"}, "sex", 'sex: expected one of "female", "male"; got "Female"'),
    ({"sex": "x" * 99}, "sex", f'sex: expected one of "female", "male"; got "{"x" * 40}"...'),
    ({"pclass": 4}, "pclass", "pclass: expected one of 1, 2, 3; got 4"),
    ({"pclass": "1"}, "pclass", 'pclass: expected one of 1, 2, 3; got "1"'),
    ({"pclass": True}, "pclass", "pclass: expected one of 1, 2, 3; got true"),
    ({"embarked": "X"}, "embarked", 'embarked: expected one of "C", "Q", "S" or null; got "X"'),
    ({"embarked": ""}, "embarked", 'embarked: expected one of "C", "Q", "S" or null; got ""'),
    ({"age": "29"}, "age", f'{AGE}; got "29"'),
    ({"age": True}, "age", f"{AGE}; got true"),
    ({"age": 120.5}, "age", f"{AGE}; got 120.5"),
    ({"age": -1}, "age", f"{AGE}; got -1"),
    ({"age": [29]}, "age", f"{AGE}; got [29]"),
    ({"age": float("nan")}, "age", f"{AGE}; got NaN"),
    ({"fare": float("inf")}, "fare", f"{FARE_FP32}; got Infinity"),
    ({"fare": float("-inf")}, "fare", f"{FARE}; got -Infinity"),
    ({"fare": -0.01}, "fare", f"{FARE}; got -0.01"),
    ({"fare": 1e39}, "fare", f"{FARE_FP32}; got 1e+39"),
    ({"fare": {}}, "fare", f"{FARE}; got {{}}"),
    ({"sibsp": -1}, "sibsp", f"{SIBSP}; got -1"),
    ({"sibsp": 1.5}, "sibsp", f"{SIBSP}; got 1.5"),
    ({"sibsp": False}, "sibsp", f"{SIBSP}; got false"),
    ({"sibsp": 2**63}, "sibsp", f"{SIBSP_INT64}; got 9223372036854775808"),
    ({"sibsp": 10**30}, "sibsp", f"{SIBSP_INT64}; got 1{'0' * 30}"),
    ({"cabin": "B5"}, "cabin", f"cabin: no such feature; expected {NAMES}"),
    (
        {"Sex": "female"},
        "Sex",
        f'Sex: no such feature; expected {NAMES}; "Sex" is not "sex": letter case and spaces matter',
    ),
    ({"a`b": 1}, "a`b", f"a`b: no such feature; expected {NAMES}"),
    ({"y" * 99: 1}, "y" * 40, f'"{"y" * 40}"...: no such feature; expected {NAMES}'),
]
"""A change to a valid record, the field at fault, and the message."""

NO_OBJECT = 'one record or {"records": [...]}'
WRONG_BODIES: list[tuple[bytes, str]] = [
    (b"", "it is empty"),
    (b'{"pclass": 1', "truncated"),
    (b'{"pclass": 1} {}', "malformed: trailing characters"),
    (b"pclass=1", "malformed"),
    (b"{'pclass': 1}", "malformed"),
    (b'{"sex": "\xff"}', "it is not UTF-8 (byte 9)"),
    (b'{"\xff": 1}', "it is not UTF-8 (byte 2)"),
    ('{"pclass": 1}'.encode("utf-16"), "it looks like UTF-16"),
    ('{"age": NaN}'.encode("utf-16"), "it looks like UTF-16"),
    (b'\xef\xbb\xbf\xef\xbb\xbf{"pclass": 1}', "malformed: invalid character (byte 0)"),
    (b'{"sex": "\\ud800', "\\ud800 (byte 9) is a lone surrogate"),
    (b'{"sex": "\\ud83d\\ude00 \\ud800"', "\\ud800 (byte 22) is a lone surrogate"),
    (b'{"age": -Infinity', "JSON has no -Infinity (byte 8)"),
    (b"[]", NO_OBJECT),
    (b"3", NO_OBJECT),
    (b"null", NO_OBJECT),
    (b'"pclass"', NO_OBJECT),
]
"""Bytes that are no record, and part of the message."""


def _refuse(server: httpx.Client, body: bytes, error: str, field: str) -> None:
    """Assert that `body` is rejected with 400 and exactly this envelope."""
    response = server.post("/api/predict", content=body)
    envelope = {"error": error, "code": "invalid_argument", "field": field}
    assert (response.status_code, response.json()) == (400, envelope)
    assert response.headers["content-type"] == "application/json"


def _still_answers(server: httpx.Client, passenger: dict[str, Any]) -> None:
    assert server.post("/api/predict", json=passenger).json()["label"] == "survived"


@pytest.mark.parametrize(("change", "field", "error"), WRONG_VALUES)
def test_wrong_value(
    server: httpx.Client, passenger: dict[str, Any], change: dict[str, Any], field: str, error: str
) -> None:
    """An invalid value, alone or in a list, is rejected with field and expectation."""
    record = passenger | change
    _refuse(server, json.dumps(record).encode(), error, field)
    inside = json.dumps({"records": [passenger, record]}).encode()
    _refuse(server, inside, f"records[1].{error}", f"records[1].{field}")
    _still_answers(server, passenger)


@pytest.mark.parametrize("name", ["pclass", "sex", "sibsp", "parch"])
def test_missing_name(server: httpx.Client, passenger: dict[str, Any], name: str) -> None:
    """A record without a feature that isn't nullable is rejected with that feature's name."""
    expected = {"pclass": "one of 1, 2, 3", "sex": 'one of "female", "male"'}.get(name, "an integer of at least 0")
    error = f"{name}: expected {expected}; it is missing"
    record = {key: value for key, value in passenger.items() if key != name}
    _refuse(server, json.dumps(record).encode(), error, name)
    inside = json.dumps({"records": [passenger, passenger, record]}).encode()
    _refuse(server, inside, f"records[2].{error}", f"records[2].{name}")


@pytest.mark.parametrize(("body", "words"), WRONG_BODIES, ids=lambda value: repr(value[:20]))
def test_wrong_body(server: httpx.Client, passenger: dict[str, Any], body: bytes, words: str) -> None:
    """Bytes that are no JSON object are rejected with the reason and without a field."""
    response = server.post("/api/predict", content=body)
    assert response.status_code == 400
    answer = response.json()
    assert (list(answer), answer["code"]) == (["error", "code"], "invalid_argument")
    assert answer["error"].startswith("body: expected a JSON object")
    assert words in answer["error"]
    _still_answers(server, passenger)


@pytest.mark.parametrize("records", ["all", 3, None, {"0": {}}, True])
def test_records_that_are_no_array(server: httpx.Client, passenger: dict[str, Any], records: object) -> None:
    """A value of `records` that is no array is rejected."""
    body = json.dumps({"records": records}).encode()
    _refuse(server, body, "records: expected an array of records", "records")
    _still_answers(server, passenger)


def test_no_records(server: httpx.Client) -> None:
    """An empty list of records is rejected."""
    _refuse(server, b'{"records": []}', "records: expected at least one", "records")


@pytest.mark.parametrize("other", [3, "x", None, [], [{}]])
def test_records_with_something_else_among_them(server: httpx.Client, passenger: dict[str, Any], other: object) -> None:
    """An element of `records` that is no object is rejected with its index."""
    body = json.dumps({"records": [passenger, other]}).encode()
    _refuse(server, body, "records[1]: expected an object", "records[1]")


def test_records_with_an_extra_key_beside_them(server: httpx.Client, passenger: dict[str, Any]) -> None:
    """A key beside `records` is rejected, not ignored."""
    body = json.dumps({"records": [passenger], "model": "titanic"}).encode()
    _refuse(server, body, f"model: no such feature; expected {NAMES}", "model")


def test_first_fault_of_several_is_named(server: httpx.Client, passenger: dict[str, Any]) -> None:
    """The message names the first of several invalid records."""
    records = [passenger, passenger | {"fare": -1}, passenger | {"age": -1}]
    body = json.dumps({"records": records}).encode()
    _refuse(server, body, f"records[1].{FARE}; got -1", "records[1].fare")


@pytest.mark.parametrize("after", ["[]", "[5]", "5", "{}", '"x"'])
def test_name_given_twice(server: httpx.Client, after: str) -> None:
    """A duplicate name is rejected."""
    body = f'{{"records": [{{"pclass": 9}}], "records": {after}}}'.encode()
    _refuse(server, body, "records: expected once; it is given more than once", "records")


PADDING = 6_000
"""Number of records that makes a body too large for a second decoding."""


@pytest.mark.parametrize(
    ("last", "error"),
    [
        ('{"pclass":9}', "expected one of 1, 2, 3; got something else"),
        ('{"pclass":1,"sex":"male","sibsp":0}', "expected an integer of at least 0; it is missing"),
    ],
)
def test_large_body_names_its_fault(server: httpx.Client, last: str, error: str) -> None:
    """An invalid last record among thousands is rejected with its index and field."""
    fine = '{"pclass":1,"sex":"female","sibsp":0,"parch":0,"age":29.5},'
    response = server.post("/api/predict", content=f'{{"records":[{fine * PADDING}{last}]}}')
    assert response.status_code == 400
    assert response.json()["field"].startswith(f"records[{PADDING}].")
    assert response.json()["error"].endswith(error)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("[" + "1," * 200_000 + "1]", 'body: expected a JSON object, one record or {"records": [...]}'),
        ('{"records":[' + "1," * 200_000, "records[0]: expected an object"),
        ('{"sex":"' + "f" * 300_000 + '"}', 'sex: expected one of "female", "male"; got something else'),
        ('{"age":' + "1" * 6_000 + "}", f"age: expected a number from 0 to 120 or null; got {'1' * 40}..."),
        ('{"pclass":1,"records":[]}', "records: expected either a list of records or one record's fields"),
    ],
)
def test_odd_bodies_are_told_shortly(server: httpx.Client, body: str, error: str) -> None:
    """Large bodies and bodies with unusual JSON are rejected with short messages."""
    response = server.post("/api/predict", content=body)
    assert (response.status_code, response.json()["error"]) == (400, error)


@pytest.mark.parametrize("body", [b"[" * 10_000, b'{"records": ' + b"[" * 10_000, b'{"records": ' + b"[" * 32])
def test_a_body_nested_too_deep(server: httpx.Client, body: bytes) -> None:
    """A body nested deeper than the limit is rejected; brackets within strings don't count."""
    response = server.post("/api/predict", content=body)
    words = "body: expected JSON nested at most 32 deep"
    assert (response.status_code, response.json()) == (400, {"error": words, "code": "invalid_argument"})
    quoted = server.post("/api/predict", content=b'{"pclass":1,"sex":"' + b"[" * 99 + b'","sibsp":0,"parch":0}')
    assert quoted.json()["field"] == "sex"

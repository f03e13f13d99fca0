"""NDJSON: valid and invalid lines, and lines that pass through as they were written."""

import json
import random
from collections.abc import Sequence
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.codecs.tables.limits import MAX_RECORD_BYTES, TEXT_ROWS
from server.codecs.tables.media_types import ARROW, CSV, NDJSON, PARQUET
from tests.server.support.tables import Answer, score, titanic

PASSENGER: Final = '"pclass":1,"sex":"female","age":29,"sibsp":0,"parch":0,"fare":211.3375,"embarked":"S"'
ANSWER: Final = '"predicted_survived":"survived","probability_died":0.10133678,"probability_survived":0.8986632'

brief = settings(max_examples=80, deadline=None, derandomize=True, database=None)


def _lines(*others: str) -> bytes:
    """Return one passenger per line, each with other additional fields."""
    return "".join(f"{{{PASSENGER}{',' if other else ''}{other}}}\n" for other in others).encode()


def _records(answer: Answer) -> list[dict[str, Any]]:
    assert answer.error is None, answer.error.message
    return [json.loads(line) for line in answer.body.splitlines()]


@pytest.mark.parametrize(
    "other",
    [
        "",
        '"z":[1,{"q":null}],"y":"a\\"b\\u00e9"',
        '"big":123456789012345678901234567890,"small":1e-400,"huge":1e400,"nought":-0.0',
        '"records":[{"pclass":1}],"inputs":1',
        '"nested":{"error":1,"predicted_survived":2,"\\u0065rror":3},"name":"error"',
        '"twice":1,"twice":2',
        '"":0,"a b":1,"nul\\u0000":2',
    ],
)
def test_lines_are_passed_as_they_were_written(other: str) -> None:
    """A line keeps its own bytes for any additional fields, with the prediction after them."""
    expected = _lines(other).decode().replace("}\n", "," + ANSWER + "}\n")
    assert score(titanic(), _lines(other)).body.decode() == expected


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \n\n\t\r\n"])
@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf", b"\n \n"], ids=["plain", "byte order mark", "blank"])
def test_blank_lines_and_line_ends(begin: bytes, end: bytes) -> None:
    """Lines end in LF or CRLF, optional at the end; blank lines are ignored."""
    body = begin + _lines("", "").replace(b"\n", end)
    for each in (body, body.rstrip()):
        answer = score(titanic(), each)
        assert answer.body.decode() == f"{{{PASSENGER},{ANSWER}}}\n" * 2
        assert answer.counts == (2, 2, 0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{x", "expected a JSON object: JSON is malformed"),
        ("[1]", "expected a JSON object"),
        ("null", "expected a JSON object"),
        ("NaN", "expected a JSON object: $: got NaN"),
        ("-Infinity", "expected a JSON object: $: got -Infinity"),
        (f"{{{PASSENGER}}} {{{PASSENGER}}}", "trailing characters"),
        (f"{{{PASSENGER},}}", "trailing comma"),
        (f'{{{PASSENGER},"a":NaN}}', "expected a JSON object: $.a: got NaN"),
        (f'{{{PASSENGER},"a":{"[" * 5000}{"]" * 5000}}}', "nested too deep"),
        ("{}", "pclass: expected one of 1, 2, 3; it is missing"),
        (f"{{{PASSENGER}}}".replace("29", "1e400"), "age: expected a number from 0 to 120 or null"),
        (f"{{{PASSENGER}}}".replace("29", "-1"), "age: expected a number from 0 to 120 or null; got -1"),
        (f"{{{PASSENGER}}}".replace('"S"', '"X"'), 'embarked: expected one of "C", "Q", "S" or null; got "X"'),
        (f"{{{PASSENGER}}}".replace('"sibsp":0', '"sibsp":0.5'), "sibsp: expected an integer of at least 0; got 0.5"),
        (f'{{{PASSENGER},"predicted_\\u0073urvived":1}}', "predicted_survived: expected no field of this name"),
        (f'{{{PASSENGER},"probability_died":1}}', "probability_died: expected no field of this name"),
    ],
)
def test_a_wrong_line_is_its_own_fault(line: str, reason: str) -> None:
    """An invalid line is one row's error; the lines around it are scored."""
    body = _lines("", '"b":1') + line.encode() + b"\n" + _lines('"c":1')
    kept = score(titanic(), body, "on_error=null")
    found = _records(kept)
    assert reason in found[2]["error"]
    assert found[2]["predicted_survived"] is None
    assert [record["error"] for record in (found[0], found[1], found[3])] == [None] * 3
    assert kept.counts == (4, 3, 1)
    assert len(_records(score(titanic(), body, "on_error=skip"))) == 3
    failed = score(titanic(), body)
    assert failed.error is not None
    assert failed.error.message.startswith("row 3: ")
    assert failed.counts == (3, 0, 1)


def test_lines_that_make_up_for_each_other() -> None:
    """Objects on one line or over several lines are invalid, even if the counts match."""
    half = len(PASSENGER) // 2
    first, second = PASSENGER[:half], PASSENGER[half:]
    body = f"{{{PASSENGER}}}{{{PASSENGER}}}\n{{{first}\n{second}}}\n".encode()
    assert score(titanic(), body, "on_error=null").counts == (3, 0, 3)


def test_reserved_names_in_the_first_lines_refuse_the_file() -> None:
    """A field with an output's name is rejected before the first row.

    This holds for formats with columns, and for escaped names too.
    """
    for name in ("error", "\\u0065rror", "predicted_\\u0073urvived"):
        refused = score(titanic(), _lines("", f'"{name}":1'), "on_error=null", accept=CSV.media_type).refusal()
        assert refused.field in {"error", "predicted_survived"}


def test_names_with_nul_are_no_columns() -> None:
    """A field name with a NUL is rejected for formats with columns.

    It would end the process inside the library.
    """
    assert score(titanic(), _lines('"a\\u0000":1'), accept=CSV.media_type).refusal().field == "columns"


def test_the_first_lines_tell_the_columns_in_whatever_pieces_they_come() -> None:
    """The response's columns are the same for a body in one piece and many."""
    body = _lines('"a":1', '"b":"x"', '"c":0.5')
    whole, pieces = (score(titanic(), body, accept=CSV.media_type, sizes=sizes) for sizes in ((), [7] * len(body)))
    assert whole.body == pieces.body
    assert whole.body.startswith(b"pclass,sex,age,sibsp,parch,fare,embarked,a,b,c,predicted")


def test_an_array_is_refused() -> None:
    """An array of records is rejected as no NDJSON."""
    assert "got an array" in score(titanic(), b"[" + _lines("").strip() + b"]").refusal().message


def test_bytes_that_are_no_utf8() -> None:
    """A line that isn't UTF-8 is that row's error, even in a non-feature field."""
    body = _lines('"a":"x"', '"a":"@"', '"a":"y"').replace(b"@", b"\xff")
    for form in (NDJSON, CSV, ARROW):
        answer = score(titanic(), body, "on_error=null", accept=form.media_type)
        assert answer.counts == (3, 2, 1)
    assert (
        _records(score(titanic(), body, "on_error=null"))[1]["error"]
        == "expected a JSON object: it is not UTF-8 (byte 92)"
    )


def test_whole_numbers_may_be_written_as_floats() -> None:
    """1.0 is accepted for an integer, as data frames write it.

    The message then names another invalid field.
    """
    body = _lines("").replace(b'"pclass":1', b'"pclass":1.0').replace(b'"sibsp":0', b'"sibsp":0.0')
    assert _records(score(titanic(), body))[0]["predicted_survived"] == "survived"
    failed = score(titanic(), body.replace(b'"parch":0', b'"parch":true'))
    assert failed.error is not None
    assert failed.error.message == "row 1: parch: expected an integer of at least 0; got true"


def test_a_line_has_an_end() -> None:
    """A line of half a megabyte passes; an endless line is rejected."""
    assert score(titanic(), _lines(f'"a":"{"x" * (MAX_RECORD_BYTES // 2)}"')).counts == (1, 1, 0)
    endless = score(titanic(), b'{"a":"' + b"x" * 3 * MAX_RECORD_BYTES, sizes=[65536] * 100)
    assert endless.error is not None
    assert endless.error.code == "payload_too_large"


def test_other_fields_become_columns() -> None:
    """In formats with columns additional fields become typed columns; missing values are null."""
    body = _lines('"i":9007199254740993,"s":"a","l":[1,2],"o":{"p":true}', '"s":"\\u0000","i":null', '"f":0.5')
    table = score(titanic(), body, accept=PARQUET.media_type).table()
    assert table["i"].to_pylist() == [9007199254740993, None, None]
    assert table["s"].to_pylist() == ["a", "\0", None]
    assert table["l"].to_pylist() == [[1, 2], None, None]
    assert table["o"].to_pylist() == [{"p": True}, None, None]
    assert table["f"].to_pylist() == [None, None, 0.5]
    flat = score(titanic(), body, accept=CSV.media_type).refusal()
    assert (flat.code, flat.field) == ("invalid_argument", "l")


@pytest.mark.parametrize("late", ['"a":"x"', '"a":"x\\u0000y"', '"a":[1]'])
def test_a_column_keeps_its_type(late: str) -> None:
    """A field that changes its type later is an error in formats with columns.

    In NDJSON it passes.
    """
    body = _lines(*['"a":1'] * (3 * TEXT_ROWS), late)
    failed = score(titanic(), body, accept=CSV.media_type)
    assert failed.error is not None
    assert (failed.error.code, failed.error.field) == ("invalid_argument", "a")
    assert score(titanic(), body).counts == (3 * TEXT_ROWS + 1,) * 2 + (0,)


_short: Final = st.text(max_size=3)
_numbers: Final = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
_values: Final = st.recursive(
    st.none() | st.booleans() | _numbers | _short,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_short, inner, max_size=2),
    max_leaves=4,
)


@brief
@given(
    st.lists(st.dictionaries(st.text("abcé"), _values, max_size=3), min_size=1, max_size=6),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_any_other_fields_pass(others: Sequence[dict[str, Any]], ascii_only: bool, seed: int) -> None:
    """Any JSON in additional fields passes through unchanged, in pieces of any size."""
    passenger = json.loads(f"{{{PASSENGER}}}")
    body = "".join(json.dumps(passenger | other, ensure_ascii=ascii_only) + "\n" for other in others)
    given_bytes = body.encode(errors="replace")
    chance = random.Random(seed)  # noqa: S311
    answer = score(titanic(), given_bytes, sizes=(chance.randint(1, 40) for _ in given_bytes))
    if answer.error is not None:  # a lone surrogate
        assert "\\ud" in body
        return
    answers = json.loads(f"{{{ANSWER}}}")
    assert _records(answer) == [json.loads(line) | answers for line in given_bytes.splitlines(keepends=False) if line]


_REQUIRED: Final = '"pclass":1,"sex":"female","sibsp":0,"parch":0'


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        ('"Age":29,"fare":1,"embarked":"S"', "age", '"Age" is not "age"'),
        ('"age":29,"fare ":1,"embarked":"S"', "fare", '"fare " is not "fare"'),
        ('"Age":29,"note":"age","fare":1,"embarked":"S"', "age", '"Age" is not "age"'),
        ('"\\u0041ge":29,"fare":1,"embarked":"S"', "age", '"Age" is not "age"'),
        ('"age":29,"age":30,"fare":1,"embarked":"S"', "age", "given more than once"),
        ('"age":29,"age":30,"note":1', "age", "given more than once"),
        ('"\\u0061ge":29,"age":30,"fare":1,"embarked":"S"', "age", "given more than once"),
        ('"age":29,"fare":null,"fare":1,"embarked":"S"', "fare", "given more than once"),
    ],
)
@pytest.mark.parametrize("others", ['"age":null,"fare":1,"embarked":"S"', '"note":"age: 1"', ""])
@pytest.mark.parametrize("place", [0, 1, 500, 999])
def test_names_are_checked_in_every_line(line: str, field: str, reason: str, others: str, place: int) -> None:
    """A misspelled or duplicate name is its line's error, anywhere in a block."""
    lines = [f"{{{_REQUIRED}{',' if others else ''}{others}}}"] * 1_000
    lines[place] = f"{{{_REQUIRED},{line}}}"
    body = "\n".join(lines).encode()
    answer = score(titanic(), body, "on_error=null")
    assert answer.counts == (1_000, 999, 1)
    assert reason in _records(answer)[place]["error"]
    failed = score(titanic(), body).error
    assert failed is not None
    assert failed.field == field
    assert failed.message.startswith(f"row {place + 1}: ")


def test_names_that_only_look_wrong_pass() -> None:
    """Feature names as values, inside values, or as another spelling are no errors."""
    other = '"note":"age","AGE":1,"inside":{"age":1,"Fare":2,"fare":{"fare":3}},"list":["age","age"]'
    answer = score(titanic(), _lines(*[other, '"n":"\\u00e9\\"age\\":1"', ""] * 300))
    assert answer.counts == (900, 900, 0)

"""Values that pass through stay exact, or their column is rejected by name."""

import csv
import io
import json
from datetime import date, timedelta
from typing import Any, Final

import pyarrow as pa
import pytest

from server.codecs.tables.limits import TEXT_ROWS
from server.codecs.tables.media_types import ARROW, CSV, NDJSON, PARQUET, FileFormat
from tests.server.support.tables import Answer, score, titanic, write

PASSENGER: Final = '"pclass":1,"sex":"female","sibsp":0,"parch":0'


def _lines(*others: str) -> bytes:
    return "".join(f"{{{PASSENGER},{other}}}\n" for other in others).encode()


def _of_csv(answer: Answer, name: str = "id") -> list[str]:
    assert answer.error is None, answer.error.message
    return [row[name] for row in csv.DictReader(io.StringIO(answer.body.decode(), newline=""))]


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        (["9223372036854775807", "-9223372036854775808"], "int64"),
        (["18446744073709551615", "0"], "uint64"),
        (["18446744073709551616", "1"], "string"),
        (["18446744073709551615", "-1"], "string"),
        (["9007199254740993", "0.5"], "string"),
        (["9007199254740992", "0.5"], "double"),
        (["1" * 5000, "1"], "string"),
    ],
)
def test_numbers_of_any_size(numbers: list[str], kind: str) -> None:
    """A field's numbers become integers, exact doubles, or their original text."""
    body = _lines(*(f'"id":{number}' for number in numbers))
    written = _of_csv(score(titanic(), body, accept=CSV.media_type))
    assert [text.removesuffix(".0") for text in written] == numbers
    for form in (ARROW, PARQUET):
        table = score(titanic(), body, accept=form.media_type).table()
        assert str(table.schema.field("id").type) == kind
        given = table.column("id").to_pylist()
        assert given == (numbers if kind == "string" else [json.loads(number) for number in numbers])


def test_selected_fields_of_ndjson_are_as_they_were_written() -> None:
    """?columns= of NDJSON passes numbers, text and structures through byte by byte."""
    fields = '"id":18446744073709551616,"f":1.10,"s":"\\u00e9","o":{"b": 1e2}'
    answer = score(titanic(), _lines(fields), "columns=id,f,s,o,pclass")
    assert answer.body.startswith(b'{"id":18446744073709551616,"f":1.10,"s":"\\u00e9","o":{"b": 1e2},"pclass":1,')


@pytest.mark.parametrize("late", ["9223372036854775808", "0.5", '"x"', "[1]"])
def test_a_later_number_that_does_not_fit(late: str) -> None:
    """A later value that doesn't fit the column's type is rejected with its field."""
    body = _lines(*['"id":1'] * (2 * TEXT_ROWS), f'"id":{late}')
    answer = score(titanic(), body, accept=CSV.media_type)
    assert answer.error is not None
    assert answer.error.field == "id"
    assert f"got {late}" in answer.error.message


@pytest.mark.parametrize("nested", ['{"n":9007199254740993.5}', "[18446744073709551616]", "[9007199254740993,0.5]"])
def test_nested_numbers(nested: str) -> None:
    """A number inside a structure stays exact, or the column is rejected by name."""
    answer = score(titanic(), _lines(f'"id":{nested}'), accept=PARQUET.media_type)
    if answer.error is None:
        assert answer.table().column("id").to_pylist() == [json.loads(nested)]
    else:
        assert answer.error.field == "id"


def test_a_feature_of_doubles_that_would_alter_an_integer() -> None:
    """A feature's integer that no double holds passes as text only."""
    body = b"pclass,sex,sibsp,parch,fare\n1,female,0,0,9007199254740993\n"
    assert _of_csv(score(titanic(), body), "fare") == ["9007199254740993"]
    line = _lines('"fare":9007199254740993')
    for text in (body, line):
        refused = score(titanic(), text, accept=ARROW.media_type)
        assert refused.error is not None
        assert refused.error.field == "fare"


def test_byte_order_marks_in_cells() -> None:
    """A byte order mark in a cell stays, also at the start of a block."""
    rows = 2 * TEXT_ROWS + 3
    body = b"note,pclass,sex,sibsp,parch\n" + b"\xef\xbb\xbfx,1,female,0,0\n" * rows
    assert _of_csv(score(titanic(), body), "note") == ["\ufeffx"] * rows


def _table(column: Any) -> bytes:  # noqa: ANN401
    rows = len(column)
    features: dict[str, list[Any]] = {
        "pclass": [1] * rows,
        "sex": ["female"] * rows,
        "sibsp": [0] * rows,
        "parch": [0] * rows,
    }
    return write(pa.table(features).append_column("x", column), ARROW)


def _numbers(values: list[int | None], bits: Any, kind: Any) -> Any:  # noqa: ANN401 # pyarrow's types
    return pa.array(values, bits).view(kind)


@pytest.mark.parametrize("form", [CSV, NDJSON])
@pytest.mark.parametrize(
    "column",
    [
        _numbers([2**31 - 1], pa.int32(), pa.date32()),
        _numbers([None, -(2**31)], pa.int32(), pa.date32()),
        _numbers([2**62], pa.int64(), pa.date64()),
        _numbers([86_400], pa.int32(), pa.time32("s")),
        _numbers([-1], pa.int64(), pa.time64("ns")),
        _numbers([2**62], pa.int64(), pa.timestamp("s")),
        _numbers([2**63 - 1], pa.int64(), pa.timestamp("us")),
        _numbers([2**63 - 1], pa.int64(), pa.duration("s")),
        _numbers([-(2**63)], pa.int64(), pa.duration("ms")),
        pa.array([1], pa.int64()).cast(pa.timestamp("us", "Nowhere/Land")),
    ],
    ids=lambda column: f"{column.type}",
)
def test_what_text_can_not_show(column: Any, form: FileFormat) -> None:  # noqa: ANN401
    """A date, time or duration that text can't express is rejected; Arrow passes it."""
    failed = score(titanic(), _table(column), accept=form.media_type)
    assert failed.error is not None
    assert failed.error.field == "x"
    assert b"ERROR" not in failed.body
    assert b"invalid>" not in failed.body
    assert score(titanic(), _table(column)).table().column("x").combine_chunks().equals(column)


def test_null_hides_what_stands_under_it() -> None:
    """The bytes under a null are never read."""
    column = pa.Array.from_buffers(
        pa.date32(), 2, [pa.py_buffer(b"\x02"), pa.py_buffer((2**31 - 1).to_bytes(4, "little") + bytes(4))]
    )
    assert _of_csv(score(titanic(), _table(column), accept=CSV.media_type), "x") == ["", "1970-01-01"]


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64(), pa.list_(pa.float64())], ids=str)
def test_infinity_in_json(kind: Any) -> None:  # noqa: ANN401
    """Infinity, which JSON doesn't have, is rejected by the column's name; NaN becomes null."""
    values: list[Any] = [[float("inf")]] if pa.types.is_list(kind) else [float("-inf")]
    failed = score(titanic(), _table(pa.array(values, kind)), accept=NDJSON.media_type)
    assert failed.error is not None
    assert failed.error.field == "x"
    nan = score(titanic(), _table(pa.array([float("nan")])), accept=NDJSON.media_type)
    assert json.loads(nan.body)["x"] is None


def test_types_that_parquet_holds_otherwise() -> None:
    """Parquet gets exact milliseconds for seconds and days for date64, or an error."""
    moments = pa.array([0, -1, 10**10]).cast(pa.timestamp("s"))
    kept = score(titanic(), _table(moments), accept=PARQUET.media_type).table().column("x")
    assert kept.type == pa.timestamp("ms")
    assert kept.cast(pa.timestamp("s")).combine_chunks().equals(moments)
    days = pa.array([date(1, 1, 1), date(9999, 12, 31)], pa.date64())
    assert score(titanic(), _table(days), accept=PARQUET.media_type).table().column("x").to_pylist() == days.to_pylist()
    for wrong in (
        _numbers([2**62], pa.int64(), pa.timestamp("s")),
        _numbers([1], pa.int64(), pa.date64()),
        pa.array([[timedelta(0)]])
        .cast(pa.list_(pa.duration("s")))
        .cast(pa.list_(pa.int64()))
        .cast(pa.list_(pa.timestamp("s"))),
    ):
        failed = score(titanic(), _table(wrong), accept=PARQUET.media_type)
        assert failed.error is not None
        assert failed.error.field == "x"


def test_columns_of_one_name_or_none() -> None:
    """Non-feature columns may have equal or empty names.

    CSV keeps the names, other formats make them unique.
    """
    body = b"a,a,a (2),,pclass,sex,,sibsp,parch,\n1,2,3,4,1,female,5,0,0,6\n"
    first, row = score(titanic(), body).body.splitlines()
    assert first.startswith(b"a,a,a (2),,pclass,sex,,sibsp,parch,,predicted_survived,")
    assert row.startswith(b"1,2,3,4,1,female,5,0,0,6,survived,")
    names = ["a", "a (3)", "a (2)", "", "pclass", "sex", "column 7", "sibsp", "parch", "column 10"]
    for form in (NDJSON, ARROW, PARQUET):
        answer = score(titanic(), body, accept=form.media_type)
        found = json.loads(answer.body) if form is NDJSON else answer.table().to_pylist()[0]
        assert [*found][: len(names)] == names
        assert [found[name] for name in ("a", "a (3)", "a (2)", "", "column 7", "column 10")] == list("123456")
    assert _of_csv(score(titanic(), body, "columns=a (3)"), "a") == ["2"]


@pytest.mark.parametrize("form", [ARROW, PARQUET], ids=lambda form: form.name)
def test_typed_columns_of_one_name(form: FileFormat) -> None:
    """Arrow and Parquet files may have two columns of the same name too."""
    columns: dict[str, Any] = {"pclass": [1], "sex": ["female"], "sibsp": [0], "parch": [0]}
    arrays: list[Any] = [pa.array(values) for values in ([1], [2], *columns.values())]
    file = write(pa.Table.from_arrays(arrays, names=["a", "a", *columns]), form)
    assert json.loads(score(titanic(), file, accept=NDJSON.media_type).body)["a (2)"] == 2

"""Rows that can't be scored: their errors, on_error, and the counts."""

import hashlib
import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from server.codecs.tables.media_types import ARROW, CSV, PARQUET, FileFormat
from tests.server.support.tables import FORMS, PASSENGERS, run, score, titanic, write

ROWS: Final = 7_000
"""Enough rows for several blocks of any format."""
BAD: Final = {4: ("sex", "x"), 5_001: ("age", -1.0), 5_002: ("pclass", 4), 6_999: ("embarked", "Z")}
"""Index of each invalid row, with the invalid feature and its value."""
REASONS: Final = {
    4: 'sex: expected one of "female", "male"; got "x"',
    5_001: "age: expected a number from 0 to 120 or null; got -1.0",
    5_002: "pclass: expected one of 1, 2, 3; got 4",
    6_999: 'embarked: expected one of "C", "Q", "S" or null; got "Z"',
}


def _table(bad: Sequence[int]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: (values * ROWS)[:ROWS] for name, values in PASSENGERS.items()}
    for row in bad:
        name, value = BAD[row]
        columns[name][row] = value
    return pa.table(columns)


def _told(reason: str | None, form: FileFormat) -> str | None:
    """Return the reason as it appears for a format, which decides the value's spelling."""
    if reason is None:
        return None
    return reason.replace("-1.0", "-1") if form is CSV else reason


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("row", BAD)
def test_a_wrong_row_is_told_by_its_number(form: FileFormat, row: int) -> None:
    """The error names the first invalid row by its number, column and reason."""
    failed = score(titanic(), write(_table([row]), form))
    assert failed.error is not None
    assert failed.error.code == "invalid_argument"
    assert failed.error.field == BAD[row][0]
    assert failed.error.message == f"row {row + 1}: {_told(REASONS[row], form)}"
    assert failed.counts[0] == row + 1
    assert failed.counts[2] == 1


def test_the_first_of_several_is_told() -> None:
    """The error names the first of several invalid rows, and its first invalid value."""
    failed = score(titanic(), write(_table([5_002, 5_001]), ARROW))
    assert failed.error is not None
    assert failed.error.message.startswith("row 5002: age")


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("wanted", FORMS, ids=lambda form: form.name)
def test_wrong_rows_are_kept(form: FileFormat, wanted: FileFormat) -> None:
    """on_error=null keeps invalid rows in place, without a prediction, with the reason in `error`."""
    table = _table([*BAD])
    answer = score(titanic(), write(table, form), "on_error=null&columns=none", accept=wanted.media_type)
    found = answer.table()
    assert answer.counts == (ROWS, ROWS - 4, 4)
    assert found["error"].to_pylist() == [_told(REASONS.get(row), form) for row in range(ROWS)]
    label = run(titanic(), _table([]))["label"].tolist()
    assert found["predicted_survived"].to_pylist() == [None if row in BAD else label[row] for row in range(ROWS)]
    assert [row for row, value in enumerate(found["probability_died"].to_pylist()) if value is None] == [*BAD]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_wrong_rows_are_left_out(form: FileFormat) -> None:
    """on_error=skip leaves out exactly the invalid rows; the others get bit-identical results."""
    numbered = _table([*BAD]).append_column("row", pa.array(range(ROWS)))
    answer = score(titanic(), write(numbered, form), "on_error=skip&columns=row", accept=ARROW.media_type)
    found = answer.table()
    kept = [row for row in range(ROWS) if row not in BAD]
    assert answer.counts == (ROWS, ROWS - 4, 4)
    assert [int(str(row)) for row in found["row"].to_pylist()] == kept
    expected = run(titanic(), _table([]))["probabilities"][kept, 1]
    np.testing.assert_array_equal(found["probability_survived"].to_numpy(), expected)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("query", ["on_error=null", "on_error=skip"])
def test_a_table_of_nothing_but_wrong_rows(form: FileFormat, query: str) -> None:
    """A table with only invalid rows has no predictions."""
    table = pa.table(PASSENGERS | {"sex": ["a", "b", "c", "d"]})
    answer = score(titanic(), write(table, form), query, accept=PARQUET.media_type)
    assert answer.counts == (4, 0, 4)
    assert answer.table().num_rows == (4 if query == "on_error=null" else 0)


@pytest.mark.parametrize("given", ["x", "-1", "1e999", "0x1", "1_0"])
def test_a_wrong_value_is_kept_as_text(given: str) -> None:
    """CSV output keeps an invalid value; typed output has null for text."""
    body = f"pclass,sex,sibsp,parch,age\n1,male,0,0,{given}\n1,male,0,0,1\n".encode()
    answer = score(titanic(), body, "on_error=null")
    shown = given if given in {"-1", "1e999"} else f'"{given}"'
    assert answer.column("age") == [given, "1"]
    assert answer.column("error")[0] == f"age: expected a number from 0 to 120 or null; got {shown}"
    typed = score(titanic(), body, "on_error=null", accept=ARROW.media_type).column("age")
    assert typed == [{"-1": -1.0, "1e999": float("inf")}.get(given), 1.0]


@pytest.mark.parametrize("given", ["1.0", "+1", "1e0", "01", " 1 ", "10e-1"])
def test_whole_numbers_in_text(given: str) -> None:
    """A whole number may be written with a fraction of zero, as data frames do."""
    body = f"pclass,sex,sibsp,parch\n{given},male,{given},0\n".encode()
    assert score(titanic(), body, accept=ARROW.media_type).column("sibsp") == [1]


@pytest.mark.parametrize("given", ["nan", "NaN", ""])
def test_not_a_number_is_null(given: str) -> None:
    """NaN, which programs write for missing values, is null."""
    body = f"pclass,sex,sibsp,parch,age\n1,male,0,0,{given}\n".encode()
    missing = b"pclass,sex,sibsp,parch\n1,male,0,0\n"
    names = ["predicted_survived", "probability_died", "probability_survived"]
    assert score(titanic(), body, "columns=none").body == score(titanic(), missing, "columns=none").body
    wrong = score(titanic(), f"pclass,sex,sibsp,parch\n1,male,{given},0\n".encode(), "on_error=null")
    assert [wrong.column(name) for name in names] == [[None]] * 3
    assert wrong.column("error")[0].startswith("sibsp: expected an integer of at least 0; ")


def _long_rows(value_bytes: int, **options: Any) -> bytes:  # noqa: ANN401 # pyarrow's options
    """Return a Parquet file of 4,096 rows, each with a value of `value_bytes` bytes."""
    notes = [hashlib.shake_256(b"%d" % row).hexdigest(100) * (value_bytes // 200) for row in range(4_096)]
    out = io.BytesIO()
    pq.write_table(
        pa.table({name: values * 1_024 for name, values in PASSENGERS.items()} | {"note": notes}), out, **options
    )
    return out.getvalue()


@pytest.mark.parametrize(
    ("value_bytes", "options"),
    [
        pytest.param(40_000, {}, id="40 kB"),
        pytest.param(80_000, {"write_batch_size": 64}, id="80 kB in small pages"),
        pytest.param(
            80_000, {"write_batch_size": 64, "compression": "zstd", "use_dictionary": False}, id="80 kB in zstd"
        ),
        pytest.param(80_000, {"write_batch_size": 64, "row_group_size": 500}, id="80 kB in small groups"),
    ],
)
def test_long_rows_of_parquet(value_bytes: int, options: dict[str, Any]) -> None:
    """Long Parquet rows are read in smaller blocks, to limit memory.

    The file's metadata decide the size of the blocks.
    """
    answer = score(titanic(), _long_rows(value_bytes, **options), "columns=none", accept=CSV.media_type)
    assert answer.error is None, answer.error.message
    assert answer.counts == (4_096, 4_096, 0)

"""Rows that can't be scored: which is told, what becomes of them, how they are counted."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest

from server.tables.forms import ARROW, CSV, NDJSON, PARQUET, Form
from tests.server.tables import FORMS, PASSENGERS, run, score, titanic, write

ROWS: Final = 7_000
"""Several blocks of any form."""
BAD: Final = {4: ("sex", "x"), 5_001: ("age", -1.0), 5_002: ("pclass", 4), 6_999: ("embarked", "Z")}
"""Row, from 0, to the feature that is wrong in it."""
REASONS: Final = {
    4: 'sex: expected one of "female", "male"; got x',
    5_001: "age: expected a number from 0 to 120 or null; got -1.0",
    5_002: "pclass: expected one of 1, 2, 3; got 4",
    6_999: 'embarked: expected one of "C", "Q", "S" or null; got Z',
}


def _table(bad: Sequence[int]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: (values * ROWS)[:ROWS] for name, values in PASSENGERS.items()}
    for row in bad:
        name, value = BAD[row]
        columns[name][row] = value
    return pa.table(columns)


def _told(reason: str | None, form: Form) -> str | None:
    """Return a reason as it is given of rows in a form: it repeats the value as that has it."""
    if reason is None:
        return None
    if form is NDJSON:
        return reason.replace("got x", 'got "x"').replace("got Z", 'got "Z"')
    return reason.replace("-1.0", "-1") if form is CSV else reason


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("row", BAD)
def test_a_wrong_row_is_told_by_its_number(form: Form, row: int) -> None:
    """The first wrong row is told by its number from 1, its column and its reason, in whatever block it is."""
    failed = score(titanic(), write(_table([row]), form))
    assert failed.error is not None
    assert failed.error.code == "invalid_argument"
    assert failed.error.field == BAD[row][0]
    assert failed.error.message == f"row {row + 1}: {_told(REASONS[row], form)}"
    assert failed.counts[0] == row + 1
    assert failed.counts[2] == 1


def test_the_first_of_several_is_told() -> None:
    """Of several wrong rows, and several faults in a row, the first is told."""
    failed = score(titanic(), write(_table([5_002, 5_001]), ARROW))
    assert failed.error is not None
    assert failed.error.message.startswith("row 5002: age")


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("wanted", FORMS, ids=lambda form: form.name)
def test_wrong_rows_are_kept(form: Form, wanted: Form) -> None:
    """on_error=null keeps each row in its place: wrong ones without an answer, with the reason in `error`."""
    table = _table([*BAD])
    answer = score(titanic(), write(table, form), "on_error=null&columns=none", accept=wanted.media_type)
    found = answer.table()
    assert answer.counts == (ROWS, ROWS - 4, 4)
    assert found["error"].to_pylist() == [_told(REASONS.get(row), form) for row in range(ROWS)]
    label = run(titanic(), _table([]))["label"].tolist()
    assert found["predicted_survived"].to_pylist() == [None if row in BAD else label[row] for row in range(ROWS)]
    assert [row for row, value in enumerate(found["probability_died"].to_pylist()) if value is None] == [*BAD]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_wrong_rows_are_left_out(form: Form) -> None:
    """on_error=skip leaves wrong rows out, and no others: the rest has the same bits."""
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
def test_a_table_of_nothing_but_wrong_rows(form: Form, query: str) -> None:
    """Where no row can be scored, none is."""
    table = pa.table(PASSENGERS | {"sex": ["a", "b", "c", "d"]})
    answer = score(titanic(), write(table, form), query, accept=PARQUET.media_type)
    assert answer.counts == (4, 0, 4)
    assert answer.table().num_rows == (4 if query == "on_error=null" else 0)


@pytest.mark.parametrize("given", ["x", "-1", "1e999", "0x1", "1_0"])
def test_a_wrong_value_is_kept_as_text(given: str) -> None:
    """CSV keeps a wrong value in CSV; where its column is one of numbers, what is no number is null."""
    body = f"pclass,sex,sibsp,parch,age\n1,male,0,0,{given}\n1,male,0,0,1\n".encode()
    answer = score(titanic(), body, "on_error=null")
    assert answer.column("age") == [given, "1"]
    assert answer.column("error")[0] == f"age: expected a number from 0 to 120 or null; got {given}"
    typed = score(titanic(), body, "on_error=null", accept=ARROW.media_type).column("age")
    assert typed == [{"-1": -1.0, "1e999": float("inf")}.get(given), 1.0]


@pytest.mark.parametrize("given", ["1.0", "+1", "1e0", "01", " 1 ", "10e-1"])
def test_whole_numbers_in_text(given: str) -> None:
    """A whole number may be written as one with a fraction of nought, as data frames do."""
    body = f"pclass,sex,sibsp,parch\n{given},male,{given},0\n".encode()
    assert score(titanic(), body, accept=ARROW.media_type).column("sibsp") == [1]


@pytest.mark.parametrize("given", ["nan", "NaN", ""])
def test_not_a_number_is_null(given: str) -> None:
    """NaN, as programs write what is missing, is null: refused for a feature that can't be."""
    body = f"pclass,sex,sibsp,parch,age\n1,male,0,0,{given}\n".encode()
    missing = b"pclass,sex,sibsp,parch\n1,male,0,0\n"
    names = ["predicted_survived", "probability_died", "probability_survived"]
    assert score(titanic(), body, "columns=none").body == score(titanic(), missing, "columns=none").body
    wrong = score(titanic(), f"pclass,sex,sibsp,parch\n1,male,{given},0\n".encode(), "on_error=null")
    assert [wrong.column(name) for name in names] == [[None]] * 3
    assert wrong.column("error")[0].startswith("sibsp: expected an integer of at least 0; ")

"""Files that are rejected before the first row: by their header, schema or first bytes."""

from typing import Any

import pyarrow as pa
import pytest

from server.codecs.tables.media_types import ARROW, CSV, PARQUET, FileFormat
from server.models.session import Model
from tests.server.support.tables import FORMS, PASSENGERS, score, titanic, write


@pytest.fixture(scope="module")
def model() -> Model:
    """Load the committed model."""
    return titanic()


def test_a_column_that_is_not_there_is_refused(model: Model) -> None:
    """An unknown column in ?columns= is rejected."""
    refused = score(model, write(pa.table(PASSENGERS), CSV), "columns=sex,height").refusal()
    assert (refused.code, refused.field) == ("invalid_argument", "columns")
    assert 'there is no "height"' in refused.message


@pytest.mark.parametrize("form", [CSV, ARROW, PARQUET], ids=lambda form: form.name)
def test_other_columns_may_not(model: Model, form: FileFormat) -> None:
    """A table without a required feature's column is rejected before the first row."""
    refused = score(model, write(pa.table(PASSENGERS).drop(["sex"]), form)).refusal()
    assert (refused.code, refused.field) == ("invalid_argument", "sex")
    assert '"sex" missing; got "pclass", "age"' in refused.message


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("name", ["predicted_survived", "probability_died", "error"])
def test_columns_called_as_the_answers_are_refused(model: Model, form: FileFormat, name: str) -> None:
    """A column with the name of an added column is rejected.

    `error` is added only with on_error=null.
    """
    taken = write(pa.table(PASSENGERS | {name: ["x"] * 4}), form)
    refused = score(model, taken, "on_error=null", accept=ARROW.media_type).refusal()
    assert (refused.code, refused.field) == ("invalid_argument", name)
    assert (score(model, taken).error is None) == (name == "error")


@pytest.mark.parametrize("form", [CSV, ARROW], ids=lambda form: form.name)
def test_a_column_twice_is_refused(model: Model, form: FileFormat) -> None:
    """A duplicate column of a feature is rejected."""
    table = pa.table(PASSENGERS)
    refused = score(model, write(table.append_column("age", table["age"]), form)).refusal()
    assert (refused.code, refused.field) == ("invalid_argument", "age")


@pytest.mark.parametrize("form", [ARROW, PARQUET], ids=lambda form: form.name)
@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("sex", [1, 2, 3, 4]),
        ("age", [[1.0]] * 4),
        ("pclass", [b"1"] * 4),
        ("fare", [True] * 4),
    ],
)
def test_types_are_checked_before_the_first_row(model: Model, form: FileFormat, name: str, column: list[Any]) -> None:
    """A feature's column of an unsuitable type is rejected by the schema alone."""
    table = pa.table(PASSENGERS)
    wrong = table.set_column(table.column_names.index(name), name, pa.array(column))
    refused = score(model, write(wrong, form)).refusal()
    assert (refused.code, refused.field) == ("invalid_argument", name)
    assert "got a column of" in refused.message


@pytest.mark.parametrize("body", [b"", b"\n\r\n", b"\xef\xbb\xbf"])
def test_nothing_is_refused(model: Model, body: bytes) -> None:
    """An empty body is rejected."""
    assert "it is empty" in score(model, body).refusal().message

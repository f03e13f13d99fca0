"""Tables of every format to scored tables of every format: results, columns, counts."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from server.codecs.tables.media_types import ARROW, CSV, NDJSON, PARQUET, FileFormat
from server.models.session import Model
from tests.server.support import small
from tests.server.support.every import ROWS, SCHEMA, load
from tests.server.support.tables import FORMS, PASSENGERS, Answer, read, run, score, titanic, write

_PAIRS: Final = [(given, wanted) for given in FORMS for wanted in FORMS]


@pytest.fixture(scope="module")
def model() -> Model:
    """Load the committed model."""
    return titanic()


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Load a model with a feature of every datatype."""
    return load(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize(("given", "wanted"), _PAIRS, ids=lambda form: form.name)
def test_answers_are_the_sessions_own(model: Model, given: FileFormat, wanted: FileFormat) -> None:
    """For all pairs of formats the results are bit-identical to the session's, in order."""
    passengers = pa.table({name: values * 40 for name, values in PASSENGERS.items()})
    expected = run(model, passengers)
    answer = score(model, write(passengers, given), accept=wanted.media_type)
    table = answer.table()
    assert answer.form is wanted
    assert answer.counts == (160, 160, 0)
    assert table.column_names == [*PASSENGERS, "predicted_survived", "probability_died", "probability_survived"]
    assert table["predicted_survived"].to_pylist() == expected["label"].tolist()
    for place, name in enumerate(("probability_died", "probability_survived")):
        got = np.array([np.float32(value) for value in table[name].to_pylist()])
        np.testing.assert_array_equal(got.view(np.uint32), expected["probabilities"][:, place].view(np.uint32))


@pytest.mark.parametrize(("given", "wanted"), _PAIRS, ids=lambda form: form.name)
def test_every_datatype(every: Model, given: FileFormat, wanted: FileFormat) -> None:
    """A feature of every datatype passes between all formats, with limits and nulls."""
    rows = pa.table(ROWS, SCHEMA)
    answer = score(every, write(rows, given), accept=wanted.media_type)
    values = [float(value) for value in answer.column("predicted_value")]
    np.testing.assert_array_equal(values, run(every, rows)["value"].reshape(-1))
    passed = answer.table().select(list(ROWS)).to_pydict()
    if wanted is CSV:
        passed = {name: _typed(values, ROWS[name]) for name, values in passed.items()}
    assert passed == ROWS


@pytest.mark.parametrize("form", [CSV, ARROW, PARQUET], ids=lambda form: form.name)
def test_unsigned_integers_end_where_the_datatype_does(every: Model, form: FileFormat) -> None:
    """Formats other than JSON carry UINT64 values up to the maximum."""
    rows = pa.table(ROWS | {"uint64": [2**64 - 1] * 3}, SCHEMA)
    answer = score(every, write(rows, form), accept=ARROW.media_type)
    assert answer.column("uint64") == [2**64 - 1] * 3
    assert answer.column("predicted_value") == run(every, rows)["value"].reshape(-1).tolist()


def _typed(texts: Sequence[str | None], like: Sequence[Any]) -> list[Any]:
    """Return CSV texts converted to the type of the values `like`."""
    kind: Any = type(next(value for value in like if value is not None))
    if kind is bool:
        return [text == "true" for text in texts]
    return [None if text is None else kind(text) for text in texts]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_columns_stand_in_any_order(model: Model, form: FileFormat) -> None:
    """Columns keep their order; columns that are no features pass through."""
    passengers = pa.table({"note": ["a", "b", "c", "d"]} | dict(reversed(PASSENGERS.items())))
    answer = score(model, write(passengers, form)).table()
    assert answer.column_names[:8] == ["note", *reversed(PASSENGERS)]
    assert answer["note"].to_pylist() == ["a", "b", "c", "d"]
    assert answer["predicted_survived"].to_pylist() == run(model, passengers)["label"].tolist()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize(("columns", "names"), [("none", []), ("note,age", ["note", "age"]), ("sex", ["sex"])])
def test_columns_are_chosen(model: Model, form: FileFormat, columns: str, names: list[str]) -> None:
    """?columns= passes no columns, or the named columns in the given order."""
    passengers = pa.table(PASSENGERS | {"note": ["a", "b", "c", "d"]})
    answer = score(model, write(passengers, form), f"columns={columns}").table()
    assert answer.column_names == [*names, "predicted_survived", "probability_died", "probability_survived"]
    everything = score(model, write(passengers, form)).table()
    assert all(answer[name].equals(everything[name]) for name in names)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_nullable_columns_may_be_missing(model: Model, form: FileFormat) -> None:
    """A missing column of a nullable feature counts as null."""
    fewer = pa.table(PASSENGERS).drop(["age", "fare", "embarked"])
    assert score(model, write(fewer, form)).column("predicted_survived") == run(model, fewer)["label"].tolist()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_no_rows(model: Model, form: FileFormat) -> None:
    """A table without rows gets a table without rows and with all columns."""
    if form is NDJSON:
        return  # an empty body is no NDJSON
    answer = score(model, write(pa.table(PASSENGERS).slice(0, 0).cast(pa.table(PASSENGERS).schema), form))
    assert answer.counts == (0, 0, 0)
    assert answer.table().num_rows == 0
    assert len(answer.table().column_names) == len(PASSENGERS) + 3


def _notes(answer: Answer) -> dict[bytes, bytes]:
    """Return the custom metadata of an Arrow stream's last message."""
    reader = pa.ipc.open_stream(answer.body)
    notes: dict[bytes, bytes] = {}
    with reader:
        while True:
            try:
                batch = reader.read_next_batch_with_custom_metadata()
            except StopIteration:
                return notes
            notes = dict(batch.custom_metadata or {})


def test_counts_stand_where_each_form_has_room(model: Model) -> None:
    """Each format has a place for the counts.

    Arrow has them in the last message, Parquet in its metadata, text in a last line on request.
    """
    rows = write(pa.table(PASSENGERS | {"sex": ["male", "x", "female", "y"]}), CSV)
    arrow = score(model, rows, "on_error=skip", accept=ARROW.media_type)
    expected = {b"lifeboat.rows-read": b"4", b"lifeboat.rows-scored": b"2", b"lifeboat.rows-failed": b"2"}
    assert _notes(arrow) == expected
    parquet = (
        pq.read_metadata(io.BytesIO(score(model, rows, "on_error=skip", accept=PARQUET.media_type).body)).metadata or {}
    )
    found = {name: value for name, value in parquet.items() if name.startswith(b"lifeboat")}
    assert {name: b"%d" % int(value) for name, value in found.items()} == expected
    lines = score(model, rows, "on_error=skip&summary=last", accept=NDJSON.media_type).body.splitlines()
    assert json.loads(lines[-1]) == {"summary": {"rows-read": 4, "rows-scored": 2, "rows-failed": 2}}
    lines = score(model, rows, "on_error=skip&summary=last").body.splitlines()
    assert lines[-1] == b"# rows-read=4, rows-scored=2, rows-failed=2"
    assert len(lines) == 1 + 2 + 1


def test_csv_floats_read_back_to_the_same_bits(tmp_path: Path) -> None:
    """A 32-bit result is written in the fewest digits that preserve its value."""
    double = Model.load(small.double(tmp_path))
    numbers = np.frombuffer(np.random.default_rng(1).bytes(4 * 5000), np.float32)
    numbers = numbers[np.isfinite(numbers) & (np.abs(numbers) < 1e38)]
    rows = b"x\n" + b"".join(b"%b\n" % repr(float(number)).encode() for number in numbers)
    answer = score(double, rows, "columns=none")
    texts = [row[0] for row in csv.reader(io.StringIO(answer.body.decode()))][1:]
    got = np.array([np.float32(text) for text in texts])
    np.testing.assert_array_equal(got.view(np.uint32), (numbers + numbers).view(np.uint32))
    assert max(map(len, texts)) <= len("-1.17549435e-38") + 2


def test_arrow_answers_are_not_compressed(model: Model) -> None:
    """An Arrow response is not compressed, because not every client can decompress it."""
    answer = score(model, write(pa.table({name: values * 500 for name, values in PASSENGERS.items()}), ARROW))
    message = pa.ipc.MessageReader.open_stream(answer.body)
    message.read_next_message()
    body = message.read_next_message().body
    assert body is not None
    assert b"female" in body.to_pybytes()
    assert read(answer.body, ARROW).num_rows == 2000

"""Columns that a response leaves out are neither expanded nor passed between processes."""

import io
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa
import pytest

from server.codecs.tables.media_types import ARROW, CSV, PARQUET
from tests.server.support.bad_files import NESTED, TABLE, stream
from tests.server.support.tables import PASSENGERS, score, titanic, write

_WRITERS: Final[dict[str, Callable[[pa.Table], bytes]]] = {
    "parquet": lambda table: write(table, PARQUET),
    "arrow": lambda table: write(table, ARROW),
    "arrow file": lambda table: stream(table, "zstd", file=True),
}
_OTHERS: Final[dict[str, Any]] = {
    "id": pa.array(range(16)),
    "codes": NESTED["codes"],
    "lists": NESTED["lists"],
    "views": NESTED["views"],
}


def _table(**more: Any) -> pa.Table:  # noqa: ANN401 # pyarrow's types
    table = TABLE
    for name, column in (_OTHERS | more).items():
        table = table.add_column(0, name, column)
    return table


@pytest.mark.parametrize("writer", _WRITERS)
@pytest.mark.parametrize("columns", ["none", "id", "codes,id", "lists", "sex,codes", "views,age"])
def test_some_columns(writer: str, columns: str) -> None:
    """The selected columns and the predictions equal those of a response with all columns."""
    body = _WRITERS[writer](_table())
    every = score(titanic(), body, accept=ARROW.media_type).table()
    some = score(titanic(), body, f"columns={columns}", accept=ARROW.media_type).table()
    names = [] if columns == "none" else columns.split(",")
    assert some.column_names == [*names, *every.column_names[-3:]]
    for name in some.column_names:
        assert some[name].to_pylist() == every[name].to_pylist()


def test_columns_that_are_not_needed_are_not_written_out() -> None:
    """A column that expands to gigabytes does no harm if the response omits it."""
    codes = pa.DictionaryArray.from_arrays(pa.array([0] * 16_000, pa.int8()), pa.array(["a" * 1_000_000]))
    columns = {name: values * 4_000 for name, values in PASSENGERS.items()}
    body = stream(pa.table(columns).append_column("x", codes), "zstd")
    refused = score(titanic(), body, accept=CSV.media_type).error
    assert refused is not None
    assert refused.code == "payload_too_large"
    assert score(titanic(), body, "columns=none", accept=CSV.media_type).counts == (16_000, 16_000, 0)


@pytest.mark.parametrize("names", [["a,b", "c"], ["c", "c"], ["", "c"]], ids=["comma", "twice", "no name"])
def test_names_in_doubt(names: list[str]) -> None:
    """If a name is ambiguous all columns are read, and the right column passes through."""
    out = io.BytesIO()
    arrays = [pa.array([f"{place}-{row}" for row in range(16)]).dictionary_encode() for place in range(2)]
    table = pa.Table.from_arrays([*TABLE.columns, *arrays], names=[*TABLE.column_names, *names])
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    wanted = {"a,b": "a,b", "c": "c (2)", "": "c"}[names[0]]
    answer = score(titanic(), out.getvalue(), f"columns={wanted}", accept=CSV.media_type)
    place = 0 if wanted == "a,b" else 1
    assert answer.table().column(0).to_pylist() == [f"{place}-{row}" for row in range(16)]


@pytest.mark.parametrize("writer", _WRITERS)
def test_errors_name_the_same_columns(writer: str) -> None:
    """A missing column and a misspelled feature give the same errors as without a selection."""
    body = _WRITERS[writer](_table())
    error = score(titanic(), body, "columns=ID").refusal()
    assert error.field == "columns"
    assert '"ID" is not "id"' in error.message or 'did you mean "id"' in error.message
    other = _WRITERS[writer](_table().rename_columns({"age": "Age"}))
    assert score(titanic(), other, "columns=none").refusal().field == "age"

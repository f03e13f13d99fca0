"""Columns of any type that are no features pass through exactly where possible."""

import datetime as dt
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
import pytest

from server.codecs.tables.media_types import ARROW, CSV, FILE_FORMATS, NDJSON, PARQUET, FileFormat
from tests.server.support.tables import PASSENGERS, score, titanic, write

_DAY: Final = dt.date(2020, 2, 29)
_NOON: Final = dt.datetime(2020, 2, 29, 12, 0, 0, 456)  # noqa: DTZ001 # a column without a time zone
EXACT: Final[dict[str, Any]] = {
    "booleans": pa.array([True, None, False, True]),
    "integers beyond 2^53": pa.array([2**53 + 1, None, -(2**63), 2**63 - 1]),
    "unsigned integers": pa.array([2**64 - 1, None, 0, 1], pa.uint64()),
    "halves": pa.array([1.5, None, 0, -2], pa.float16()),
    "floats": pa.array([0.1, None, float("inf"), -0.0], pa.float32()),
    "doubles": pa.array([0.1, None, -0.0, 1e300]),
    "strings": pa.array(['q"x,\n', None, "", "ß€😀\r\n"]),
    "bytes": pa.array([b"\xff", None, b"", b"a"]),
    "fixed bytes": pa.array([b"abc", None, b"abd", b"abe"], pa.binary(3)),
    "timestamps": pa.array([_NOON, None] * 2, pa.timestamp("us")),
    "timestamps with a zone": pa.array([_NOON, None] * 2, pa.timestamp("ms", "Europe/Berlin")),
    "dates": pa.array([_DAY, None] * 2),
    "times": pa.array([dt.time(1, 2, 3), None] * 2, pa.time64("us")),
    "durations": pa.array([1, None] * 2, pa.duration("us")),
    "decimals": pa.array([Decimal("1.23"), None, Decimal("-99.99"), Decimal(0)], pa.decimal128(38, 2)),
    "nothing": pa.nulls(4),
    "lists": pa.array([[1, None], None, [], [3]]),
    "lists of a size": pa.array([[1, 2], None, [3, 4], [5, 6]], pa.list_(pa.int8(), 2)),
    "structures": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}, {"a": 2, "b": None}]),
    "maps": pa.array([[("k", 1)], None, [], [("z", 2)]], pa.map_(pa.string(), pa.int64())),
}
PLAIN: Final[dict[str, Any]] = {
    "dictionary": pa.array(["a", None, "b", "a"]).dictionary_encode(),
    "dictionary of numbers": pa.array([5, None, 6, 5]).dictionary_encode(),
    "long strings": pa.array(["a", None, "b", "c"], pa.large_string()),
    "views": pa.array(["a", None, "b" * 30, "c"], pa.string_view()),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([1, 4], pa.int32()), pa.array(["a", None])),
    "runs of codes": pa.RunEndEncodedArray.from_arrays(
        pa.array([1, 4], pa.int32()), pa.array(["a", "b"]).dictionary_encode()
    ),
}
"""Columns that pass through as plain strings and numbers."""
NESTED: Final[dict[str, Any]] = {
    "lists of views": pa.array([["a"], None, [], ["b" * 20]], pa.list_(pa.string_view())),
    "list views": pa.array([[1, 2], None, [], [3]], pa.list_view(pa.int32())),
    "large list views": pa.array([[1, 2], None, [], [3]], pa.large_list_view(pa.int32())),
    "lists of codes": pa.ListArray.from_arrays(
        pa.array([0, 1, 2, 3, 4], pa.int32()), pa.array(["a", "b", None, "a"]).dictionary_encode()
    ),
    "structures of codes": pa.StructArray.from_arrays([pa.array(["a", "b", None, "a"]).dictionary_encode()], ["a"]),
    "codes of lists": pa.DictionaryArray.from_arrays(pa.array([0, None, 1, 0], pa.int8()), pa.array([[1], [2, 3]])),
}
"""Columns that pass through as lists and structures of plain values."""


def _passed(column: Any, file_format: FileFormat, wanted: FileFormat) -> Any:  # noqa: ANN401 # a pyarrow column
    table = pa.table(PASSENGERS).append_column("extra", column)
    return score(titanic(), write(table, file_format), accept=wanted.media_type).table()["extra"]


@pytest.mark.parametrize("file_format", [ARROW, PARQUET], ids=lambda file_format: file_format.name)
@pytest.mark.parametrize("wanted", [ARROW, PARQUET], ids=lambda file_format: file_format.name)
@pytest.mark.parametrize("kind", EXACT)
def test_types_are_kept(kind: str, file_format: FileFormat, wanted: FileFormat) -> None:
    """A column keeps its type and its values in formats with types."""
    found = _passed(EXACT[kind], file_format, wanted)
    assert found.to_pylist() == EXACT[kind].to_pylist()
    assert found.type == EXACT[kind].type


@pytest.mark.parametrize("wanted", FILE_FORMATS, ids=lambda file_format: file_format.name)
@pytest.mark.parametrize("kind", PLAIN)
def test_encodings_become_plain(kind: str, wanted: FileFormat) -> None:
    """Dictionaries, views, runs and long strings become plain columns with the same values."""
    values = PLAIN[kind].to_pylist()
    if wanted is CSV:
        values = [None if value is None else str(value) for value in values]
    assert _passed(PLAIN[kind], ARROW, wanted).to_pylist() == values


@pytest.mark.parametrize("wanted", [ARROW, PARQUET, NDJSON], ids=lambda file_format: file_format.name)
@pytest.mark.parametrize("kind", NESTED)
def test_encodings_inside_become_plain(kind: str, wanted: FileFormat) -> None:
    """The same holds inside lists and structures."""
    assert _passed(NESTED[kind], ARROW, wanted).to_pylist() == NESTED[kind].to_pylist()


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("booleans", ["true", None, "false", "true"]),
        ("integers beyond 2^53", ["9007199254740993", None, "-9223372036854775808", "9223372036854775807"]),
        ("unsigned integers", ["18446744073709551615", None, "0", "1"]),
        ("doubles", ["0.1", None, "-0.0", "1e300"]),
        ("strings", ['q"x,\n', None, None, "ß€😀\r\n"]),
        ("timestamps", ["2020-02-29T12:00:00.000456", None] * 2),
        ("dates", ["2020-02-29", None] * 2),
        ("decimals", ["1.23", None, "-99.99", "0.00"]),
        ("bytes", ["ff", None, None, "61"]),
    ],
)
def test_types_as_text(kind: str, texts: list[str | None]) -> None:
    """CSV has numbers with all digits, times as ISO 8601, and bytes as hexadecimal."""
    assert _passed(EXACT[kind], ARROW, CSV).to_pylist() == texts


@pytest.mark.parametrize("kind", ["lists", "structures"])
def test_lists_in_json(kind: str) -> None:
    """NDJSON has lists and structures as JSON."""
    assert _passed(EXACT[kind], PARQUET, NDJSON).to_pylist() == EXACT[kind].to_pylist()


def test_types_that_parquet_has_not() -> None:
    """Dates and times in units that Parquet lacks are converted to its units."""
    days = pa.array([_DAY, None] * 2, pa.date64())
    assert _passed(days, ARROW, PARQUET).to_pylist() == [_DAY, None] * 2
    times = pa.array([dt.time(1, 2), None] * 2, pa.time32("s"))
    assert _passed(times, ARROW, PARQUET).to_pylist() == times.to_pylist()


def test_lists_in_csv_are_refused() -> None:
    """Lists are rejected for CSV before the first row; a selection can leave them out."""
    body = write(pa.table(PASSENGERS).append_column("extra", EXACT["lists"]), ARROW)
    refused = score(titanic(), body, accept=CSV.media_type).refusal()
    assert (refused.code, refused.field) == ("invalid_argument", "extra")
    assert score(titanic(), body, "columns=sex", accept=CSV.media_type).error is None


UNREAD: Final[dict[str, Any]] = {
    "interval": pa.array([(1, 2, 3), None] * 2, pa.month_day_nano_interval()),
    "union": pa.UnionArray.from_sparse(pa.array([0, 1] * 2, pa.int8()), [pa.array([1] * 4), pa.array(["a"] * 4)]),
    "list of unions": pa.FixedSizeListArray.from_arrays(
        pa.UnionArray.from_sparse(pa.array([0] * 4, pa.int8()), [pa.array([1] * 4)]), 1
    ),
    "bytes of no width": pa.array([b""] * 4, pa.binary(0)),
}


@pytest.mark.parametrize("kind", UNREAD)
def test_a_column_that_cant_be_passed_on_is_left_out(kind: str) -> None:
    """A non-feature column that no format supports is left out, unless the request names it."""
    body = write(pa.table(PASSENGERS).append_column("extra", UNREAD[kind]), ARROW)
    for wanted in FILE_FORMATS:
        answer = score(titanic(), body, accept=wanted.media_type)
        assert answer.counts == (4, 4, 0)
        assert answer.table().column_names[:8] == [*PASSENGERS, "predicted_survived"]
    assert score(titanic(), body, "columns=none").counts == (4, 4, 0)
    refused = score(titanic(), body, "columns=sex,extra").refusal()
    assert (refused.code, refused.field) == ("invalid_argument", "extra")


def test_a_feature_of_a_type_that_cant_be_read() -> None:
    """A feature's column of an unsupported type is rejected by name."""
    table = pa.table(PASSENGERS).set_column(2, "age", UNREAD["interval"])
    assert score(titanic(), write(table, ARROW)).refusal().field == "age"


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (pa.array([2**62] * 4, pa.int64()).cast(pa.timestamp("s")), CSV),
        (pa.array([1] * 4, pa.int64()).cast(pa.timestamp("s", "Nowhere/Land")), NDJSON),
        (pa.array([1] * 4, pa.int64()).cast(pa.timestamp("s", "Nowhere/Land")), CSV),
        (pa.array([Decimal(1000)] * 4, pa.decimal128(30, -3)), PARQUET),
    ],
    ids=["moment", "zone in NDJSON", "zone in CSV", "scale"],
)
def test_values_that_a_form_cant_hold(column: Any, wanted: FileFormat) -> None:  # noqa: ANN401
    """A value that the response's format can't express is a client error."""
    failed = score(
        titanic(), write(pa.table(PASSENGERS).append_column("extra", column), ARROW), accept=wanted.media_type
    )
    assert failed.error is not None
    assert (failed.error.code, failed.error.field) == ("invalid_argument", "extra")


def test_an_error_in_the_middle_of_parquet_keeps_its_words() -> None:
    """An error in a row keeps its message for Parquet output, NUL included."""
    body = b"pclass,sex,sibsp,parch\n1,male,0,0\n1,a\0b,0,0\n"
    failed = score(titanic(), body, accept=PARQUET.media_type)
    assert failed.error is not None
    assert failed.error.message == 'row 2: sex: expected one of "female", "male"; got "a\\u0000b"'
    assert failed.body == b""

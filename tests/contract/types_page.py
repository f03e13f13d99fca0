"""The table of what happens to a file's column, by type and file format.

`python -m tests.contract.types_page` writes docs/reference/types.md. Each cell comes from responses: the values in a
response are compared with the values sent. A cell says "altered" if a value is neither the same nor rejected with the
column's name.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from server.codecs.tables.media_types import ARROW, CSV, NDJSON, PARQUET, FileFormat
from tests.server.support.tables import Answer, score, titanic, write

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "types.md"
FORMS: Final = (CSV, NDJSON, ARROW, PARQUET)
_INFINITY: Final = float("inf")
_ARROW: Final[Any] = pa
"""pyarrow, for functions that its type stubs lack."""
REJECTED: Final = "rejected by name"
LEFT_OUT: Final = "left out"
ALTERED: Final = "altered"


def _same(value: Any) -> Any:  # noqa: ANN401 # any type
    return value


@dataclass(frozen=True)
class Case:
    """A type with its extreme values, and their forms in text and JSON."""

    name: str
    column: Any
    """A pyarrow array."""
    words: str = ""
    """How the page describes the values in CSV and NDJSON; empty if they are unchanged."""
    json_words: str | None = None
    """The same for NDJSON only, if it differs from CSV."""
    text: Callable[[Any], str] = str
    """Formats a value that is not null for CSV."""
    json: Callable[[Any], Any] = _same
    """Formats a value that is not null for NDJSON."""
    values: Sequence[Any] | None = None
    """The values, if Python's types can't hold those of the array."""
    in_parquet: bool = True
    """Whether pyarrow writes the values to Parquet unchanged."""

    @property
    def sent(self) -> list[Any]:
        """The values that are sent."""
        return list(self.column.to_pylist() if self.values is None else self.values)


def _hex(value: bytes) -> str:
    return value.hex()


def _iso(value: date | time | datetime) -> str:
    return value.isoformat()


def _bits(values: Sequence[int | None], kind: Any, of: Any) -> Any:  # noqa: ANN401 # pyarrow's types
    return pa.array(values, of).view(kind)


def _integers() -> list[Case]:
    found = []
    for bits in (8, 16, 32, 64):
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        found.append(Case(f"int{bits}", pa.array([low, high, 0, None], getattr(pa, f"int{bits}")())))
        found.append(Case(f"uint{bits}", pa.array([0, 2**bits - 1, None], getattr(pa, f"uint{bits}")())))
    return found


def _floats() -> list[Case]:
    found = []
    for kind, name in ((np.float16, "float16"), (np.float32, "float32"), (np.float64, "float64")):
        info = np.finfo(kind)
        finite = [kind(info.max), kind(info.tiny), kind(0.1), kind(-0.0), None]
        column = pa.array(finite, getattr(pa, name)())

        found.append(Case(name, column))
        special = pa.array(np.array([math.nan], kind))
        found.append(Case(f"{name}, NaN", special, "`NaN`", "null", lambda _: "nan", lambda _: None))
        found.append(Case(f"{name}, infinity", pa.array(np.array([_INFINITY, -_INFINITY], kind)), "`inf`", None, repr))
    return found


def _decimals() -> list[Case]:
    kinds = {"decimal32": (9, 2), "decimal64": (18, 3), "decimal128": (38, 10), "decimal256": (76, 10)}
    found = []
    for name, (digits, scale) in kinds.items():
        top = Decimal("9" * (digits - scale) + "." + "9" * scale)
        column = pa.array([top, top.copy_negate(), Decimal(0), None], getattr(pa, name)(digits, scale))
        found.append(Case(name, column, "all digits", None, lambda value: f"{value:f}"))
    negative = pa.array([Decimal(1234500), None], pa.decimal128(5, -2))
    found.append(Case("decimal128, negative scale", negative, "all digits", None, lambda value: f"{value:f}"))
    return found


def _texts() -> list[Case]:
    texts = ["a", 'a,"b"\n', "\ufeffx", "é😀", "0", "null", None]
    return [
        *(Case(str(kind), pa.array(texts, kind)) for kind in (pa.string(), pa.large_string(), pa.string_view())),
        Case("string, empty", pa.array(["", None]), "an empty field, as null is", "kept"),
        *(
            Case(name, pa.array([b"", b"\xff\x00", b"a" * 20, None], kind), "hexadecimal digits", None, _hex, _hex)
            for name, kind in (
                ("binary", pa.binary()),
                ("large_binary", pa.large_binary()),
                ("binary_view", pa.binary_view()),
            )
        ),
        Case("fixed_size_binary", pa.array([b"\xff\x00a", None], pa.binary(3)), "hexadecimal digits", None, _hex, _hex),
        Case("dictionary of strings", pa.array(["a", "b", None]).dictionary_encode()),
        Case("dictionary of int64", pa.array([2**63 - 1, None]).dictionary_encode()),
    ]


def _dates() -> list[Case]:
    days = [date(1, 1, 1), date(9999, 12, 31), date(1970, 1, 1), None]
    midnight = "ISO 8601 at midnight"

    def at_midnight(day: date) -> str:
        return f"{day.isoformat()}T00:00:00"

    far = _bits([86_400_000 * 2**32], pa.date64(), pa.int64())
    found = [
        Case("date32", pa.array(days, pa.date32()), "ISO 8601", None, _iso, _iso),
        Case("date32 that text can't show", _bits([2**31 - 1], pa.date32(), pa.int32()), values=[None]),
        Case("date64", pa.array(days, pa.date64()), midnight, None, at_midnight, at_midnight),
        Case("date64 that text can't show", far, values=[None], in_parquet=False),
        Case("time32[s]", pa.array([time(23, 59, 59), time(0), None], pa.time32("s")), "ISO 8601", None, _iso, _iso),
    ]
    last = {"ms": time(23, 59, 59, 999000), "us": time(23, 59, 59, 999999)}

    def short(value: time) -> str:
        text = value.isoformat()
        return text[:12] if text.endswith("000") and "." in text else text

    for unit, top in last.items():
        kind = _ARROW.time32(unit) if unit == "ms" else _ARROW.time64(unit)
        found.append(Case(f"{kind}", pa.array([top, time(0), None], kind), "ISO 8601", None, short, short))
    nanos = _bits([86_399_999_999_999, 0], pa.time64("ns"), pa.int64())
    texts = ["23:59:59.999999999", "00:00:00"]
    found.append(Case("time64[ns]", nanos, "ISO 8601", values=texts))
    found.append(Case("time past midnight", _bits([86_400], pa.time32("s"), pa.int32()), values=[None]))
    return found


def _moments() -> list[Case]:
    found = []
    for unit in ("s", "ms", "us", "ns"):
        moments = pa.array([datetime(1970, 1, 1), datetime(2023, 11, 14, 22, 13, 20), None], pa.timestamp(unit))  # noqa: DTZ001
        texts = ["1970-01-01T00:00:00", "2023-11-14T22:13:20", None]
        found.append(Case(f"timestamp[{unit}]", moments, "ISO 8601", values=texts))
        if unit != "ns":
            wide = _bits([2**63 - 1], pa.timestamp(unit), pa.int64())
            found.append(Case(f"timestamp[{unit}] that text can't show", wide, values=[None]))
    edge = _bits([2**63 - 1, -(2**63)], pa.timestamp("ns"), pa.int64())
    texts = ["2262-04-11T23:47:16.854775807", "1677-09-21T00:12:43.145224192"]
    found.append(Case("timestamp[ns], extremes", edge, "ISO 8601", values=texts))
    moment = datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    for zone, offset in (("UTC", "Z"), ("Europe/Berlin", "+01:00"), ("+05:30", "+05:30")):
        column = pa.array([moment, None], pa.timestamp("us", zone))
        local = {"Z": "2023-11-14T22:13:20.123456Z", "+01:00": "2023-11-14T23:13:20.123456+01:00"}
        text = local.get(offset, "2023-11-15T03:43:20.123456+05:30")
        found.append(Case(f"timestamp[us], {zone}", column, "ISO 8601 with its offset", values=[text, None]))
    unknown = _bits([1], pa.timestamp("us"), pa.int64()).cast(pa.timestamp("us", "Nowhere/Land"))
    found.append(Case("timestamp of an unknown zone", unknown, values=[None]))
    for unit in ("s", "ms", "us", "ns"):
        spans = [timedelta(0), timedelta(seconds=-1), timedelta(seconds=90061), None]
        texts = ["P0D", "-PT1S", "PT90061S", None]
        found.append(Case(f"duration[{unit}]", pa.array(spans, _ARROW.duration(unit)), "ISO 8601", values=texts))
    found.append(Case("duration that text can't show", _bits([2**63 - 1], pa.duration("s"), pa.int64()), values=[None]))
    interval = _ARROW.array([_ARROW.MonthDayNano([1, 2, 3]), None])
    found.append(Case("month_day_nano_interval", interval))
    return found


def _nested() -> list[Case]:
    pairs = pa.map_(pa.string(), pa.int64())
    views = pa.array([[1, 2], None], pa.list_view(pa.int64()))
    runs: Any = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", None]))
    union: Any = pa.UnionArray
    dense = union.from_dense(
        pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array([1]), pa.array(["a"])]
    )
    sparse = union.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])])
    return [
        Case("list", pa.array([[2**63 - 1, None], [], None], pa.list_(pa.int64()))),
        Case("list, empty", pa.array([[], [], None], pa.list_(pa.int64()))),
        Case("large_list", pa.array([[1], None], pa.large_list(pa.int64()))),
        Case("fixed_size_list", pa.array([[1, 2], None], pa.list_(pa.int64(), 2))),
        Case("struct", pa.array([{"a": 2**63 - 1, "b": "x"}, {"a": None, "b": None}, None])),
        Case("map", pa.array([[("k", 1)], [], None], pairs), json=dict),
        Case(
            "list of timestamp[s]", pa.array([[5]], pa.list_(pa.timestamp("s"))), json=lambda _: ["1970-01-01T00:00:05"]
        ),
        Case("list_view", views),
        Case("run_end_encoded", runs),
        Case("dense_union", dense),
        Case("sparse_union", sparse),
    ]


def _extensions() -> list[Case]:
    wrap: Any = pa.ExtensionArray.from_storage
    return [
        Case(
            "uuid", wrap(pa.uuid(), pa.array([b"\x01" * 16], pa.binary(16))), "hexadecimal digits", values=["01" * 16]
        ),
        Case("json", wrap(pa.json_(), pa.array(['{"a":1}']))),
        Case("bool8", wrap(pa.bool8(), pa.array([1, 0], pa.int8())), "1 and 0", values=[1, 0]),
        Case("opaque", wrap(pa.opaque(pa.int64(), "t", "v"), pa.array([2**63 - 1])), values=[2**63 - 1]),
    ]


def cases() -> list[Case]:
    """Return every type with its extreme values."""
    plain = [
        Case("null", pa.array([None, None])),
        Case("bool", pa.array([True, False, None]), text=lambda value: str(value).lower()),
    ]
    return [
        *plain,
        *_integers(),
        *_floats(),
        *_decimals(),
        *_texts(),
        *_dates(),
        *_moments(),
        *_nested(),
        *_extensions(),
    ]


def _file(column: Any, form: FileFormat) -> bytes | None:  # noqa: ANN401
    """Return a file with the column beside the features; None if pyarrow can't write it."""
    rows = len(column)
    features: dict[str, Any] = {
        "pclass": [1] * rows,
        "sex": ["female"] * rows,
        "sibsp": [0] * rows,
        "parch": [0] * rows,
    }
    table = pa.table(features).append_column("x", column)
    if form is ARROW:
        return write(table, ARROW)
    out = io.BytesIO()
    try:
        pq.write_table(table, out)
    except (pa.ArrowException, ValueError, OSError):
        return None
    return out.getvalue()


def outcome(case: Case, given: FileFormat, wanted: FileFormat) -> str | None:
    """Return what happens to a column; None if the input format has no such type."""
    body = _file(case.column, given) if given is ARROW or case.in_parquet else None
    if body is None:
        return None
    answer = score(titanic(), body, accept=wanted.media_type)
    if answer.error is not None:
        return REJECTED if answer.error.field == "x" else f"{ALTERED}: {answer.error.message}"
    if wanted in {ARROW, PARQUET}:
        return _typed(case, given, answer)
    found = _shown(answer, wanted)
    if found is None:
        return LEFT_OUT
    read = case.text if wanted is CSV else case.json
    told = case.values is not None
    expected = [None if value is None else value if told else read(value) for value in case.sent]
    if wanted is CSV:
        same = all(map(_same_text, found, ["" if value is None else str(value) for value in expected]))
    else:
        same = all(map(_same_json, found, expected))
    if not same or len(found) != len(expected):
        return f"{ALTERED}: {found} for {expected}"
    words = case.words if wanted is CSV or case.json_words is None else case.json_words
    return words or "kept"


def _shown(answer: Answer, wanted: FileFormat) -> list[Any] | None:
    if wanted is CSV:
        rows: list[Any] = [*csv.DictReader(io.StringIO(answer.body.decode(), newline=""))]
    else:
        rows = [json.loads(line, parse_float=Decimal) for line in answer.body.splitlines()]
    return None if rows and "x" not in rows[0] else [row["x"] for row in rows]


def _same_text(found: str, expected: str) -> bool:
    if found == expected:
        return True
    try:
        one, other = float(found), float(expected)
    except ValueError:
        return False
    with np.errstate(over="ignore"):
        narrow = {one, float(np.float32(one)), float(np.float16(one))}
    return other in narrow or (math.isnan(one) and math.isnan(other))


def _same_json(found: Any, expected: Any) -> bool:  # noqa: ANN401
    if isinstance(found, Decimal) and isinstance(expected, float):
        return _same_text(str(found), repr(expected))
    return bool(found == expected)


def _typed(case: Case, given: FileFormat, answer: Answer) -> str:
    table = answer.table()
    if "x" not in table.column_names:
        return LEFT_OUT
    found = table.column("x").combine_chunks()
    sent = case.column.storage if isinstance(case.column, pa.ExtensionArray) else case.column
    if given is PARQUET:  # compare with what pyarrow reads from the file that was sent
        read = pq.read_table(io.BytesIO(_file(case.column, PARQUET) or b"")).column("x").combine_chunks()
        sent = read.storage if isinstance(read, pa.ExtensionArray) else read
    if pa.types.is_dictionary(sent.type):
        sent = sent.dictionary_decode()
    if found.type == sent.type:
        return "kept" if found.equals(sent) or _all_nan(found, sent) else ALTERED
    try:
        same = found.cast(sent.type).equals(sent) or sent.cast(found.type).equals(found)
    except (pa.ArrowException, ValueError):  # pyarrow can't cast views and run-end encoded arrays
        same = found.to_pylist() == sent.to_pylist()
    kind = str(found.type)
    return f"as `{kind}`" if same else f"{ALTERED}: {found} for {sent}"


def _all_nan(found: Any, sent: Any) -> bool:  # noqa: ANN401
    return pa.types.is_floating(sent.type) and all(map(math.isnan, [*found.to_pylist(), *sent.to_pylist()]))


def row(case: Case) -> list[str]:
    """Return a row of the table: what happens to the type in each output format."""
    cells = []
    for wanted in FORMS:
        found = {given.name: outcome(case, given, wanted) for given in (ARROW, PARQUET)}
        told = {text for text in found.values() if text is not None}
        cells.append(
            told.pop() if len(told) == 1 else "; ".join(f"{form}: {text}" for form, text in found.items() if text)
        )
    return cells


def page() -> str:
    """Return the page."""
    head = (Path(__file__).parent / "types_page.md").read_text()
    lines = ["| type | CSV | NDJSON | Arrow | Parquet |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {case.name} | {' | '.join(row(case))} |" for case in cases()]
    return head.replace("<!-- types -->", "\n".join(lines))


if __name__ == "__main__":
    PAGE.write_text(page())

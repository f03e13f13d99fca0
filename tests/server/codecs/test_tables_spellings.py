"""CSV variants: null words, decimal commas, lines before the header; and other file formats."""

import bz2
import csv
import io
import sqlite3
import zipfile
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pytest
from pyarrow import orc

from server.codecs.tables.csv_text import NULLS
from server.errors import InvalidArgument, RequestError
from server.models.session import Model
from tests.server.support import small
from tests.server.support.tables import Answer, score, titanic

HEADER: Final = b"pclass,sex,age,sibsp,parch,fare,embarked\n"


def _rows(answer: Answer, delimiter: str = ",") -> list[dict[str, str]]:
    assert answer.error is None, answer.error.message
    return [*csv.DictReader(io.StringIO(answer.body.decode(), newline=""), delimiter=delimiter)]


def _error(answer: Answer) -> RequestError:
    assert answer.error is not None
    return answer.error


def _added(answer: Answer) -> list[str]:
    """Return the added columns of the first row."""
    return [value for name, value in _rows(answer)[0].items() if name.startswith(("predicted", "probability"))]


@pytest.mark.parametrize("null", sorted(NULLS))
@pytest.mark.parametrize("row", ["1,female,{},0,0,50,S", "1,female,29,0,0,{},S", "1,female,29,0,0,50,{}"])
def test_usual_spellings_are_null(null: str, row: str) -> None:
    """A nullable value may be written NA, NULL and so on, and passes through unchanged."""
    spelled = score(titanic(), HEADER + row.format(null).encode())
    empty = score(titanic(), HEADER + row.format("").encode())
    assert _added(spelled) == _added(empty)
    assert spelled.body.splitlines()[1].startswith(row.format(null).encode())


def test_null_where_it_may_not_be() -> None:
    """A feature that isn't nullable never reads a word as null."""
    answer = score(titanic(), HEADER + b"NA,female,29,0,0,50,S")
    assert _error(answer).field == "pclass"
    assert "NA" in _error(answer).message


@pytest.mark.parametrize("null", ["?", "-", "missing", "none", "Na"])
@pytest.mark.parametrize("column", [2, 6])
def test_other_spellings_are_told_how_null_is_written(null: str, column: int) -> None:
    """An unknown null word is rejected with a message that says how null is written."""
    fields = ["1", "female", "29", "0", "0", "50", "S"]
    fields[column] = null
    message = _error(score(titanic(), HEADER + ",".join(fields).encode())).message
    assert message.endswith("; null is an empty field")
    assert null in message


def test_stated_spellings_replace_the_usual_ones() -> None:
    """?null= sets the null words, numbers among them; the usual words no longer count."""
    body = HEADER + b"1,female,-999,0,0,50,?\n"
    empty = score(titanic(), HEADER + b"1,female,,0,0,50,\n")
    assert _added(score(titanic(), body, "null=-999,%3F")) == _added(empty)
    refused = _error(score(titanic(), HEADER + b"1,female,NA,0,0,50,S", "null=-999")).message
    assert _error(score(titanic(), HEADER + b"1,female,none,0,0,50,S", "null=-999")).message.endswith(
        '; null is an empty field or "-999"'
    )
    assert 'got "NA"' in refused
    missing = _error(score(titanic(), HEADER + b"-999,female,29,0,0,50,S", "null=-999"))
    assert missing.message.endswith("it is missing")


def test_null_in_other_formats() -> None:
    """A number that was written as a null word is null in a typed response."""
    table = score(titanic(), HEADER + b"1,female,NA,0,0,50,S\n", accept="application/vnd.apache.arrow.stream").table()
    assert table.column("age").to_pylist() == [None]


def test_a_feature_of_any_text_keeps_its_words(tmp_path: Path) -> None:
    """For a feature that allows any string NA is a string; ?null= makes it null."""
    word = msgspec.structs.replace(small.WORD, nullable=True, null_value="yes")
    graph = small.onnx_bytes(small.YES, opset=19)
    model = Model.load(small.write(tmp_path, graph, small.manifest(graph, word, [("yes", 1.0), ("NA", 0.0)])))
    body = b"x,y\nNA,1\n,2\n"
    assert [row["predicted_value"] for row in _rows(score(model, body))] == ["0.0", "1.0"]
    assert [row["predicted_value"] for row in _rows(score(model, body, "null=NA"))] == ["1.0", "1.0"]


def test_decimal_commas() -> None:
    """With ?decimal= the file and the response have decimal commas.

    Columns pass through as they are written.
    """
    body = HEADER.replace(b",", b";") + b"1;female;29,5;0;0;50,25;S\n"
    pointed = score(titanic(), HEADER + b"1,female,29.5,0,0,50.25,S\n")
    answer = score(titanic(), body, "decimal=,")
    assert [text.replace(",", ".") for text in _rows(answer, ";")[0].values()] == [*_rows(pointed)[0].values()]
    assert "," in _rows(answer, ";")[0]["probability_survived"]
    assert score(titanic(), body, "decimal=comma").body == answer.body


@pytest.mark.parametrize("number", ["29.5", "1.029,5", "29,5,0", "2,9e", ","])
def test_numbers_that_are_not_written_with_a_comma(number: str) -> None:
    """With decimal commas a point in a number is an error."""
    body = HEADER.replace(b",", b";") + f"1;female;{number};0;0;50;S\n".encode()
    refused = _error(score(titanic(), body, "decimal=,"))
    assert refused.field == "age"
    assert number in refused.message


@pytest.mark.parametrize("query", ["decimal=;", "decimal=", "decimal=,,"])
def test_other_decimal_separators(query: str) -> None:
    """A ?decimal= other than a point or a comma is rejected by name."""
    with pytest.raises(InvalidArgument, match="decimal: expected a point or a comma"):
        score(titanic(), HEADER, query)


@pytest.mark.parametrize("line", [b"sep=;", b"SEP=;", b"\xef\xbb\xbfsep=;", b"sep=; "])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_separator_line(line: bytes, end: bytes) -> None:
    """A first line `sep=;`, as spreadsheets write it, sets the delimiter and is no header."""
    rows = HEADER.replace(b",", b";") + b"1;female;29;0;0;50;S\n"
    answer = score(titanic(), line + end + rows)
    assert answer.body == score(titanic(), rows).body


def test_separator_line_of_an_unusual_delimiter() -> None:
    """The line may set a delimiter that can't be detected."""
    rows = HEADER.replace(b",", b"~") + b"1~female~29~0~0~50~S\n"
    assert _rows(score(titanic(), b"sep=~\n" + rows), "~")[0]["predicted_survived"]


@pytest.mark.parametrize(
    ("before", "line"),
    [(b"Passengers 2024,,,,\n", 2), (b"# exported by a tool\n# on Monday\n", 3), (b"Passengers;2024\n", 2)],
)
def test_lines_before_the_header_are_named(before: bytes, line: int) -> None:
    """The error for titles and comments before the header names the header's row."""
    refused = score(titanic(), before + HEADER + b"1,female,29,0,0,50,S\n").refusal()
    assert f"it is row {line} of the file:" in refused.message


def test_comments_among_rows_are_named() -> None:
    """The error for a comment between rows says that CSV has no comments."""
    answer = score(titanic(), HEADER + b"1,female,29,0,0,50,S\n# checked\n")
    assert answer.error is not None
    assert "row 2: expected 7 fields; got 1; it begins with #, and CSV has no comments" in answer.error.message


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return out.getvalue()


def _sqlite(folder: Path) -> bytes:
    path = folder / "passengers.db"
    with sqlite3.connect(path) as database:
        database.execute("create table passengers (pclass)")
    database.close()
    return path.read_bytes()


def _orc() -> bytes:
    out = io.BytesIO()
    orc.write_table(pa.table({"pclass": [1]}), out)
    return out.getvalue()


TEXT: Final = HEADER.decode() + "1,female,29,0,0,50,S\n"


@pytest.mark.parametrize("stated", ["", "text/csv", "application/x-ndjson"])
@pytest.mark.parametrize(
    "kind",
    [
        "ZIP file or an Excel workbook",
        "SQLite database",
        "ORC file",
        "Feather file",
        "UTF-16",
        "UTF-32",
        "bzip2",
        "HTML",
    ],
)
def test_other_files_are_told_as_what_they_look_like(kind: str, stated: str, tmp_path: Path) -> None:
    """A file that is no table is rejected with the format that it looks like."""
    bodies = {
        "ZIP file or an Excel workbook": [_zip()],
        "SQLite database": [_sqlite(tmp_path)],
        "ORC file": [_orc()],
        "Feather file": [b"FEA1\0\0\0\0" + bytes(100) + b"FEA1"],
        "UTF-16": [TEXT.encode(name) for name in ("utf-16", "utf-16-le", "utf-16-be")],
        "UTF-32": [TEXT.encode(name) for name in ("utf-32", "utf-32-le", "utf-32-be")],
        "bzip2": [bz2.compress(TEXT.encode())],
        "HTML": [b"<!DOCTYPE html><html></html>", b"\n<HTML><body>502 Bad Gateway"],
    }
    for body in bodies[kind]:
        message = score(titanic(), body, content_type=stated).refusal().message
        assert message.startswith("body: expected CSV, NDJSON, Arrow or Parquet; this looks like ")
        assert kind in message


FORM: Final = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_file_without_its_line_ends_is_told(end: bytes) -> None:
    """A file without line ends, as `curl -d @file` sends it, gets a hint."""
    body = TEXT.encode().replace(b"\n", end)
    stripped = body.replace(b"\r", b"").replace(b"\n", b"")
    assert "--data-binary" in score(titanic(), stripped, content_type=FORM).refusal().message
    assert score(titanic(), body, content_type=FORM).error is None


def test_objects_without_their_line_ends_are_told() -> None:
    """Several NDJSON objects on one line get the same hint; one is a row."""
    row = b'{"pclass":1,"sex":"female","sibsp":0,"parch":0}'
    assert score(titanic(), row, content_type=FORM).error is None
    answer = score(titanic(), row * 2, content_type=FORM)
    assert answer.error is not None
    assert "--data-binary" in answer.error.message

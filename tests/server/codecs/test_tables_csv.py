"""CSV as programs write it: records, fields, quotes, and blocks of any size."""

import csv
import io
import random
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.codecs.tables.limits import MAX_RECORD_BYTES, TEXT_ROWS
from server.models.session import Model
from tests.server.support import small
from tests.server.support.tables import Answer, score, titanic

HEADER: Final = b"pclass,sex,age,sibsp,parch,fare,embarked,note\n"
ROW: Final = b"1,female,29,0,0,211.3375,S,"

brief = settings(max_examples=120, deadline=None, derandomize=True, database=None)


def _file(*notes: str) -> bytes:
    """Return rows with the given text as their last field."""
    return HEADER + b"".join(ROW + note.encode() + b"\n" for note in notes)


def _fields(answer: Answer, name: str = "note") -> list[str]:
    """Return the fields of one column, read by Python's csv."""
    assert answer.error is None, answer.error.message
    return [row[name] for row in csv.DictReader(io.StringIO(answer.body.decode(), newline=""))]


def test_quotes_and_line_ends_in_fields() -> None:
    """A quoted field may contain delimiters and line ends; any field may contain quotes."""
    notes = ['"a,b"', '"a ""b"""', '"a\nb"', '"a\r\nb"', '"a\rb"', "", '""', 'a"b"', '"a"b', " a ", "ß€😀", "'"]
    expected = [row[-1] for row in csv.reader(io.StringIO(_file(*notes).decode(), newline=""))][1:]
    assert _fields(score(titanic(), _file(*notes))) == expected


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf", b"\n\r\n"], ids=["plain", "byte order mark", "blank lines"])
@pytest.mark.parametrize("last", [True, False])
def test_lines(end: str, begin: bytes, last: bool) -> None:
    """Lines end in LF or CRLF, optional at the end; blank lines are ignored."""
    header, first, second, _ = _file("a", "b").decode().split("\n")
    body = begin + end.join([header, "", first, "", "", second, ""]).encode()
    answer = score(titanic(), body if last else body.rstrip())
    assert _fields(answer) == ["a", "b"]
    assert answer.counts == (2, 2, 0)


def test_line_ends_may_differ() -> None:
    """One file may have lines that end in LF and lines that end in CRLF."""
    assert _fields(score(titanic(), HEADER + ROW + b"a\r\n" + ROW + b"b\n" + ROW + b"c\r\n")) == ["a", "b", "c"]


def test_a_byte_order_mark_before_quotes() -> None:
    """A quoted first name after a byte order mark is read."""
    body = b'\xef\xbb\xbf"' + HEADER.replace(b",", b'","').replace(b"\n", b'"\n') + ROW + b"a\n"
    assert _fields(score(titanic(), body)) == ["a"]


def test_a_character_that_ends_as_a_byte_order_mark_does() -> None:
    """A quote inside a field isn't taken for one after a byte order mark.

    The character before it ends with the mark's last byte.
    """
    assert _fields(score(titanic(), _file('¿"a', '¿"b'))) == ['¿"a', '¿"b']


def test_cr_alone_is_told() -> None:
    """CR alone is rejected as the file's line end, or as one row's error."""
    assert "got CR alone" in score(titanic(), _file("a").replace(b"\n", b"\r")).refusal().message
    answer = score(titanic(), _file("a", "b\rc", '\r"x', "d"), "on_error=null")
    assert _fields(answer)[::3] == ["a", "d"]
    assert (
        _fields(answer, "error")[1:3] == ["expected lines to end in LF or CRLF, and others in quotes; got CR alone"] * 2
    )


@pytest.mark.parametrize(("delimiter", "name"), [(";", "semicolon"), ("\t", "tab"), ("|", "pipe"), (" ", "space")])
def test_delimiters(delimiter: str, name: str) -> None:
    """Another delimiter is detected from the header or given; the response has the same delimiter."""
    body = _file("a", '"b c"').decode().replace(",", delimiter).encode()
    told = score(titanic(), body, f"delimiter={name}").body
    assert told.startswith(delimiter.join(["pclass", "sex", "age"]).encode())
    assert len(told.splitlines()) == 3
    if delimiter != " ":
        assert score(titanic(), body).body == told


def test_a_delimiter_that_is_not_the_files() -> None:
    """A wrong delimiter is rejected with the single column name that it gives."""
    assert 'got "pclass,sex,age,' in score(titanic(), _file("a"), "delimiter=tab").refusal().message


def test_quoted_names_with_another_delimiter() -> None:
    """A quoted header with a line end in a name is read, for any delimiter."""
    header = '"pclass";"sex";"age";"sibsp";"parch";"fare";"embarked";"a\nnote"\n'
    answer = score(titanic(), header.encode() + ROW.replace(b",", b";") + b"x\n")
    assert answer.error is None
    assert answer.body.count(b";") == 2 * 10


def test_text_is_passed_as_it_stands() -> None:
    """Features pass through as they are written."""
    body = HEADER + b"1.0, female,029,+0,0e0,2.113375E2,S,a\n".replace(b" female", b"female")
    assert score(titanic(), body).body.splitlines()[1].startswith(b"1.0,female,029,+0,0e0,2.113375E2,S,a,")


def test_a_record_may_be_long_but_not_endless() -> None:
    """A field of half a megabyte passes; a record with an unclosed quote is limited."""
    long = "x" * (MAX_RECORD_BYTES // 2)
    assert _fields(score(titanic(), _file("a", long, "b"))) == ["a", long, "b"]
    endless = score(titanic(), _file("a", '"' + "x\n" * MAX_RECORD_BYTES), sizes=[65536] * 100)
    assert endless.error is not None
    assert (endless.error.code, endless.counts[0]) == ("payload_too_large", 1)
    assert "is a quote never closed?" in endless.error.message


def test_a_torn_quote_is_told() -> None:
    """An unclosed quote at the end of the file is an error for every on_error."""
    for query in ("", "on_error=null", "on_error=skip"):
        torn = score(titanic(), _file("a", '"b'), query)
        assert torn.error is not None
        assert "the last record's is not" in torn.error.message
        assert torn.counts == (1, 1, 0)
        assert torn.error_bytes.startswith(b"# error: body: ")


def test_last_words_are_one_line() -> None:
    """The error at the end of an aborted response is always one line."""
    failed = score(titanic(), _file("a").replace(b"female", b'"a\nb"'))
    assert failed.error_bytes == b'# error: row 1: sex: expected one of "female", "male"; got "a\\nb"\n'


def test_a_wrong_row_doesnt_change_the_others() -> None:
    """An unreadable row doesn't change other rows with unusual fields."""
    notes = ["\N{REPLACEMENT CHARACTER}", "x" * 200_000, '"a\rb"', '"a\nb"', '"a""b"', "\0"]
    alone = _fields(score(titanic(), _file(*notes)))
    beside = score(titanic(), _file(*notes) + b"1,female\n" + ROW + b"last\n", "on_error=null")
    assert _fields(beside) == [*alone, "", "last"]
    assert beside.counts == (8, 7, 1)


def test_names_with_nul_are_refused() -> None:
    """A NUL in a column's name is rejected.

    It would end the process inside the library.
    """
    refused = score(titanic(), HEADER.replace(b"note", b"no\0te") + ROW + b"a\n").refusal()
    assert (refused.code, refused.field) == ("invalid_argument", "columns")


_notes: Final = st.lists(st.text(st.sampled_from('ab ,"\n\rß'), max_size=6), min_size=1, max_size=8)


@brief
@given(_notes, st.sampled_from(["\n", "\r\n"]), st.integers(0, 2**32), st.booleans())
def test_fields_are_those_of_pythons_csv(notes: list[str], end: str, seed: int, quoted: bool) -> None:
    """Output of Python's csv is read as the same fields, in pieces of any size."""
    if not quoted:  # Python writes a CR alone without quotes, and can't read it
        notes = [note.replace("\r", "\r\n") for note in notes]
    out = io.StringIO(newline="")
    quoting: Any = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    writer = csv.writer(out, lineterminator=end, quoting=quoting)
    writer.writerow(HEADER.decode().strip().split(","))
    writer.writerows([*ROW.decode().split(",")[:-1], note] for note in notes)
    body = out.getvalue().encode()
    chance = random.Random(seed)  # noqa: S311
    answer = score(titanic(), body, sizes=(chance.randint(1, 40) for _ in body))
    assert _fields(answer) == notes
    assert answer.body == score(titanic(), body).body


_raw: Final = st.lists(st.text(st.sampled_from('a,"\n\r'), max_size=8), min_size=1, max_size=5)


@brief
@given(_raw, st.integers(0, 2**32), st.sampled_from(["on_error=null", "on_error=skip"]))
def test_pieces_make_no_difference(notes: list[str], seed: int, query: str) -> None:
    """Any text gets the same rows and errors in one piece and in many."""
    body = _file(*notes)
    chance = random.Random(seed)  # noqa: S311
    whole = score(titanic(), body, query)
    pieces = score(titanic(), body, query, sizes=(chance.randint(1, 30) for _ in body))
    assert (pieces.body, pieces.counts) == (whole.body, whole.counts)
    assert str(pieces.error) == str(whole.error)


def test_rows_stay_in_order_over_blocks() -> None:
    """Rows of many blocks stay in order and complete, wherever the pieces end."""
    count = 3 * TEXT_ROWS + 5
    body = _file(*(str(number) for number in range(count)))
    answer = score(titanic(), body, "columns=note", sizes=[997] * len(body))
    assert _fields(answer) == [str(number) for number in range(count)]
    assert answer.counts == (count, count, 0)


def test_a_table_of_one_column(one: Model) -> None:
    """A table may have one column, with nulls as empty quotes.

    Data frames write it so, without a delimiter.
    """
    answer = score(one, b'x\n1.5\n""\n-2\n', "on_error=null")
    assert _fields(answer, "predicted_value") == ["3.0", "", "-4.0"]


def test_rows_that_make_up_for_each_other(one: Model) -> None:
    """A record with a CR alone is not split, even if row counts would match."""
    answer = score(one, b'x\n1\r"2\n3"\n', "on_error=null&columns=none")
    assert answer.counts == (2, 0, 2)
    assert "got CR alone" in answer.column("error")[0]


@pytest.fixture(name="one")
def _one(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Load a model with one feature."""
    return Model.load(small.double(tmp_path_factory.mktemp("models")))

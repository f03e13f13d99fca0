"""Tests of reading titanic.csv into a checked data set, and of its split."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from export.data.dataset import DataError, Dataset, columns, load, split
from export.data.source import Source
from export.titanic import TITANIC
from tests.server.support.tables import score, titanic

DATA = Path(__file__).parents[2] / "export" / "data" / "titanic.csv"
README = DATA.with_name("README.md")
HEADER = "survived,pclass,sex,age,sibsp,parch,fare,embarked"
GOOD = "1,1,female,29,0,0,211.3375,S"


def _load(tmp_path: Path, *rows: str, header: str = HEADER) -> Dataset:
    path = tmp_path / "passengers.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return load(TITANIC, path)


def test_file_is_the_one_described(dataset: Dataset) -> None:
    """The file's digest is in its README and in the data set."""
    digest = hashlib.sha256(DATA.read_bytes()).hexdigest()
    assert f"SHA-256 of titanic.csv: `{digest}`" in README.read_text()
    assert (dataset.table.sha256, dataset.table.name, len(dataset.y)) == (digest, "titanic.csv", 1309)


def test_missing_values_are_those_described(dataset: Dataset) -> None:
    """Each feature has as many missing values as the README says, replaced by its null value."""
    table = dict(re.findall(r"^\| (\w+) \|.*\| (\d+) \|$", README.read_text(), re.MULTILINE))
    assert list(table) == HEADER.split(",")
    nulls = {name: int((dataset.X[name].isna() | (dataset.X[name] == "")).sum()) for name in dataset.X.columns}
    assert nulls == {name: int(count) for name, count in table.items() if name != "survived"}


def test_columns_are_the_features_alone(dataset: Dataset) -> None:
    """The file has no columns that reveal the target, such as the lifeboat's number."""
    assert DATA.read_text().partition("\n")[0] == HEADER
    assert list(dataset.X.columns) == HEADER.split(",")[1:]


def test_columns_as_the_model_takes_them(dataset: Dataset) -> None:
    """Each feature becomes an array of shape [rows, 1] in its datatype."""
    arrays = columns(dataset.X)
    assert {array.shape for array in arrays.values()} == {(1309, 1)}
    assert [str(array.dtype) for array in arrays.values()] == [
        "int64",
        "object",
        "float32",
        "int64",
        "int64",
        "float32",
        "object",
    ]


def test_empty_cells_become_null_values(tmp_path: Path) -> None:
    """An empty cell of a nullable feature becomes the feature's null value."""
    X = _load(tmp_path, "0,3,male,,0,0,,", GOOD).X
    assert np.isnan(X["age"][0])
    assert np.isnan(X["fare"][0])
    assert X["embarked"][0] == ""


def test_file_of_another_program(tmp_path: Path, dataset: Dataset) -> None:
    """A byte order mark, CRLF line ends and quoted cells don't change the data."""
    path = tmp_path / "theirs.csv"
    lines = ['"' + line.replace(",", '","') + '"' for line in DATA.read_text().splitlines()]
    path.write_bytes("\ufeff".encode() + "\r\n".join(lines).encode())
    theirs = load(TITANIC, path)
    assert theirs.X.equals(dataset.X)
    assert (theirs.y == dataset.y).all()


def test_line_of_names_that_is_not_the_rows_own(tmp_path: Path) -> None:
    """A name that occurs twice is ambiguous, and rows with more cells than names are rejected."""
    with pytest.raises(DataError, match='column "age" matches several columns: "age", "age"'):
        _load(tmp_path, f"{GOOD},30", header=f"{HEADER},age")
    with pytest.raises(DataError, match="row 1: expected 8 fields; got 9"):
        _load(tmp_path, f"1,{GOOD}", f"2,{GOOD}")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("0,3,male,22,1,0", "row 2: expected 8 fields; got 6"),
        (f"{GOOD},", "row 2: expected 8 fields; got 9"),
        ('0,3,male,22,1,0,"7.25,S', "expected every quote to be closed; the last record's is not"),
        ("0,3,m\rale,22,1,0,7.25,S", "row 2: expected lines to end in LF or CRLF, and others in quotes; got CR alone"),
    ],
)
def test_a_row_that_is_cut_off_or_too_long(tmp_path: Path, row: str, words: str) -> None:
    """A row with too few or too many fields is rejected with the server's own message."""
    with pytest.raises(DataError, match=re.escape(f"passengers.csv: {words}")):
        _load(tmp_path, GOOD, row)
    refused = score(titanic(), (tmp_path / "passengers.csv").read_bytes()).error
    assert refused is not None
    assert refused.message.removeprefix("body: ") == words


def test_rows_are_counted_as_records(tmp_path: Path) -> None:
    """A line end in quotes ends no row, and blank lines don't count."""
    quoted = '1,1,female,29,0,0,211.3375,"S"\n\n'
    named = f"{HEADER},name"
    with pytest.raises(DataError, match="row 3: expected 9 fields; got 1"):
        _load(tmp_path, f'{GOOD},"Allen\nMiss"', "", f"{GOOD},x", "0", header=named)
    assert len(_load(tmp_path, quoted, GOOD).y) == 2


def test_class_without_rows(tmp_path: Path) -> None:
    """A class without rows is rejected before training."""
    with pytest.raises(DataError, match="survived: expected rows of every class; there are none of died"):
        Source.of(TITANIC, _load(tmp_path, GOOD, GOOD), 1)


def test_only_an_empty_cell_is_missing(tmp_path: Path) -> None:
    """A word such as NA is an invalid value, not a missing one."""
    with pytest.raises(DataError, match=r"embarked: row 1: .*got \"NA\"$"):
        _load(tmp_path, "0,3,male,22,0,0,7.25,NA")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1,4,female,29,0,0,1,S", "pclass: row 2: expected one of 1, 2, 3; got 4"),
        ("1,1,woman,29,0,0,1,S", 'sex: row 2: expected one of "female", "male"; got "woman"'),
        ("1,1,female,29,0,0,1,X", 'embarked: row 2: expected one of "C", "Q", "S" or null; got "X"'),
        ("1,1,female,121,0,0,1,S", "age: row 2: expected a number from 0 to 120 or null; got 121"),
        ("1,1,female,29,0,0,-1,S", "fare: row 2: expected a number of at least 0 or null; got -1"),
        ("1,1,female,29,-1,0,1,S", "sibsp: row 2: expected an integer of at least 0; got -1"),
        ("1,1,female,29,0,0,inf,S", 'fare: row 2: expected a number of at least 0 or null; got "inf"'),
        ("1,,female,29,0,0,1,S", "pclass: row 2: expected a value; the cell is empty"),
        ("1,1,,29,0,0,1,S", "sex: row 2: expected a value; the cell is empty"),
        ("1,1,female,old,0,0,1,S", 'age: row 2: expected numbers; got "old"'),
        (
            "1,1,female,29,0.5,0,1,S",
            "sibsp: row 2: expected whole numbers of INT64, from -9223372036854775808 to 9223372036854775807; got 0.5",
        ),
        (
            "1,1,female,29,99999999999999999999,0,1,S",
            "sibsp: row 2: expected whole numbers of INT64, from -9223372036854775808 to 9223372036854775807; got ",
        ),
        ("2,1,female,29,0,0,1,S", 'survived: row 2: expected one of 0, 1; got "2"'),
        (",1,female,29,0,0,1,S", "survived: row 2: expected a value; the cell is empty"),
    ],
)
def test_wrong_cell(tmp_path: Path, row: str, words: str) -> None:
    """A cell that the signature doesn't allow is rejected with its column, row and expected value."""
    with pytest.raises(DataError, match=re.escape(words)):
        _load(tmp_path, GOOD, row)


@pytest.mark.parametrize("column", HEADER.split(","))
def test_missing_column(tmp_path: Path, column: str) -> None:
    """A file without one of the columns is rejected with the column's name."""
    with pytest.raises(DataError, match=f'expected a column "{column}"; got '):
        _load(tmp_path, GOOD, header=HEADER.replace(column, f"no_{column}"))


def test_further_columns_are_left_out(tmp_path: Path) -> None:
    """A column that is no feature doesn't reach the model."""
    X = _load(tmp_path, f"{GOOD},11", header=f"{HEADER},boat").X
    assert "boat" not in X.columns


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00"])
def test_no_table(tmp_path: Path, content: bytes) -> None:
    """A file that is no CSV is rejected with its path."""
    path = tmp_path / "passengers.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"passengers\.csv: "):
        load(TITANIC, path)


def test_missing_file(tmp_path: Path) -> None:
    """A missing file is rejected with its path."""
    with pytest.raises(DataError, match=r"nowhere\.csv: "):
        load(TITANIC, tmp_path / "nowhere.csv")


def test_split_is_the_seed_s(dataset: Dataset) -> None:
    """The same seed holds out the same rows, another seed other rows."""
    one, same, other = split(dataset, 7), split(dataset, 7), split(dataset, 8)
    assert list(one.X_test.index) == list(same.X_test.index)
    assert list(one.X_test.index) != list(other.X_test.index)


def test_split_keeps_every_row_once(dataset: Dataset) -> None:
    """About a fifth of the rows is held out, and each row is on one side."""
    part = split(dataset, 7)
    assert sorted([*part.X_train.index, *part.X_test.index]) == list(range(1309))
    assert (len(part.y_train), len(part.y_test)) == (len(part.X_train), len(part.X_test))
    assert len(part.y_test) == pytest.approx(1309 / 5, rel=0.1)


def test_a_row_is_held_out_of_every_later_version(tmp_path: Path) -> None:
    """A row keeps its side when the data grow, and equal rows are on one side."""
    lines = DATA.read_text().splitlines()
    grown = tmp_path / "grown.csv"
    grown.write_text(
        "\n".join([lines[0], *lines[700:], *lines[1:700], *lines[1:50], "1,3,male,33.5,0,0,8.75,Q"]) + "\n"
    )
    before, after = load(TITANIC), load(TITANIC, grown)
    sides = [
        dict(zip(map(repr, each.X.values.tolist()), split(each, 7).held_out, strict=True)) for each in (before, after)
    ]
    assert sides[0].items() <= sides[1].items()
    for each, side in zip((before, after), sides, strict=True):
        assert [side[repr(row)] for row in each.X.values.tolist()] == split(each, 7).held_out.tolist()


@pytest.mark.parametrize("rows", [1, 6])
def test_too_few_rows_to_hold_some_out(tmp_path: Path, rows: int) -> None:
    """Data are rejected if a class would have no held-out row."""
    few = _load(tmp_path, *[f"1,1,female,{age},0,0,1,S" for age in range(rows)], "0,3,male,22,0,0,7.25,S")
    with pytest.raises(DataError, match=r"too few .*for held-out rows"):
        split(few, 7)


def test_column_names_in_other_cases(tmp_path: Path) -> None:
    """Kaggle's column names are read; a name that matches two columns is rejected."""
    kaggle = "PassengerId,Survived,Pclass,Name,Sex,Age,SibSp,Parch,Ticket,Fare,Cabin,Embarked"
    row = '1,1,1,"Allen, Miss. Elisabeth",female,29,0,0,24160,211.3375,B5,S'
    assert _load(tmp_path, row, header=kaggle).X.equals(_load(tmp_path, GOOD).X)
    with pytest.raises(DataError, match='column "age" matches several columns: "Age", "AGE"'):
        _load(tmp_path, f"{GOOD},3", header=HEADER.replace("age", "Age") + ",AGE")


def test_whole_numbers_written_as_floats(tmp_path: Path) -> None:
    """An integer may be written as 1.0, also in the target."""
    written = _load(tmp_path, "1.0,1.0,female,29,0.0,0,211.3375,S")
    assert written.X.equals(_load(tmp_path, GOOD).X)
    assert list(written.y) == ["survived"]


def test_a_column_of_which_no_row_has_a_value(tmp_path: Path) -> None:
    """A column without any value is rejected by name."""
    with pytest.raises(DataError, match="age: no row has a value"):
        _load(tmp_path, "1,1,female,,0,0,1,S", "0,3,male,,0,0,1,S")

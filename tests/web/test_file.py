"""Scoring a file on the page: choose or drop, progress, histogram, errors and download."""

import csv
import io
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import expect

from tests.web.conftest import Visit
from tests.web.visitor import Visitor

HEADER: Final = "pclass,sex,age,sibsp,parch,fare,embarked\n"
ROW: Final = "3,male,22,1,0,7.25,S\n"


def scored(site: httpx.Client, path: Path, **parameters: str) -> str:
    """Return the service's scored version of a file."""
    headers = {"content-type": "text/csv"}
    answer = site.put("/api/batch", content=path.read_bytes(), headers=headers, params=parameters)
    return answer.raise_for_status().text


def chosen(visitor: Visitor, path: Path) -> None:
    """Select a file with the file input."""
    visitor.page.get_by_label("Choose a CSV file, or drop one here").set_input_files(path)


def dropped(visitor: Visitor, name: str, text: str, *others: str) -> None:
    """Drop a file on the drop zone, together with empty files of other names."""
    made: Any = visitor.page.evaluate_handle(
        """([name, text, others]) => {
          const it = new DataTransfer();
          it.items.add(new File([text], name));
          for (const each of others) it.items.add(new File([], each));
          return it;
        }""",
        [name, text, others],
    )
    for event in ("dragenter", "dragover", "drop"):
        visitor.page.locator("#drop").dispatch_event(event, {"dataTransfer": made})


def downloaded(visitor: Visitor) -> tuple[str, str]:
    """Return the name and the content of the downloaded file."""
    with visitor.page.expect_download() as download:
        visitor.page.get_by_role("link", name="Download the scored file").click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes().decode()


def test_a_chosen_file(visitor: Visitor, site: httpx.Client, passengers_csv: Path) -> None:
    """A chosen file is scored; the download equals the service's response, and the histogram counts its rows."""
    chosen(visitor, passengers_csv)
    said = visitor.page.locator("#file-said")
    expected = scored(site, passengers_csv)
    rows = list(csv.DictReader(io.StringIO(expected)))
    expect(said).to_have_text(f"Done: {len(rows):,} rows of titanic.csv scored.")
    expect(visitor.page.locator("#file-counts")).to_contain_text(f"{len(rows):,} rows scored")
    visitor.page.get_by_text("Predictions as numbers").click()
    counts = visitor.page.locator("#file-histogram tbody td").all_inner_texts()
    assert sum(int(each.replace(",", "")) for each in counts) == len(rows)
    assert int(counts[0]) == sum(float(row["probability_survived"]) < 0.05 for row in rows)
    assert downloaded(visitor) == ("scored-titanic.csv", expected)


def test_a_dropped_file(visitor: Visitor, site: httpx.Client, tmp_path: Path) -> None:
    """A dropped file with semicolons and with line ends within quotes is scored."""
    text = 'note;pclass;sex;sibsp;parch\n"two\nlines; ""quoted""";1;female;0;0\nplain;3;male;0;0\n'
    dropped(visitor, "semicolons.csv", text)
    expect(visitor.page.locator("#file-said")).to_have_text("Done: 2 rows of semicolons.csv scored.")
    (tmp_path / "semicolons.csv").write_text(text)
    assert downloaded(visitor) == ("scored-semicolons.csv", scored(site, tmp_path / "semicolons.csv"))


def test_a_mistake_in_a_file(visitor: Visitor, tmp_path: Path) -> None:
    """An invalid value is reported with its row and column, and there is no download."""
    path = tmp_path / "wrong.csv"
    path.write_text(HEADER + ROW + ROW.replace("male", "mail"))
    chosen(visitor, path)
    said = visitor.page.locator("#file-said")
    expect(said).to_have_text('Row 2, column sex: expected one of "female", "male"; got "mail"')
    expect(visitor.page.get_by_role("link", name="Download")).to_be_hidden()


def test_a_mistake_far_into_a_file(visitor: Visitor, tmp_path: Path) -> None:
    """If the service aborts the response, the page reports the invalid row, and there is no download."""
    path = tmp_path / "late.csv"
    various = "".join(f"3,male,{row % 80},1,0,{row * 7.7 % 500:.4f},S\n" for row in range(60_000))
    path.write_text(HEADER + various + ROW.replace("22", "-22") + ROW)
    chosen(visitor, path)
    said = visitor.page.locator("#file-said")
    expect(said).to_contain_text("Row 60,001, column age: expected a number from 0 to 120 or null; got -22")
    expect(visitor.page.get_by_role("link", name="Download")).to_be_hidden()


@pytest.mark.parametrize(("choice", "rows"), [("gets no prediction", "2 rows"), ("is omitted", "1 row")])
def test_what_becomes_of_a_wrong_row(
    visitor: Visitor, site: httpx.Client, tmp_path: Path, choice: str, rows: str
) -> None:
    """An invalid row gets no prediction, or is omitted, as selected."""
    path = tmp_path / "wrong.csv"
    path.write_text(HEADER + ROW + ROW.replace("male", "mail"))
    visitor.page.get_by_label("A row that can", exact=False).select_option(choice)
    chosen(visitor, path)
    expect(visitor.page.locator("#file-said")).to_have_text(f"Done: {rows} of wrong.csv scored.")
    on_error = {"2 rows": "null", "1 row": "skip"}[rows]
    assert downloaded(visitor)[1] == scored(site, path, on_error=on_error)


def test_another_way_with_wrong_rows(visitor: Visitor, tmp_path: Path) -> None:
    """After an error, another option scores the file again, and the corrected file can be chosen again."""
    path = tmp_path / "wrong.csv"
    path.write_text(HEADER + ROW + ROW.replace("male", "mail"))
    said = visitor.page.locator("#file-said")
    chosen(visitor, path)
    expect(said).to_contain_text("Row 2, column sex")
    visitor.page.get_by_label("A row that can", exact=False).select_option("is omitted")
    expect(said).to_have_text("Done: 1 row of wrong.csv scored.")
    path.write_text(HEADER + ROW)
    visitor.page.get_by_label("A row that can", exact=False).select_option("ends the file")
    expect(said).to_contain_text("The file can\u2019t be read. Is it a folder? Has it changed since it was chosen?")
    with visitor.page.expect_file_chooser():
        visitor.page.get_by_label("Choose a CSV file, or drop one here").click()
    assert visitor.page.locator("#file-chosen").input_value() == ""  # so the same name is a change


def test_an_empty_file_and_several(visitor: Visitor) -> None:
    """An empty file gets an error; of several dropped files the first is scored, and the page reports the others."""
    said = visitor.page.locator("#file-said")
    dropped(visitor, "empty.csv", "")
    expect(said).to_have_text("The file: expected rows; it is empty")
    dropped(visitor, "first.csv", HEADER + ROW, "second.csv", "third.csv")
    expect(said).to_have_text("Done: 1 row of first.csv scored.")
    expect(visitor.page.locator("#file-name")).to_contain_text("one file at a time: 2 more ignored")


def test_a_file_is_canceled(visitor: Visitor, tmp_path: Path) -> None:
    """A running file can be canceled, and another file scored."""
    path = tmp_path / "large.csv"
    path.write_text(HEADER + ROW * 400_000)
    chosen(visitor, path)
    visitor.page.get_by_role("button", name="Cancel").click()
    expect(visitor.page.locator("#file-said")).to_contain_text("Canceled after")
    expect(visitor.page.get_by_role("button", name="Cancel")).to_be_hidden()
    dropped(visitor, "small.csv", HEADER + ROW)
    expect(visitor.page.locator("#file-said")).to_have_text("Done: 1 row of small.csv scored.")


def test_files_of_other_kinds(visit: Visit) -> None:
    """The histogram counts the rows of each class, and puts a regression's values into fitting bins."""
    visitor = visit("/?model=signs")
    dropped(visitor, "signs.csv", "x\n-3\n-1\n0\n9\n")
    visitor.page.get_by_text("Predictions as numbers").click()
    rows = visitor.page.locator("#file-histogram tbody tr")
    expect(rows).to_have_count(3)
    assert visitor.page.locator("#file-histogram dt").all_inner_texts() == ["below", "above", "zero"]
    assert [row.split() for row in rows.all_inner_texts()] == [["above", "1"], ["below", "2"], ["zero", "1"]]
    visitor = visit("/?model=small")
    names = "bool,int8,int16,int32,int64,uint8,uint16,uint32,uint64,fp16,fp32,fp64,bytes,category"
    lines = [f"false,0,0,0,{value},0,0,0,0,0,0,0,no,no" for value in (1000, 0, 1, 2, -500)]
    dropped(visitor, "values.csv", "\n".join([names, *lines, ""]))
    expect(visitor.page.locator("#file-said")).to_have_text("Done: 5 rows of values.csv scored.")
    visitor.page.get_by_text("Predictions as numbers").click()
    bins = visitor.page.locator("#file-histogram tbody tr")
    ends = [each.split(" to ") for each in bins.locator("th").all_inner_texts()]
    counts = [int(each) for each in bins.locator("td").all_inner_texts()]
    assert [sum(float(low) <= value < float(high) for value in (1000, 0, 1, 2, -500)) for low, high in ends] == counts
    assert max(counts) == 3

"""`python -m server score` into a folder of parts, resumable after any end."""

import fcntl
import json
import os
import shutil
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.server.support import small
from tests.server.support.score import (
    FORMS,
    PAIRS,
    as_csv,
    as_ndjson,
    held,
    left,
    notes,
    read,
    refused,
    rows,
    scored,
    table,
)


def _parts(folder: Path) -> dict[str, int]:
    """Return the finished parts by name, with their modification times."""
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob("part-*"))}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a file of 5,000 rows; the last row but one is invalid."""
    path = tmp_path / "in.csv"
    path.write_bytes(as_csv([{**row, "note": "of some length " * 10} for row in rows(5000, age=4999)]))
    return path


def _whole(source: Path) -> bytes:
    """Return the output of one run over the whole file."""
    scored(source, source.with_name("whole.csv"), "--on-error", "null")
    return source.with_name("whole.csv").read_bytes()


def _joined(folder: Path) -> bytes:
    """Return the CSV parts concatenated, with one header."""
    texts = [path.read_bytes() for path in sorted(folder.glob("part-*.csv"))]
    return texts[0] + b"".join([text.partition(b"\n")[2] for text in texts[1:]])


@pytest.mark.parametrize("number", [0, 2, 4])
def test_killed_in_the_middle_of_a_part(source: Path, number: int) -> None:
    """A run killed in the middle of a part is resumed by the same command.

    The output equals a single run's. Finished parts are not written again.
    """
    folder = source.with_name("parts")
    asked = (source, f"{folder}/", "--part-rows", "1000", "--on-error", "null")
    with held(*asked, at=folder / f"part-0000{number}.csv"):
        before = _parts(folder)
    assert len(before) == number
    for name in (f"part-0000{number}.csv", "job.json"):
        (folder / f".{name}.unfinished").write_text("what a killed process leaves")
    said = scored(*asked)
    assert "5,000 rows read, 4,999 scored, 1 failed (titanic version 1)" in said
    after = _parts(folder)
    assert len(after) == 5
    assert {name: after[name] for name in before} == before
    assert left(folder) == {*after, "job.json"}
    assert _joined(folder) == _whole(source)


def test_killed_before_the_first_part(source: Path) -> None:
    """If the folder has only an unfinished job file, the work begins."""
    folder = source.with_name("parts")
    folder.mkdir()
    (folder / ".job.json.unfinished").write_text("{")
    scored(source, folder, "--on-error", "null")
    assert left(folder) == {"job.json", "part-00000.csv"}


def test_killed_in_the_middle_of_the_first_part(source: Path) -> None:
    """If no part is finished, the folder accepts another job."""
    folder = source.with_name("parts")
    with held(source, f"{folder}/", "--part-rows", "1000", at=folder / "part-00000.csv"):
        pass
    assert left(folder) == {"job.json"}
    scored(source, folder, "--on-error", "null")
    assert left(folder) == {"job.json", "part-00000.csv"}


def test_a_signal_in_the_middle_of_a_part(source: Path) -> None:
    """A signal leaves the finished parts, removes the unfinished part, and prints how to resume."""
    folder = source.with_name("parts")
    asked = (source, f"{folder}/", "--part-rows", "1000", "--on-error", "null")
    with held(*asked, at=folder / "part-00001.csv", number=signal.SIGTERM) as said:
        pass
    assert said == [b"score: interrupted; run the command again to resume\n"]
    assert left(folder) == {"job.json", "part-00000.csv"}


def test_killed_between_a_part_and_its_note(source: Path) -> None:
    """If a run is killed before it records a part, only that part is repeated."""
    folder = source.with_name("parts")
    asked = (source, f"{folder}/", "--part-rows", "1000", "--on-error", "null")
    with held(*asked, at=folder / "part-00002.csv"):
        before = _parts(folder)
    (folder / "part-00002.csv").write_text("half")
    scored(*asked)
    after = _parts(folder)
    assert {name: after[name] for name in before} == before
    assert _joined(folder) == _whole(source)


def test_nothing_is_done_twice(source: Path) -> None:
    """The same command again scores nothing, and prints the same line."""
    folder = source.with_name("parts")
    asked = (source, f"{folder}/", "--part-rows", "1000", "--on-error", "skip")
    said = scored(*asked)
    before = _parts(folder)
    assert scored(*asked) == said
    assert _parts(folder) == before
    (folder / "part-00003.csv").unlink()
    assert scored(*asked) == said
    assert {name for name, at in _parts(folder).items() if at != before[name]} == {"part-00003.csv"}


@pytest.mark.parametrize("part_rows", [1, 7, 2048, 2049, 5000, 5001])
@pytest.mark.parametrize("form", ["csv", "arrow"])
def test_the_size_of_parts(tmp_path: Path, form: str, part_rows: int) -> None:
    """For every part size each row is in exactly one part, in order."""
    number = 12 if part_rows == 1 else 50 if part_rows == 7 else 5000
    source = tmp_path / f"in.{form}"
    source.write_bytes(FORMS[form][1](rows(number)))
    scored(source, f"{tmp_path}/parts/", "--part-rows", str(part_rows), "--columns", "id", "--to", "csv")
    parts = [read(path) for path in sorted((tmp_path / "parts").glob("part-*"))]
    assert [len(part) for part in parts[:-1]] == [part_rows] * (len(parts) - 1)
    assert [row["id"] for part in parts for row in part] == [f"n{place}" for place in range(number)]


@pytest.mark.parametrize(("given", "form"), PAIRS)
def test_each_part_is_a_table(tmp_path: Path, given: str, form: str) -> None:
    """Parts of every format are complete tables; together they equal a single run's output."""
    source = tmp_path / f"in.{given}"
    source.write_bytes(FORMS[given][1](rows(2500)))
    folder = tmp_path / "parts"
    scored(source, f"{folder}/", "--to", form, "--part-rows", "1000")
    scored(source, tmp_path / f"whole.{form}")
    parts = [folder / f"part-0000{number}.{form}" for number in range(3)]
    assert left(folder) == {"job.json", *(part.name for part in parts)}
    assert [row for part in parts for row in read(part)] == read(tmp_path / f"whole.{form}")
    if form in {"arrow", "parquet"}:
        assert {table(part).schema for part in parts} == {table(tmp_path / f"whole.{form}").schema}
        assert [notes(part)["read"] for part in parts] == [1000, 1000, 500]


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_parts_is_the_files(tmp_path: Path, form: str) -> None:
    """Without --to the parts have the input's format."""
    source = tmp_path / "in"
    source.write_bytes(FORMS[form][1](rows(5)))
    scored(source, f"{tmp_path}/parts/")
    assert left(tmp_path / "parts") == {"job.json", f"part-00000.{form}"}


def test_tabs_in_parts(tmp_path: Path) -> None:
    """--to tsv writes parts with tabs."""
    (tmp_path / "in.csv").write_bytes(as_csv(rows(5)))
    scored(tmp_path / "in.csv", f"{tmp_path}/parts/", "--to", "tsv")
    assert (tmp_path / "parts" / "part-00000.csv").read_text().startswith("id\tpclass\t")


def test_a_delimiter_by_its_name(tmp_path: Path) -> None:
    """With a named delimiter, records that contain line ends are not split."""
    source = tmp_path / "in.tsv"
    source.write_bytes(as_csv(rows(600), "\t"))
    parts = tmp_path / "out"
    parts.mkdir()
    said = scored(source, parts, "--part-rows", "100", "--delimiter", "tab", "--to", "csv")
    assert "600 rows read, 600 scored" in said
    assert len(_parts(parts)) == 6


def test_one_run_at_a_time(source: Path) -> None:
    """A folder that another run works in is rejected."""
    parts = source.parent / "out"
    parts.mkdir()
    held = os.open(parts, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert refused(source, parts).endswith(f"{parts}: another run is using it")
    os.close(held)


@pytest.mark.parametrize("form", FORMS)
def test_wide_rows(tmp_path: Path, form: str) -> None:
    """A part has a byte limit too: wide rows make smaller parts."""
    wide = [{**row, "note": f"{place}" * 450_000} for place, row in enumerate(rows(50))]
    source = tmp_path / f"in.{form}"
    source.write_bytes(FORMS[form][1](wide))
    scored(source, f"{tmp_path}/parts/", "--columns", "id", "--to", "csv")
    parts = [read(path) for path in sorted((tmp_path / "parts").glob("part-*"))]
    assert len(parts) >= 2
    assert [row["id"] for part in parts for row in part] == [f"n{place}" for place in range(50)]


@pytest.mark.parametrize("form", ["csv", "arrow", "parquet"])
def test_a_table_of_no_rows(tmp_path: Path, form: str) -> None:
    """A table without rows has one part without rows."""
    one = pa.Table.from_pylist(rows(1)).slice(0, 0)
    source = tmp_path / f"in.{form}"
    if form == "csv":
        source.write_text(",".join(one.column_names))
    elif form == "parquet":
        pq.write_table(one, source)
    else:
        with pa.ipc.new_stream(str(source), one.schema) as stream:
            stream.write_table(one)
    assert "0 rows read, 0 scored, 0 failed" in scored(source, f"{tmp_path}/parts/", "--to", "csv")
    assert left(tmp_path / "parts") == {"job.json", "part-00000.csv"}
    assert read(tmp_path / "parts" / "part-00000.csv") == []


def test_another_job_in_the_same_folder(source: Path) -> None:
    """A folder of another job is rejected with the differences, and left unchanged."""
    folder = source.with_name("parts")
    asked: list[str | Path] = [source, f"{folder}/", "--part-rows", "2000", "--on-error", "null"]
    scored(*asked)
    before = _parts(folder)
    for options, words in (
        (["--columns", "none"], "columns: all, now none"),
        (["--on-error", "skip"], "on_error: null, now skip"),
        (["--part-rows", "1000"], "part rows: 2000, now 1000"),
        (["--to", "arrow"], "form: None, now arrow"),
        (["--to", "tsv"], "form: None, now tsv"),
        (["--model", "titanic"], "model: None, now titanic"),
        (["--label", "stable"], "label: None, now stable"),
        (["--delimiter", ","], "delimiter: None, now ,"),
        (["--url", "http://127.0.0.1:9/", "--tries", "1"], "url: None, now http://127.0.0.1:9"),
    ):
        said = refused(*asked, *options)
        assert f"{folder}: it contains parts of another job ({words}); remove it, or use another folder" in said
    source.write_bytes(as_csv(rows(5001)))
    assert "bytes of input: " in refused(*asked)
    other = shutil.copy(source, source.with_name("other.csv"))
    assert "input: in.csv, now other.csv" in refused(other, *asked[1:])
    assert _parts(folder) == before


def test_a_folder_of_something_else(source: Path) -> None:
    """A folder with other files or a broken job file is rejected and left unchanged."""
    folder = source.with_name("parts")
    folder.mkdir()
    (folder / "mine.txt").touch()
    said = refused(source, folder)
    assert said.endswith(f"{folder}: expected an empty folder, or one that contains parts of this job")
    for broken in ("", "{", "[]", '{"job": {}}', '{"job": 1, "parts": [], "served": null, "joined": false}'):
        (folder / "job.json").write_text(broken)
        assert f"{folder}/job.json: it can't be read; remove {folder}," in refused(source, folder)
    assert left(folder) == {"mine.txt", "job.json"}
    assert refused(source, folder / "none" / "none" / "").endswith(f"{folder}/none/none: No such file or directory")


def test_a_job_that_never_began(source: Path) -> None:
    """A job rejected before its first part leaves no folder."""
    folder = source.with_name("parts")
    refused(source, f"{folder}/", "--model", "none")
    refused(source, f"{folder}/", "--columns", "none,of,them")
    assert not folder.exists()


def test_a_wrong_row_in_a_part(source: Path) -> None:
    """An invalid row is named by its number in the file; earlier parts stay."""
    folder = source.with_name("parts")
    asked = (source, f"{folder}/", "--part-rows", "1000")
    said = refused(*asked)
    assert said == f"score: {source}: row 4999: age: expected a number from 0 to 120 or null; got -3"
    assert left(folder) == {"job.json", *(f"part-0000{number}.csv" for number in range(4))}


def test_another_model_in_the_same_place(source: Path, models: Path) -> None:
    """A job can't be resumed with another model file under the same name and version."""
    folder = source.with_name("parts")
    asked = (source, f"{folder}/", "--part-rows", "1000", "--on-error", "null", "--models", models)
    scored(*asked)
    job = json.loads((folder / "job.json").read_text())
    job["served"][2] = "0" * 64
    (folder / "job.json").write_text(json.dumps(job))
    words = "titanic version 1: its model.onnx differs from the one that scored the parts in the folder"
    assert f"{words}; remove {folder}" in refused(*asked)


def test_a_label_that_moves_in_between(tmp_path: Path) -> None:
    """All parts of a job use the first part's version, or the job is rejected."""
    models, folder, source = tmp_path / "models", tmp_path / "parts", tmp_path / "in.csv"
    small.double(models, version=1)
    source.write_text("x\n" + "1.5\n" * 60_000)
    asked = (source, f"{folder}/", "--part-rows", "20000", "--models", models)
    with held(*asked, at=folder / "part-00001.csv"):
        pass
    small.double(models, version=2)
    assert "(small version 1):" in scored(*asked)
    assert "(small version 2):" in scored(source, tmp_path / "now.csv", "--models", models)
    (folder / "part-00002.csv").unlink()
    shutil.rmtree(models / "small" / "1")
    assert "model 'small' has no version '1'; its versions: 2" in refused(*asked)


def test_no_header_is_kept(source: Path) -> None:
    """The job file has only the options, the model version, and the parts."""
    folder = source.with_name("parts")
    scored(source, f"{folder}/", "--on-error", "null")
    job = json.loads((folder / "job.json").read_text())
    assert set(job) == {"job", "served", "parts", "joined"}
    assert job["parts"] == {"part-00000.csv": {"read": 5000, "scored": 4999, "failed": 1}}
    assert job["served"][:2] == ["titanic", "1"]


def test_lines_of_json_that_differ(tmp_path: Path) -> None:
    """NDJSON lines with different fields keep their fields in every part."""
    source = tmp_path / "in.ndjson"
    source.write_bytes(as_ndjson([{**row, f"field{place % 3}": place} for place, row in enumerate(rows(30))]))
    scored(source, f"{tmp_path}/parts/", "--part-rows", "10")
    scored(source, tmp_path / "whole.ndjson")
    parts = sorted((tmp_path / "parts").glob("part-*"))
    assert b"".join([part.read_bytes() for part in parts]) == (tmp_path / "whole.ndjson").read_bytes()

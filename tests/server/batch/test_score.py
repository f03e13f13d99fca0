"""`python -m server score`, one file to one file: formats, options, exit codes."""

import gzip
import io
import re
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pyarrow as pa
import pytest

from tests.server.support import small
from tests.server.support.process import ROOT
from tests.server.support.score import (
    DATA,
    FEATURES,
    FORMS,
    Rows,
    as_csv,
    command,
    environment,
    left,
    long,
    notes,
    read,
    refused,
    rows,
    score,
    scored,
    table,
)


def _file(folder: Path, form: str, given: Rows) -> Path:
    path = folder / f"in.{form}"
    path.write_bytes(FORMS[form][1](given))
    return path


def _answer(server: httpx.Client, body: bytes, accept: str, **query: str) -> bytes:
    answer = server.post("/api/batch", content=body, headers={"accept": accept}, params=query)
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize("form", ["csv", "ndjson"])
@pytest.mark.parametrize("given", FORMS)
def test_the_text_is_the_servers(server: httpx.Client, tmp_path: Path, given: str, form: str) -> None:
    """Every input format scored to CSV or NDJSON gives the server's response byte for byte."""
    source, out = _file(tmp_path, given, rows(3000)), tmp_path / f"out.{form}"
    said = scored(source, out)
    assert out.read_bytes() == _answer(server, source.read_bytes(), FORMS[form][0])
    assert said == f"score: 3,000 rows read, 3,000 scored, 0 failed (titanic version 1): {out}\n"


@pytest.mark.parametrize("form", ["arrow", "parquet"])
@pytest.mark.parametrize("given", FORMS)
def test_the_table_is_the_servers(server: httpx.Client, tmp_path: Path, given: str, form: str) -> None:
    """Arrow and Parquet output has the columns, types, rows and counts of the server's response.

    Bytes may differ: the arrival of bytes decides the sizes of record batches, and Parquet's metadata have no order.
    """
    source, out = _file(tmp_path, given, rows(3000)), tmp_path / f"out.{form}"
    scored(source, out)
    (tmp_path / f"served.{form}").write_bytes(_answer(server, source.read_bytes(), FORMS[form][0]))
    found, expected = table(out), table(tmp_path / f"served.{form}")
    assert found.equals(expected, check_metadata=True)
    assert notes(out) == notes(tmp_path / f"served.{form}") == {"read": 3000, "scored": 3000, "failed": 0}


def test_the_bits_are_the_models_own(tmp_path: Path) -> None:
    """Each row's probabilities are bit-identical to onnxruntime's for all rows in one run."""
    made = rows(3000)
    scored(_file(tmp_path, "csv", made), tmp_path / "out.arrow")
    alone = onnxruntime.SessionOptions()
    alone.intra_op_num_threads = 1  # several threads add up the trees in another order
    session = onnxruntime.InferenceSession(ROOT / "models" / "titanic" / "1" / "model.onnx", alone)
    null = {"age": np.nan, "fare": np.nan, "embarked": ""}
    kinds = {"tensor(int64)": np.int64, "tensor(float)": np.float32, "tensor(string)": np.object_}
    inputs: dict[str, Any] = {}
    for each in session.get_inputs():
        values = [null[each.name] if row[each.name] is None else row[each.name] for row in made]
        inputs[each.name] = np.array(values, kinds[each.type]).reshape(-1, 1)
    labels, shares = session.run(None, inputs)
    found = table(tmp_path / "out.arrow")
    assert found["probability_died"].to_numpy().tobytes() == shares[:, 0].tobytes()
    assert found["probability_survived"].to_numpy().tobytes() == shares[:, 1].tobytes()
    assert len(set(found["predicted_survived"].to_pylist())) == len(set(labels.reshape(-1).tolist())) == 2


def test_tabs(server: httpx.Client, tmp_path: Path) -> None:
    """Tabs are detected in the input, and written if the suffix or --to says so."""
    made = rows(100)
    source = tmp_path / "in.tsv"
    source.write_bytes(as_csv(made, "\t"))
    scored(source, tmp_path / "out.tsv")
    expected = _answer(server, source.read_bytes(), "text/tab-separated-values")
    assert (tmp_path / "out.tsv").read_bytes() == expected
    assert expected.startswith(b"id\tpclass\t")
    assert score(source, "-", "--to", "tsv").stdout == expected
    scored(_file(tmp_path, "csv", made), tmp_path / "of_commas.tsv")
    assert (tmp_path / "of_commas.tsv").read_bytes() == expected


def test_a_pipe(server: httpx.Client) -> None:
    """From standard input to standard output the format stays the same unless --to says another."""
    body = as_csv(rows(100))
    assert score("-", "-", given=body).stdout == _answer(server, body, "text/csv")
    assert score("-", "-", "--to", "ndjson", given=body).stdout == _answer(server, body, "application/x-ndjson")
    with pa.ipc.open_stream(score("-", "-", "--to", "arrow", given=body).stdout) as stream:
        assert stream.read_all().num_rows == 100
    packed = score("-", "-", "--to", "parquet", given=body).stdout
    assert pa.parquet.read_table(io.BytesIO(packed)).num_rows == 100


def test_a_name_without_suffix(tmp_path: Path) -> None:
    """Without a suffix the output has the input's format."""
    scored(_file(tmp_path, "ndjson", rows(5)), tmp_path / "out")
    assert (tmp_path / "out").read_bytes().startswith(b'{"id":"n0",')


@pytest.mark.parametrize("name", ["out.csv.gz", "out.ndjson.gz", "out.csv.zst", "out.arrow.zst"])
def test_packed_files(tmp_path: Path, name: str) -> None:
    """A compressed input is decompressed; an output named .gz or .zst is compressed."""
    plain = _file(tmp_path, "csv", rows(3000))
    packed = tmp_path / "in.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    scored(packed, tmp_path / name)
    inside = tmp_path / Path(name).stem
    scored(plain, inside)
    with pa.input_stream(tmp_path / name, compression="gzip" if name.endswith("gz") else "zstd") as stream:
        assert stream.read() == inside.read_bytes()


def test_columns(tmp_path: Path) -> None:
    """--columns passes through no input columns, or the named columns in that order."""
    source = _file(tmp_path, "csv", rows(3))
    added = ["predicted_survived", "probability_died", "probability_survived"]
    for columns, expected in (("none", []), ("sex,id", ["sex", "id"])):
        scored(source, tmp_path / "out.csv", "--columns", columns)
        assert list(read(tmp_path / "out.csv")[0]) == [*expected, *added]


def test_wrong_rows(tmp_path: Path) -> None:
    """--on-error returns an invalid row with its error, skips it, or ends the command."""
    source = _file(tmp_path, "csv", rows(100, age=70))
    said = scored(source, tmp_path / "out.csv", "--on-error", "null")
    assert "100 rows read, 99 scored, 1 failed" in said
    row = read(tmp_path / "out.csv")[69]
    assert (row["id"], row["age"], row["predicted_survived"]) == ("n69", "-3", "")
    assert row["error"] == "age: expected a number from 0 to 120 or null; got -3"
    said = scored(source, tmp_path / "out.csv", "--on-error", "skip")
    assert "100 rows read, 99 scored, 1 failed" in said
    assert [row["id"] for row in read(tmp_path / "out.csv")] == [f"n{place}" for place in range(100) if place != 69]
    (tmp_path / "out.csv").unlink()
    said = refused(source, tmp_path / "out.csv")
    assert said == f"score: {source}: row 70: age: expected a number from 0 to 120 or null; got -3"
    assert left(tmp_path) == {"in.csv"}


def test_a_delimiter(tmp_path: Path) -> None:
    """--delimiter sets a delimiter that can't be detected, as a character or by name."""
    source = tmp_path / "in.csv"
    for given, character in (("~", "~"), ("space", " ")):
        source.write_bytes(as_csv([{name: row[name] for name in FEATURES} for row in rows(3)], character))
        scored(source, tmp_path / "out.csv", "--delimiter", given)
        assert (tmp_path / "out.csv").read_bytes().count(character.encode()) == 4 * 9


def test_models(tmp_path: Path) -> None:
    """--models, --model, --version and --label choose the model; a missing one is named."""
    models = tmp_path / "models"
    small.double(models, version=1)
    small.double(models, version=2)
    small.double(models, name="other")
    (models / "small" / "labels.json").write_text('{"stable": 1, "canary": 2}')
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("x\n1.5\n")
    for options, expected in (
        ([], "small version 1"),
        (["--version", "2"], "small version 2"),
        (["--label", "canary"], "small version 2"),
        (["--model", "other"], "other version 1"),
    ):
        said = scored(source, out, "--models", models, *options, LIFEBOAT_DEFAULT_MODEL="small")
        assert f"({expected}):" in said
        assert out.read_text() == "x,predicted_value\n1.5,3.0\n"
    here = partial(refused, source, out, LIFEBOAT_MODELS=str(models), LIFEBOAT_DEFAULT_MODEL="small")
    assert here("--version", "7").endswith("has no version '7'; its versions: 1, 2")
    assert here("--model", "none").endswith("there is other, small")
    assert "/nowhere: there is no such folder" in refused(source, out, "--models", "/nowhere")


def test_what_is_no_file(tmp_path: Path) -> None:
    """A file that can't be read or written is named; the exit code is 1."""
    source = _file(tmp_path, "csv", rows(3))
    (tmp_path / "empty.csv").touch()
    for given, out, words in (
        (tmp_path / "none.csv", tmp_path / "out.csv", f"{tmp_path}/none.csv: No such file or directory"),
        (tmp_path, tmp_path / "out.csv", f"{tmp_path}: Is a directory"),
        (tmp_path / "empty.csv", tmp_path / "out.csv", f"{tmp_path}/empty.csv: expected rows; the file is empty"),
        (source, tmp_path / "none" / "out.csv", f"{tmp_path}/none/out.csv: No such file or directory"),
        (source, source / "out.csv", f"{source}/out.csv: Not a directory"),
    ):
        assert refused(given, out).replace("it is empty", "the file is empty") == f"score: {words}"
    assert left(tmp_path) == {"in.csv", "empty.csv"}


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk(tmp_path: Path, form: str) -> None:
    """A full disk ends the command with exit code 1 and the output's name."""
    source = tmp_path / "in.csv"
    source.write_bytes(long(5000))
    assert refused(source, "/dev/full", "--to", form) == "score: /dev/full: No space left on device"
    with Path("/dev/full").open("wb") as full:
        asked = command(source, "-", "--to", form)
        done = subprocess.run(asked, cwd=ROOT, env=environment(), stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"score: standard output: No space left on device\n")


@pytest.mark.parametrize("form", FORMS)
def test_who_reads_no_more(tmp_path: Path, form: str) -> None:
    """A pipe without a reader ends the command with exit code 1 and one line."""
    source = tmp_path / "in.csv"
    source.write_bytes(long(5000))
    asked = command(source, "-", "--to", form)
    with subprocess.Popen(
        asked, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b"score: standard output: Broken pipe\n"
    assert process.returncode == 1


def test_a_broken_file(tmp_path: Path) -> None:
    """A truncated file is named, without mention of a request body, and leaves no output."""
    for form, words in (("parquet", "its end is missing"), ("arrow", "the Arrow stream ends in the middle")):
        source = _file(tmp_path, form, rows(3000))
        source.write_bytes(source.read_bytes()[:-100])
        said = refused(source, tmp_path / "out.csv")
        assert said.startswith(f"score: {source}: ")
        assert words in said
        assert "body" not in said
    assert left(tmp_path) == {"in.parquet", "in.arrow"}


def test_wrong_options(tmp_path: Path) -> None:
    """Invalid options end the command with exit code 2 and leave no output."""
    source = _file(tmp_path, "csv", rows(3))
    out = tmp_path / "out.csv"
    for arguments, words in (
        ([source, source], "output: expected a file other than the input"),
        ([source, tmp_path / "out.doc"], "output: unknown suffix .doc; expected .csv,"),
        ([source, tmp_path / "out.gz"], "output: out.gz: expected the suffix of a format before it"),
        ([source, tmp_path / "out.parquet.gz"], "output: out.parquet.gz: Parquet compresses itself"),
        ([source, out, "--on-error", ""], "--on-error: invalid choice"),
        ([source, out, "--delimiter", "ab"], "--delimiter: expected one ASCII character"),
        ([source, out, "--part-rows", "0"], '--part-rows: expected a whole number of at least 1; got "0"'),
        ([source, out, "--on-error", "stop"], "--on-error: invalid choice"),
        ([source, out, "--version", "1", "--label", "stable"], "--label: not allowed with argument --version"),
        ([source, out, "--url", "lifeboat.example"], "--url: expected http:// or https:// and a host"),
        ([source, out, "--url", "http://a:b@host"], "--url: expected no user name"),
        ([source, out, "--url", "http://host?key=a"], "--url: expected a URL without ? and #"),
        ([source, out, "--url", "http://host:port"], "--url: expected a port from 0 to 65535"),
        ([source, out, "--compress"], "--header, --compress: expected together with --url"),
        ([source, "-", "--url", "http://host"], "output: expected a file or a folder with --url"),
        (["-", out, "--url", "http://host"], "input: expected a file, because a resumed run reads it again"),
        ([source, out, "--url", "http://host", "--label", "a"], "--version, --label: expected together with --model"),
    ):
        assert words in refused(*arguments, code=2)
    assert left(tmp_path) == {"in.csv"}


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    """Missing columns, and columns with an output's name, are rejected before any file is written."""
    source = _file(tmp_path, "csv", rows(3))
    assert 'columns: there is no "a"' in refused(source, tmp_path / "out.csv", "--columns", "a")
    again = tmp_path / "again.csv"
    scored(source, again)
    words = f"score: {again}: predicted_survived: expected no column of this name"
    assert refused(again, tmp_path / "out.csv").startswith(words)
    source.write_text("id,pclass\n1,1\n")
    assert '"sex", "sibsp", "parch" missing; got "id", "pclass"' in refused(source, tmp_path / "out.csv")
    assert left(tmp_path) == {"in.csv", "again.csv"}


def test_the_usage() -> None:
    """An unknown command prints the usage with exit code 2, --help with 0."""
    for arguments, code in ((["--help"], 0), (["scores"], 2)):
        done = subprocess.run([*command()[:-1], *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert "python -m server score" in (done.stderr if code else done.stdout)


def test_the_help_is_the_pages() -> None:
    """docs/how-to/command-line-scoring.md shows the exact help text, 100 columns wide."""
    page = (ROOT / "docs" / "how-to" / "command-line-scoring.md").read_text()
    shown = re.search(r"```\n(usage: .*?)```", page, re.DOTALL)
    assert shown is not None
    assert score("--help", COLUMNS="100").stdout.decode() == shown[1]


def test_the_data_set(tmp_path: Path) -> None:
    """The published data set is scored; a column that is no feature passes through."""
    assert "1,309 rows read, 1,309 scored, 0 failed" in scored(DATA, tmp_path / "out.ndjson")

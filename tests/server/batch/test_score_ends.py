"""`python -m server score`: atomic output, signals, and the progress on a terminal."""

import os
import pty
import re
import signal
import subprocess
import termios
from contextlib import suppress
from pathlib import Path
from typing import IO

import pyarrow as pa
import pytest

from tests.server.support.bad_files import stream
from tests.server.support.process import HUNG_S, ROOT
from tests.server.support.score import as_csv, command, environment, left, read, rows, score, scored


def _begin(*arguments: str | Path, stdout: int | IO[bytes] = subprocess.PIPE) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def _half(process: "subprocess.Popen[bytes]") -> None:
    """Send enough rows that part of the output is written, and keep the input open."""
    assert process.stdin is not None
    process.stdin.write(as_csv(rows(20_000)))
    process.stdin.flush()


@pytest.mark.parametrize("form", ["csv", "ndjson", "arrow", "parquet"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_nothing(tmp_path: Path, form: str, number: signal.Signals, code: int) -> None:
    """A signal ends the command with 128 plus its number, and leaves no file."""
    with _begin("-", tmp_path / f"out.{form}") as process:
        _half(process)
        assert left(tmp_path) == {f".out.{form}.unfinished"}
        process.send_signal(number)
        assert process.stderr is not None
        assert process.stderr.read() == b"score: interrupted\n"
    assert process.returncode == code
    assert left(tmp_path) == set()


def test_a_killed_process_leaves_no_output(tmp_path: Path) -> None:
    """A killed run leaves the previous output; the next run replaces its unfinished file."""
    out = tmp_path / "out.csv"
    out.write_text("of yesterday")
    with _begin("-", out) as process:
        _half(process)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert out.read_text() == "of yesterday"
    assert left(tmp_path) == {"out.csv", ".out.csv.unfinished"}
    assert score("-", out, given=as_csv(rows(3))).returncode == 0
    assert len(read(out)) == 3
    assert left(tmp_path) == {"out.csv"}


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    """An invalid row late in the file leaves the previous output, and no other file."""
    out = tmp_path / "out.csv"
    out.write_text("of yesterday")
    assert score("-", out, given=as_csv(rows(20_000, age=19_999))).returncode == 1
    assert out.read_text() == "of yesterday"
    assert left(tmp_path) == {"out.csv"}


def test_a_link_and_a_device_stay_what_they_are(tmp_path: Path) -> None:
    """A link stays a link and a named pipe stays a pipe."""
    (tmp_path / "out.csv").symlink_to("real.csv")
    assert score("-", tmp_path / "out.csv", given=as_csv(rows(3))).returncode == 0
    assert (tmp_path / "out.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().count("\n") == 7
    os.mkfifo(tmp_path / "pipe.csv")
    with _begin("-", tmp_path / "pipe.csv") as process:
        _feed(process, as_csv(rows(3)))
        reader = subprocess.run(["cat", tmp_path / "pipe.csv"], capture_output=True, check=True, timeout=HUNG_S)
        assert reader.stdout == (tmp_path / "real.csv").read_bytes()
    assert process.returncode == 0
    assert (tmp_path / "pipe.csv").is_fifo()


def _feed(process: "subprocess.Popen[bytes]", data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.close()


def _on_a_terminal(*arguments: str | Path, given: bytes) -> tuple[str, int]:
    """Run the command with standard error on a terminal.

    Returns the terminal's text and the exit code.
    """
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 120))
    with subprocess.Popen(
        command(*arguments), cwd=ROOT, env=environment(TERM="xterm"), stdin=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        _feed(process, given)
        shown = b""
        with suppress(OSError), os.fdopen(ours, "rb", buffering=0) as terminal:  # the end of a terminal is an OSError
            while data := terminal.read(4096):
                shown += data
    return shown.decode(), process.wait(HUNG_S)


_BAR = re.compile(r"(\d+)%\|[^|]*\| ([\d,]+) rows, [\d,]+ rows/s \[\d\d:\d\d<\d\d:\d\d\]")


def test_the_progress_on_a_terminal(tmp_path: Path) -> None:
    """A terminal shows percentage, rows, rate and remaining time, finally only the counts."""
    source = tmp_path / "in.csv"
    source.write_bytes(as_csv(rows(20_000)))
    for out in (tmp_path / "out.csv", f"{tmp_path}/parts/"):
        shown, code = _on_a_terminal(source, out, "--part-rows", "3000", given=b"")
        assert code == 0
        share, number = _BAR.findall(shown)[-1]
        assert (share, number) == ("100", "20,000")
        last = shown.rpartition("\r")[0].rpartition("\r")[2]
        assert last == f"score: 20,000 rows read, 20,000 scored, 0 failed (titanic version 1): {str(out).rstrip('/')}"


def test_the_progress_of_a_pipe(tmp_path: Path) -> None:
    """For a pipe, whose length is unknown, a terminal shows the rows and the rate."""
    shown, code = _on_a_terminal("-", tmp_path / "out.csv", given=as_csv(rows(3000)))
    assert code == 0
    assert re.search(r"3,000 rows, [\d,]+ rows/s \[\d\d:\d\d\]", shown)
    assert "%" not in shown


def test_what_was_kept_counts_for_no_rate(tmp_path: Path) -> None:
    """Parts of an earlier run count as done, but not in this run's rate."""
    source = tmp_path / "in.csv"
    source.write_bytes(as_csv(rows(20_000)))
    score(source, f"{tmp_path}/parts/", "--part-rows", "3000")
    shown, code = _on_a_terminal(source, f"{tmp_path}/parts/", "--part-rows", "3000", given=b"")
    assert code == 0
    assert "100%" in shown
    assert "| 20,000 rows [" in shown
    assert "rows/s" not in shown


def test_quiet(tmp_path: Path) -> None:
    """With --quiet, or without a terminal, only the last line is shown."""
    shown, code = _on_a_terminal("-", tmp_path / "out.csv", "--quiet", given=as_csv(rows(3)))
    line = f"score: 3 rows read, 3 scored, 0 failed (titanic version 1): {tmp_path}/out.csv"
    assert (shown, code) == (line + "\r\n", 0)
    done = score("-", tmp_path / "out.csv", given=as_csv(rows(3)))
    assert done.stderr.decode() == line + "\n"


def test_standard_streams_that_are_closed(tmp_path: Path) -> None:
    """A closed standard stream is named in the error; messages never go to another stream."""
    source = tmp_path / "in.csv"
    source.write_bytes(as_csv(rows(3)))
    for closed, arguments, words in (
        ("<&-", ["-", "-"], b"score: standard input: Bad file descriptor\n"),
        (">&-", [source, "-"], b"score: standard output: Bad file descriptor\n"),
    ):
        line = ["sh", "-c", f'exec "$@" {closed}', "sh", *command(*arguments)]
        done = subprocess.run(line, cwd=ROOT, env=environment(), capture_output=True, check=False)
        assert (done.returncode, done.stderr, done.stdout) == (1, words, b"")
    line = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command(source, "-")]
    done = subprocess.run(line, cwd=ROOT, env=environment(), capture_output=True, check=False)
    assert done.returncode == 0
    assert done.stdout == score(source, "-").stdout


@pytest.mark.parametrize("suffix", ["arrow", "csv", "parquet", "ndjson"])
def test_columns_that_are_left_out_are_named(tmp_path: Path, suffix: str) -> None:
    """A column that no format supports is named if it should pass through."""
    given = rows(1_000)
    union = pa.UnionArray.from_sparse(pa.array([0] * 1_000, pa.int8()), [pa.array([1] * 1_000)])
    source = tmp_path / "in.arrow"
    source.write_bytes(stream(pa.Table.from_pylist(given).append_column("a\nb", union)))
    line = 'score: columns omitted, because no format can represent their types: "a\\nb"'
    for out, more in ((f"out.{suffix}", ()), ("parts/", ("--part-rows", "300"))):
        said = scored(source, f"{tmp_path}/{out}", "--columns", "all", *more).splitlines()
        assert said[0] == line
        assert len(said) == 2
        assert line not in scored(source, f"{tmp_path}/of-none-{out}", "--columns", "none", *more)

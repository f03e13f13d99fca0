"""Tests of the file benchmark with short windows: real files, a real server and a checking client."""

import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import batch, load_test, results, sample_files, thresholds
from bench.load_test import BenchError

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="process trees are read in /proc, which only Linux has"),
    pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is missing (Debian: nghttp2-client)"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing"),
]
ROWS = 20_000


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sample_files, "BUILD", tmp_path)
    monkeypatch.setattr(sample_files, "BATCH_ROWS", 1000)
    monkeypatch.setattr(batch, "FEW_ROWS", 1000)
    monkeypatch.setattr(batch, "MANY_ROWS", ROWS)
    monkeypatch.setattr(load_test, "WINDOW_S", 0.2)
    monkeypatch.setattr(load_test, "SETTLE_S", 0.05)
    monkeypatch.setattr(load_test, "TRIES", 1)


def _only(monkeypatch: pytest.MonkeyPatch, *forms: str) -> None:
    monkeypatch.setattr(sample_files, "FORMS", {form: sample_files.FORMS[form] for form in forms})


def test_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round measures files of each format with both models; a figure that can't exist is None."""
    _only(monkeypatch, "arrow", "parquet")
    found = {(each.form, each.model): each for each in batch.measured(1)}
    assert set(found) == {(form, model) for form in ("arrow", "parquet") for model in ("Titanic", "linear")}
    for each in found.values():
        assert min(each.session_rate.median, each.rate.median, each.ratio.median) > 0
        assert all(peak.median > 1 for peak in each.peak_mb.values())
    arrow, parquet = found["arrow", "Titanic"], found["parquet", "Titanic"]
    assert arrow.first_row_ms is not None
    assert parquet.first_row_ms is None, "its index stands at its end"
    assert arrow.beside is not None
    assert arrow.beside.p99_us.median >= arrow.beside.p50_us.median > 0
    assert arrow.beside.rate.median > 0
    assert found["arrow", "linear"].beside is None


@pytest.mark.parametrize("form", sample_files.FORMS)
def test_a_file_holds_the_passengers(form: str) -> None:
    """A file of any format has the requested number of rows, which repeat the data set."""
    table = sample_files.read(sample_files.written(form, ROWS), form)
    assert table.num_rows == ROWS
    assert table.column("fare")[0].as_py() == table.column("fare")[1309].as_py() == 211.3375
    assert table.column("age").null_count > ROWS // 6


def test_an_answer_that_lacks_rows_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that comes back with a wrong number of rows is an error, not a figure."""
    _only(monkeypatch, "csv")
    monkeypatch.setattr(sample_files, "answers", lambda *_: (ROWS - 1, 0.9, 0.1))
    with pytest.raises(BenchError, match=f"of {ROWS} rows came back as {ROWS - 1}"):
        batch.measured(1)


@pytest.mark.parametrize(
    ("form", "alone", "reached"),
    [("csv", 500_000, ["CPU"]), ("csv", 900_000, ["rows a second"]), ("arrow", 1_300_000, ["CPU"]), ("ndjson", 1, [])],
)
def test_a_fast_model_is_held_to_a_number(form: str, alone: float, reached: list[str]) -> None:
    """Files must reach a share of the model's speed, or rows per second."""
    held = _held(form, alone)
    assert [what for what in ("CPU", "rows a second") if any(each.startswith(what) for each in held)] == reached


def _held(form: str, alone: float) -> list[str]:
    committed = results.read()
    one = {"median": 1.0, "low": 1.0, "high": 1.0}
    seen: dict[str, Any] = dict.fromkeys(("rate", "ratio", "wall_ratio", "grown_mb"), one)
    seen |= {"model": "m", "form": form, "peak_mb": {}, "session_rate": one | {"median": alone}}
    each = msgspec.convert(seen, results.Batch)
    return [
        held.what for held in thresholds.held(msgspec.structs.replace(committed, batches=[each])) if form in held.what
    ]

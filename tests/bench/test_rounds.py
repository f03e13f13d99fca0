"""Tests of a benchmark round with short windows: real servers, real load."""

import shutil
import sys
from pathlib import Path

import pytest

from bench import load_test, results, targets
from bench import measure as rounds
from bench.load_test import BenchError, Target, send
from bench.measure import Measured
from bench.process_stats import Cores
from bench.targets import Call

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="process trees are read in /proc, which only Linux has"),
    pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is missing (Debian: nghttp2-client)"),
]


def test_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each window of a round has requests and CPU, and each start a right response."""
    monkeypatch.setattr(load_test, "WINDOW_S", 0.5)
    monkeypatch.setattr(load_test, "SETTLE_S", 0.2)
    monkeypatch.setattr(load_test, "TRIES", 1)
    monkeypatch.setattr(rounds, "WARM_S", 0.05)
    ours = [targets.floor(), targets.lifeboat()]
    measured = Measured()
    rounds.measure_start(targets.start_floor(), measured, Cores.of_this_machine())
    rounds.measure(ours, measured, Cores.of_this_machine())
    rows = results.rows(measured, ours)
    assert set(rows) == {each + kind for each in ("echo", "lifeboat") for kind in ("", "-v2", "-binary")}
    for row in rows.values():
        for under in row.load.values():
            assert under.rate.median > 0
            assert 0 < under.p50_us.median <= under.p99_us.median
    servers = results.servers(measured, {})
    assert servers["lifeboat"].start_cpu_s.median > 0
    assert servers["lifeboat"].pss_mb is not None


def test_a_wrong_answer_is_no_start(tmp_path: Path) -> None:
    """A server with a wrong response isn't measured; the error quotes the response."""
    echo = targets.floor()
    wrong = targets.Contender(
        "wrong", "wrong", echo.command, {"wrong": Call("/", targets.RECORD, answer=("age",))}, folder=tmp_path
    )
    with (
        pytest.raises(BenchError, match=r"no right answer but 200 .*pclass"),
        rounds.serving(wrong, Cores.of_this_machine()),
    ):
        pass


def test_a_failed_call_is_no_figure(tmp_path: Path) -> None:
    """Load with a response other than 200 fails the window and names the status."""
    ours = targets.lifeboat()
    with rounds.serving(ours, Cores.of_this_machine()) as (pid, port, _):
        target = Target(pid, port, Call("/api/predict", b"{}"), Cores.of_this_machine(), tmp_path)
        with pytest.raises(BenchError, match=r"10 of 10 calls failed \['400'\]"):
            send(target, 1, requests=10)

"""Tests of the benchmark of the edge beside the server, with short windows."""

import shutil
import sys

import msgspec
import pytest

from bench import edge, load_test, report, results

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="process trees are read in /proc, which only Linux has"),
    pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is missing (Debian: nghttp2-client)"),
]


def test_the_edge_is_measured_beside_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each path has times and CPU, compared with its counterpart, and the report shows them."""
    monkeypatch.setattr(load_test, "WINDOW_S", 0.6)
    monkeypatch.setattr(load_test, "SETTLE_S", 0.5)
    monkeypatch.setattr(load_test, "TRIES", 1)
    monkeypatch.setattr(edge, "WARM_S", 0.5)
    monkeypatch.setattr(edge, "CONNECTIONS", (1,))
    direct, through, alone, get, kept = edge.measured(1)
    for each in (direct, through, alone, get, kept):
        assert 0 < each.p50_ms.median <= each.p99_ms.median
        assert each.cpu_us.median > 0
    assert (direct.added_p50_ms.median, get.ratio.median) == (0, 1)
    for each, beside in ((through, direct), (alone, direct), (kept, get)):
        assert each.added_p50_ms.median == pytest.approx(each.p50_ms.median - beside.p50_ms.median)
        assert each.ratio.median == pytest.approx(each.cpu_us.median / beside.cpu_us.median, rel=0.01)
    told = msgspec.structs.replace(results.read(), hops=[direct, through])
    times = (through.p50_ms, through.p99_ms, through.added_p50_ms)
    assert " | ".join(f"{time.median:.2f}" for time in times) in report.hops(told)

"""Tests of the overload benchmark with short windows: goodput, rejections, and waits of other clients."""

import shutil
import sys

import msgspec
import pytest

from bench import overload, report, results
from bench.overload import Offer
from bench.targets import Call

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="process trees are read in /proc, which only Linux has"),
    pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is missing (Debian: nghttp2-client)"),
]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten each load to the minimum that gets requests through on a busy machine."""
    monkeypatch.setattr(overload, "SECONDS", 2.0)
    monkeypatch.setattr(overload, "ROUNDS", 1)
    monkeypatch.setattr(overload, "TIMES", (1,))
    monkeypatch.setattr(overload, "FRESH", 3)
    monkeypatch.setattr(overload, "ATTACKS", ("smuggled_requests",))


def test_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both HTTP versions have goodput, wrong requests count as rejections, and the report shows both."""
    clients = 32  # an HTTP/2 connection ends after 3,840 requests, and h2load opens no other
    wrong = Offer("wrong", Call("/api/predict", b"{}"), clients)
    monkeypatch.setattr(overload, "offers", lambda: [Offer("right", overload.offer_of_one(), clients), wrong])
    monkeypatch.setattr(overload, "through_the_edge", lambda _cores: [])
    found = overload.floods()
    by_label = {each.label: each for each in found if each.times}
    for version in ("1.1", "2"):
        right, refused = by_label[f"right, HTTP/{version}"], by_label[f"wrong, HTTP/{version}"]
        assert right.goodput > 0
        assert (right.refused, refused.goodput) == (0, 0)
        assert refused.refused > 0
        assert 0 < refused.refusal_p50_ms <= refused.refusal_p99_ms
        assert right.memory_mb > 0
    told = report.overload(msgspec.structs.replace(results.read(), floods=found, waits=[]))
    assert all(f"| {label} | " in told for label in by_label)


def test_waits() -> None:
    """New connections get responses beside busy ones and during an attack; the report shows both."""
    busy, attack = overload.waits()
    assert (busy.calls, busy.lost, attack.lost) == (3, 0, 0)
    assert 0 < busy.p50_ms <= busy.p99_ms <= busy.worst_ms
    assert "| beside smuggled requests | " in report.overload(msgspec.structs.replace(results.read(), waits=[attack]))

"""Tests of the bill: Cloudflare's own example figures, and properties of any load."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cost import BASIC, CPU_USD_VCPU_S, Load, kept_warm_usd, million_usd, scale_to_zero_usd

LIGHT = Load(request_cpu_s=30e-6, start_cpu_s=0.3)
HEAVY = Load(request_cpu_s=8e-3, start_cpu_s=2.0)
brief = st.floats(0, 1e7)


def test_a_month_of_basic_kept_warm() -> None:
    """An idle instance that is always on costs $6.48 memory and $0.73 disk, less the included amounts."""
    assert kept_warm_usd(LIGHT, 0) == pytest.approx(6.48 + 0.7258 - 0.225 - 0.0504, abs=0.001)


def test_a_million_predictions() -> None:
    """A million predictions of 30 us of CPU are 30 CPU seconds."""
    assert million_usd(LIGHT) == pytest.approx(30 * CPU_USD_VCPU_S)


def test_what_needs_more_than_an_instance_gets_more() -> None:
    """An instance is added when the planned share of a quarter CPU is exceeded."""
    a_day = 0.25 * 0.6 / HEAVY.request_cpu_s * 86400
    one, two = kept_warm_usd(HEAVY, a_day * 0.99), kept_warm_usd(HEAVY, a_day * 1.01)
    assert two - one > BASIC.awake_usd(29 * 86400)


def test_asleep_is_nearly_free_and_busy_is_awake() -> None:
    """One request per day costs almost nothing with sleep; with constant requests sleep saves nothing."""
    assert scale_to_zero_usd(LIGHT, 1, 600) < 0.05
    assert scale_to_zero_usd(LIGHT, 1e6, 600) == pytest.approx(kept_warm_usd(LIGHT, 1e6), rel=0.01)


@given(brief, brief)
def test_more_requests_never_cost_less(one: float, other: float) -> None:
    """More requests never cost less, and sleep costs at most a start's CPU more than no sleep."""
    few, many = sorted((one, other))
    assert kept_warm_usd(LIGHT, few) <= kept_warm_usd(LIGHT, many)
    assert scale_to_zero_usd(LIGHT, many, 600) <= kept_warm_usd(LIGHT, many) + 0.10

"""Cost of CPU seconds and memory in dollars.

The prices are Cloudflare's for containers, as published in November 2026. Requests and CPU of the Worker and the
Durable Object are not included: they are the same for every server behind them.
"""

import math
from dataclasses import dataclass
from typing import Final

from bench.results import Results

MEMORY_USD_GIB_S: Final = 0.0000025
CPU_USD_VCPU_S: Final = 0.000020
DISK_USD_GB_S: Final = 0.00000007
EGRESS_USD_GB: Final = 0.025
"""For North America and Europe, above the first TB of a month."""
INCLUDED_GIB_S: Final = 25 * 3600
INCLUDED_VCPU_S: Final = 375 * 60
INCLUDED_GB_S: Final = 200 * 3600
MONTH_S: Final = 30 * 24 * 3600
DAY_S: Final = 24 * 3600
UTILISATION: Final = 0.6
"""Maximum share of an instance's CPU in use; above it, another instance is needed."""
CRON_S: Final = 120


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance type."""

    name: str
    vcpu: float
    memory_gib: float
    disk_gb: float

    def awake_usd(self, seconds: float) -> float:
        """Return the price of an instance's memory and disk for `seconds`, without the monthly allowance."""
        return seconds * (self.memory_gib * MEMORY_USD_GIB_S + self.disk_gb * DISK_USD_GB_S)

    def month_usd(self, awake_s: float, cpu_s: float) -> float:
        """Return a month's bill for an instance, less the monthly allowance.

        `awake_s`: seconds awake; `cpu_s`: CPU seconds.
        """
        memory = max(0.0, awake_s * self.memory_gib - INCLUDED_GIB_S) * MEMORY_USD_GIB_S
        disk = max(0.0, awake_s * self.disk_gb - INCLUDED_GB_S) * DISK_USD_GB_S
        return memory + disk + max(0.0, cpu_s - INCLUDED_VCPU_S) * CPU_USD_VCPU_S


LITE: Final = Instance("lite", 1 / 16, 0.25, 2)
BASIC: Final = Instance("basic", 1 / 4, 1, 4)
STANDARD_1: Final = Instance("standard-1", 1 / 2, 4, 8)
TYPES: Final = (LITE, BASIC, STANDARD_1)


@dataclass(frozen=True, slots=True)
class Load:
    """CPU cost of one server, measured by `make bench`."""

    request_cpu_s: float
    start_cpu_s: float


def million_usd(load: Load) -> float:
    """Return the price of the CPU time of a million predictions."""
    return load.request_cpu_s * 1e6 * CPU_USD_VCPU_S


def kept_warm_usd(load: Load, requests_a_day: float, instance: Instance = BASIC) -> float:
    """Return a month's bill of instances that never sleep.

    There are as many instances as the requests need, at least one. Every CRON_S, a cron checks the readiness of each
    instance; a check costs at most as much as a prediction.
    """
    work_s = load.request_cpu_s * requests_a_day * 30
    instances = max(1, math.ceil(work_s / MONTH_S / (instance.vcpu * UTILISATION)))
    asked_s = instances * MONTH_S / CRON_S * load.request_cpu_s
    return instance.month_usd(instances * MONTH_S, work_s + asked_s)


def scale_to_zero_usd(load: Load, requests_a_day: float, sleep_after_s: float, instance: Instance = BASIC) -> float:
    """Return a month's bill if an instance sleeps `sleep_after_s` after its last request.

    Requests arrive independently (a Poisson process). An instance is awake unless no request arrived in the last
    `sleep_after_s` seconds, and a request starts an instance if none is awake.
    """
    rate = requests_a_day / DAY_S
    asleep = math.exp(-rate * sleep_after_s)
    starts = rate * MONTH_S * asleep
    work_s = load.request_cpu_s * requests_a_day * 30 + starts * load.start_cpu_s
    instances = max(1, math.ceil(work_s / MONTH_S / (instance.vcpu * UTILISATION)))
    return instance.month_usd(instances * MONTH_S * (1 - asleep), work_s)


def load_of(results: Results, name: str) -> Load:
    """Return the CPU cost of a request at 16 connections and of the server's start."""
    row = results.rows[name]
    return Load(row.load["16"].cpu_us.median / 1e6, results.servers[row.contender].start_cpu_s.median)

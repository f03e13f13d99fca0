"""What is told of the process: what it is made of, what it may use, how long it took to be ready."""

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server import VERSION
from server.model import RUNTIME_VERSION
from server.start import Start

BUILD: Final = ("lifeboat_build_info", "1, with the versions of the server, of onnxruntime and of Python.")
START: Final = ("lifeboat_start_seconds", "Seconds from the start of the process to the open port.")
CPU_LIMIT: Final = (
    "lifeboat_cpu_limit_cores",
    "Cores that the process may use: its control group's quota, at most the CPUs that it may run on.",
)
_QUOTAS: Final = (
    (Path("/sys/fs/cgroup/cpu.max"),),
    (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")),
)
"""Files that hold the quota and its period, in microseconds, by either version of control groups."""


class ProcessInfoCollector(Collector):
    """Tells of the process what the library's own collector doesn't."""

    def __init__(self, start: Start) -> None:
        self._start = start

    def collect(self) -> Iterator[Metric]:
        """Yield each metric; without a sample what isn't known."""
        build = GaugeMetricFamily(*BUILD, labels=("version", "onnxruntime", "python"))
        build.add_metric((VERSION, RUNTIME_VERSION, platform.python_version()), 1)
        yield build
        started = GaugeMetricFamily(*START)
        seconds = self._start.seconds()
        if seconds is not None:
            started.add_metric((), seconds)
        yield started
        limit = GaugeMetricFamily(*CPU_LIMIT)
        limit.add_metric((), cpu_limit_cores())
        yield limit


def cpu_limit_cores() -> float:
    """Return how many cores the process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0)) if affinity is not None else os.cpu_count() or 1)
    for files in _QUOTAS:
        with suppress(OSError, ValueError):  # no such version of control groups, or "max": no quota
            quota_us, period_us = map(float, " ".join(path.read_text() for path in files).split())
            if quota_us > 0 and period_us > 0:
                return min(cores, quota_us / period_us)
    return cores

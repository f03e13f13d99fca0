"""Process metrics: versions, CPU limit, start time and event loop stalls."""

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server import VERSION
from server.http.lifecycle import Start
from server.http.watchdog import Watchdog
from server.models.session import RUNTIME_VERSION

BUILD: Final = ("lifeboat_build_info", "1; the labels are the versions of the server, onnxruntime and Python.")
START: Final = ("lifeboat_start_seconds", "Seconds from the start of the process to the open port.")
CPU_LIMIT: Final = (
    "lifeboat_cpu_limit_cores",
    "Cores that the process may use: the quota of its control group, but at most its available CPUs.",
)
STALLS: Final = (
    "lifeboat_event_loop_stalls_total",
    "Number of stalls: the event loop was blocked for more than 250 ms.",
)
STALLED: Final = (
    "lifeboat_event_loop_stalled_seconds_total",
    "Seconds that the event loop was blocked during stalls.",
)
_QUOTAS: Final = (
    (Path("/sys/fs/cgroup/cpu.max"),),
    (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")),
)
"""Files with the quota and its period in microseconds, for both cgroup versions."""


class ProcessInfoCollector(Collector):
    """Collector of process metrics that the Prometheus library does not provide."""

    def __init__(self, start: Start, watchdog: Watchdog) -> None:
        self._start = start
        self._watchdog = watchdog

    def collect(self) -> Iterator[Metric]:
        """Yield each metric; a metric with an unknown value has no sample."""
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
        for name, value in ((STALLS, self._watchdog.stalls), (STALLED, self._watchdog.stalled_s)):
            counter = CounterMetricFamily(*name)
            counter.add_metric((), value)
            yield counter


def cpu_limit_cores() -> float:
    """Return the number of cores that the process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0)) if affinity is not None else os.cpu_count() or 1)
    for files in _QUOTAS:
        with suppress(OSError, ValueError):  # this cgroup version is not present, or "max": no quota
            quota_us, period_us = map(float, " ".join(path.read_text() for path in files).split())
            if quota_us > 0 and period_us > 0:
                return min(cores, quota_us / period_us)
    return cores

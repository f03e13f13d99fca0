"""What the server counts, declared once, to Prometheus's text: Triton's names where they mean the same.

Triton's counters are named without `_total`, which the Prometheus library appends to every counter: they go through it
untyped, by a collector of our own, and are called counters in its text.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric, UnknownMetricFamily
from prometheus_client.registry import Collector

from server.counters import Counters
from server.runner import Runner

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_LABELS: Final = ("model", "version")
_MICROSECOND_NS: Final = 1000
_UNTYPED: Final = re.compile(rb"^(# TYPE nv_\w+) untyped$", re.MULTILINE)


class _Declared(NamedTuple):
    name: str
    help: str
    value: Callable[[Counters], float]


COUNTERS: Final = (
    _Declared("nv_inference_request_success", "Requests answered.", lambda c: c.requests),
    _Declared("nv_inference_count", "Rows answered.", lambda c: c.rows),
    _Declared("nv_inference_exec_count", "Runs of the model: one answers every request of a batch.", lambda c: c.runs),
    _Declared(
        "nv_inference_request_duration_us",
        "Microseconds from queueing to the answer, summed over requests.",
        lambda c: c.request_ns // _MICROSECOND_NS,
    ),
    _Declared(
        "nv_inference_queue_duration_us",
        "Microseconds in the queue, summed over requests.",
        lambda c: c.queue_ns // _MICROSECOND_NS,
    ),
    _Declared(
        "nv_inference_compute_input_duration_us",
        "Microseconds of laying out input tensors, summed over runs.",
        lambda c: c.input_ns // _MICROSECOND_NS,
    ),
    _Declared(
        "nv_inference_compute_infer_duration_us",
        "Microseconds in onnxruntime, summed over runs.",
        lambda c: c.infer_ns // _MICROSECOND_NS,
    ),
    _Declared(
        "nv_inference_compute_output_duration_us",
        "Microseconds of encoding answers, summed over runs.",
        lambda c: c.output_ns // _MICROSECOND_NS,
    ),
)
FAILURES: Final = ("nv_inference_request_failure", "Requests that failed, by the code in the error envelope.")
PENDING: Final = ("nv_inference_pending_request_count", "Requests that wait or run now.")


class _RunnerCollector(Collector):
    """Reads the counters of each model version when Prometheus asks."""

    def __init__(self, runners: Iterable[Runner]) -> None:
        self._served = [((runner.model.name, runner.model.version), runner.counters) for runner in runners]

    def collect(self) -> Iterator[Metric]:
        """Yield each declared metric with a sample for each model version."""
        for name, text, value in COUNTERS:
            counter = UnknownMetricFamily(name, text, labels=_LABELS)
            for labels, counters in self._served:
                counter.add_metric(labels, value(counters))
            yield counter
        failures = UnknownMetricFamily(*FAILURES, labels=(*_LABELS, "reason"))
        pending = GaugeMetricFamily(*PENDING, labels=_LABELS)
        for labels, counters in self._served:
            for reason, number in counters.failures.items():
                failures.add_metric((*labels, reason), number)
            pending.add_metric(labels, counters.pending)
        yield failures
        yield pending


def exposition(runners: Iterable[Runner]) -> bytes:
    """Return the text of every metric now, the process's own (CPU, memory, start time) among them."""
    registry = CollectorRegistry()
    registry.register(_RunnerCollector(runners))
    ProcessCollector(registry=registry)
    return _UNTYPED.sub(rb"\1 counter", generate_latest(registry))

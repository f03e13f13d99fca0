"""What the server counts, declared once, to Prometheus's text: Triton's names where they mean the same.

Triton's counters are named without `_total`, which the Prometheus library appends to every counter: they go through it
untyped, by a collector of our own, and are called counters in its text.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, UnknownMetricFamily
from prometheus_client.registry import Collector

from server.counters import Counters
from server.repository import Repository
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

READY: Final = (
    "lifeboat_model_ready",
    "1: served; 0: not. Without a version: the model as a whole.",
)
FAULT: Final = (
    "lifeboat_model_fault",
    "1, with the reason why what the folder holds isn't served; what was loaded before is, where there is such.",
)
DEFAULT: Final = ("lifeboat_model_default", "1: the version answers who names none.")
LABEL: Final = ("lifeboat_model_label", "1: the label points at the version.")
LOAD: Final = ("lifeboat_model_load_seconds", "Seconds that reading, checking and warming the version took.")
LAST_RELOAD: Final = ("lifeboat_model_last_reload_timestamp_seconds", "Unix time when the model was last read again.")
RELOADS: Final = (
    "lifeboat_model_reloads",
    "Times that the model was read again from its folder, by what came of it: changed, unchanged or refused.",
)


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


class _RepositoryCollector(Collector):
    """Tells what is served, what isn't and why, and what came of reading models again."""

    def __init__(self, repository: Repository) -> None:
        self._models = [*repository.models.values()]
        self._states = repository.states()
        self._reloads = [*repository.reloads.items()]

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with its samples."""
        yield _samples(*READY, _LABELS, (([s.name, s.version], float(s.is_ready)) for s in self._states))
        reasons = (([s.name, s.version, s.reason], 1.0) for s in self._states if s.reason)
        yield _samples(*FAULT, (*_LABELS, "reason"), reasons)
        defaults = (([each.name, each.default.version], 1.0) for each in self._models)
        yield _samples(*DEFAULT, _LABELS, defaults)
        labels = (
            ([each.name, str(version), label], 1.0) for each in self._models for label, version in each.labels.items()
        )
        yield _samples(*LABEL, (*_LABELS, "label"), labels)
        loaded = [model for each in self._models for model in each.models.values()]
        yield _samples(*LOAD, _LABELS, (([model.name, model.version], model.load_s) for model in loaded))
        lasts = (([name], reloads.last_unix_s) for name, reloads in self._reloads)
        yield _samples(*LAST_RELOAD, ("model",), lasts)
        counter = CounterMetricFamily(*RELOADS, labels=("model", "result"))
        for name, reloads in self._reloads:
            for result, number in reloads.results.items():
                counter.add_metric([name, result], number)
        yield counter


def _samples(name: str, text: str, labels: Sequence[str], samples: Iterable[tuple[list[str], float]]) -> Metric:
    gauge = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        gauge.add_metric(values, value)
    return gauge


def exposition(repository: Repository, runners: Iterable[Runner]) -> bytes:
    """Return the text of every metric now, the process's own (CPU, memory, start time) among them."""
    registry = CollectorRegistry()
    registry.register(_RunnerCollector(runners))
    registry.register(_RepositoryCollector(repository))
    ProcessCollector(registry=registry)
    return _UNTYPED.sub(rb"\1 counter", generate_latest(registry))

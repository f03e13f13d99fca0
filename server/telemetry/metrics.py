"""Prometheus metrics of the server, with Triton's names where the meaning is the same.

Triton's counters have no `_total` suffix, but the Prometheus library appends it to every counter. A custom collector
therefore exports them as untyped, and the text output declares them as counters.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    UnknownMetricFamily,
)
from prometheus_client.registry import Collector

from server.http.lifecycle import Start
from server.http.watchdog import Watchdog
from server.inference.drift.monitor import ROW_SOURCES
from server.inference.drift.psi import index
from server.inference.runner import Runner, Runners
from server.inference.statistics import Counters
from server.models.repository import Repository
from server.telemetry.process_metrics import ProcessInfoCollector

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_LABELS: Final = ("model", "version")
_MICROSECOND_NS: Final = 1000
_UNTYPED: Final = re.compile(rb"^(# TYPE nv_\w+) untyped$", re.MULTILINE)


class _CounterMetric(NamedTuple):
    name: str
    help: str
    value: Callable[[Counters], float]


COUNTERS: Final = (
    _CounterMetric("nv_inference_request_success", "Successful requests; a file counts as one.", lambda c: c.requests),
    _CounterMetric("nv_inference_count", "Rows of successful requests.", lambda c: c.rows),
    _CounterMetric("nv_inference_exec_count", "Model runs; requests that are batched share one run.", lambda c: c.runs),
    _CounterMetric(
        "nv_inference_request_duration_us",
        "Microseconds from queueing to the response, summed over requests.",
        lambda c: c.request_ns // _MICROSECOND_NS,
    ),
    _CounterMetric(
        "nv_inference_queue_duration_us",
        "Microseconds in the queue, summed over requests.",
        lambda c: c.queue_ns // _MICROSECOND_NS,
    ),
    _CounterMetric(
        "nv_inference_compute_input_duration_us",
        "Microseconds to fill the input tensors, summed over runs.",
        lambda c: c.input_ns // _MICROSECOND_NS,
    ),
    _CounterMetric(
        "nv_inference_compute_infer_duration_us",
        "Microseconds in onnxruntime, summed over runs.",
        lambda c: c.infer_ns // _MICROSECOND_NS,
    ),
    _CounterMetric(
        "nv_inference_compute_output_duration_us",
        "Microseconds to encode responses, summed over runs.",
        lambda c: c.output_ns // _MICROSECOND_NS,
    ),
)
FAILURES: Final = ("nv_inference_request_failure", "Failed requests, by the code of the error.")
PENDING: Final = ("nv_inference_pending_request_count", "Requests that are queued or running.")

BATCH: Final = ("lifeboat_batch_rows", "Rows in each batch of requests.")
_BATCH_BUCKETS: Final = 15
"""Number of finite buckets, up to 16,384 rows.

This is the next power of two above the default of LIFEBOAT_MAX_ROWS.
"""
QUEUE: Final = ("lifeboat_queue_rows", "Rows that are queued or running.")
QUEUE_LIMIT: Final = (
    "lifeboat_queue_limit_rows",
    "Maximum rows queued or running for each version: LIFEBOAT_MAX_QUEUE_ROWS.",
)
FILES: Final = ("lifeboat_files", "Files that were scored completely.")
FILE_ROWS: Final = ("lifeboat_file_rows", "Rows of files, by result: scored or failed.")
EXPLANATIONS: Final = ("lifeboat_explanations", "Successful explanation requests.")
EXPLANATION_FAILURES: Final = (
    "lifeboat_explanation_failures",
    "Failed explanation requests, by the code of the error.",
)
EXPLANATION_ROWS: Final = ("lifeboat_explanation_rows", "Model rows that explanation requests ran.")
EXPLANATION_SECONDS: Final = (
    "lifeboat_explanation_seconds",
    "Seconds that explanation requests took, summed over requests.",
)
DRIFT: Final = (
    "lifeboat_drift_psi",
    "Population stability index of a feature in the window; no sample below the minimum number of rows.",
)
DRIFT_ANSWER: Final = ("lifeboat_drift_answer_psi", "Population stability index of the prediction in the window.")
DRIFT_ROWS: Final = ("lifeboat_drift_rows", "Rows in the window of the population stability indices.")

INFO: Final = (
    "lifeboat_model_info",
    "1; the labels are the kind of model, its target and estimator, and the digest of its file.",
)
READY: Final = (
    "lifeboat_model_ready",
    "1 if served, else 0. With an empty version: the model as a whole.",
)
FAULT: Final = (
    "lifeboat_model_fault",
    "1 while files in the folder can't be served, with the reason. Versions loaded before are still served.",
)
DEFAULT: Final = ("lifeboat_model_default", "1 for the version that serves requests without a version.")
LABEL: Final = ("lifeboat_model_label", "1 for the version that the label points at.")
LOAD: Final = ("lifeboat_model_load_seconds", "Seconds to read, check and warm the version.")
LAST_RELOAD: Final = ("lifeboat_model_last_reload_timestamp_seconds", "Unix time of the model's last reload.")
RELOADS: Final = (
    "lifeboat_model_reloads",
    "Reloads of the model from its folder, by result: changed, unchanged or refused.",
)


class _RunnerCollector(Collector):
    """Collector that reads the counters of each model version on every scrape."""

    def __init__(self, runners: Runners) -> None:
        self._runners = [((runner.model.name, runner.model.version), runner) for runner in runners]
        self._counters = [(labels, runner.counters) for labels, runner in self._runners]
        self._limit_rows = runners.limits.max_queue_rows

    def collect(self) -> Iterator[Metric]:
        """Yield each declared metric with one sample per model version."""
        for name, text, value in COUNTERS:
            counter = UnknownMetricFamily(name, text, labels=_LABELS)
            for labels, counters in self._counters:
                counter.add_metric(labels, value(counters))
            yield counter
        failures = UnknownMetricFamily(*FAILURES, labels=(*_LABELS, "reason"))
        pending = GaugeMetricFamily(*PENDING, labels=_LABELS)
        for labels, counters in self._counters:
            for reason, number in counters.failures.items():
                failures.add_metric((*labels, reason), number)
            pending.add_metric(labels, counters.pending)
        yield failures
        yield pending
        yield from self._batches()
        yield from self._files()
        yield from self._explanations()

    def _batches(self) -> Iterator[Metric]:
        batches = HistogramMetricFamily(*BATCH, labels=_LABELS)
        queue = GaugeMetricFamily(*QUEUE, labels=_LABELS)
        for labels, runner in self._runners:
            counts = [*accumulate(runner.counters.batches)]
            buckets = [(str(float(2**exponent)), counts[exponent]) for exponent in range(_BATCH_BUCKETS)]
            batches.add_metric(labels, [*buckets, ("+Inf", counts[-1])], runner.counters.batch_rows)
            queue.add_metric(labels, runner.rows)
        yield batches
        yield queue
        yield GaugeMetricFamily(*QUEUE_LIMIT, value=self._limit_rows)

    def _files(self) -> Iterator[Metric]:
        files = CounterMetricFamily(*FILES, labels=_LABELS)
        rows = CounterMetricFamily(*FILE_ROWS, labels=(*_LABELS, "result"))
        for labels, counters in self._counters:
            files.add_metric(labels, counters.files)
            rows.add_metric((*labels, "scored"), counters.file_rows)
            rows.add_metric((*labels, "failed"), counters.file_rows_failed)
        yield files
        yield rows

    def _explanations(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(*EXPLANATIONS, labels=_LABELS)
        failures = CounterMetricFamily(*EXPLANATION_FAILURES, labels=(*_LABELS, "reason"))
        rows = CounterMetricFamily(*EXPLANATION_ROWS, labels=_LABELS)
        seconds = CounterMetricFamily(*EXPLANATION_SECONDS, labels=_LABELS)
        for labels, runner in self._runners:
            counters = runner.explanations
            requests.add_metric(labels, counters.requests)
            for reason, number in counters.failures.items():
                failures.add_metric((*labels, reason), number)
            rows.add_metric(labels, counters.rows)
            seconds.add_metric(labels, counters.request_ns / 1e9)
        yield from (requests, failures, rows, seconds)


class _DriftCollector(Collector):
    """Collector for the drift of each version's requests from its reference."""

    def __init__(self, runners: Iterable[Runner]) -> None:
        self._runners = [*runners]

    def collect(self) -> Iterator[Metric]:
        """Yield the drift indices and the number of rows behind them."""
        labels = (*_LABELS, "of")
        features = GaugeMetricFamily(*DRIFT, labels=(*labels, "feature"))
        outputs = GaugeMetricFamily(*DRIFT_ANSWER, labels=labels)
        rows = GaugeMetricFamily(*DRIFT_ROWS, labels=labels)
        monitored = [(runner.model, runner.drift) for runner in self._runners if runner.drift is not None]
        for model, drift in monitored:
            for source in ROW_SOURCES:
                inputs, output = drift.counts(source)
                output_labels = (model.name, model.version, source)
                rows.add_metric(output_labels, int(output.counts.sum()))
                samples = [((*output_labels, name), features, each) for name, each in inputs.items()]
                for values, metric, each in (*samples, (output_labels, outputs, output)):
                    psi = index(each)
                    if psi is not None:
                        metric.add_metric(values, psi)
        yield features
        yield outputs
        yield rows


class _RepositoryCollector(Collector):
    """Collector for the served models, load failures and reload results."""

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
        loaded_models = [model for each in self._models for model in each.models.values()]
        info = GaugeMetricFamily(*INFO, labels=(*_LABELS, "kind", "target", "estimator", "sha256"))
        for model in loaded_models:
            manifest = model.manifest
            info.add_metric(
                (
                    model.name,
                    model.version,
                    manifest.kind,
                    manifest.target,
                    manifest.provenance.estimator,
                    manifest.sha256,
                ),
                1,
            )
        yield info
        yield _samples(*LOAD, _LABELS, (([model.name, model.version], model.load_s) for model in loaded_models))
        reload_times = (([name], reloads.last_unix_s) for name, reloads in self._reloads)
        yield _samples(*LAST_RELOAD, ("model",), reload_times)
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


def exposition(repository: Repository, runners: Runners, start: Start, watchdog: Watchdog) -> bytes:
    """Return the current metrics as Prometheus text, with process metrics.

    Process metrics are CPU, memory and start time.
    """
    registry = CollectorRegistry()
    registry.register(_RunnerCollector(runners))
    registry.register(_DriftCollector(runners))
    registry.register(_RepositoryCollector(repository))
    registry.register(ProcessInfoCollector(start, watchdog))
    ProcessCollector(registry=registry)
    return _UNTYPED.sub(rb"\1 counter", generate_latest(registry))

"""Counters of requests, rows, runs, files and the time of each stage."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from server.errors import Internal, RequestError

BATCH_SIZES: Final = 33
"""More than the bits in the number of rows of any request."""


class Stages(NamedTuple):
    """Nanoseconds of one run to fill its input, to compute, and to encode its responses."""

    input_ns: int
    infer_ns: int
    output_ns: int


class RunInfo(NamedTuple):
    """One run of a batch: its start, its size, and the time of its stages."""

    began_ns: int
    """Time on the clock that measures durations (`time.perf_counter_ns`)."""
    rows: int
    """Number of rows of all requests in the run."""
    requests: int
    stages: Stages

    @property
    def ended_ns(self) -> int:
        """Time at which the last response was encoded, on the same clock."""
        return self.began_ns + sum(self.stages)


@dataclass(slots=True)
class Counters:
    """Counters of a batcher since the start; durations are sums in nanoseconds."""

    requests: int = 0
    """Successful items."""
    rows: int = 0
    runs: int = 0
    request_ns: int = 0
    """From submission to response."""
    queue_ns: int = 0
    """From submission to the start of the run."""
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0
    pending: int = 0
    """Items that wait or run now."""
    failed_ns: int = 0
    """From submission to the error, of failed items."""
    last_run_unix_ms: int = 0
    """Unix time of the last run's end in milliseconds; 0 before the first run."""
    failures: dict[str, int] = field(default_factory=dict)
    """Error code to the number of items that failed with it."""
    batches: list[int] = field(default_factory=lambda: [0] * BATCH_SIZES)
    """Number of batches by size: index i counts batches of at most 2**i rows.

    The sizes are one row, two, three or four, five to eight, and so on.
    """
    batch_rows: int = 0
    """Rows of all batches."""
    files: int = 0
    """Files that were scored completely."""
    file_rows: int = 0
    """Scored rows of files, including files that failed midway."""
    file_rows_failed: int = 0
    """Rows of files that could not be scored."""

    def fail(self, error: Exception, after_ns: int = 0) -> None:
        """Count an error, `after_ns` nanoseconds from the submission."""
        self.failed_ns += after_ns
        code = error.code if isinstance(error, RequestError) else Internal.code
        self.failures[code] = self.failures.get(code, 0) + 1

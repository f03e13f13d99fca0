"""What is counted: requests, rows, runs and where the time went; and what came of reading models again."""

import time
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, get_args

from server.errors import Internal, RequestError

BATCH_SIZES: Final = 33
"""More than there are bits in the rows of any request."""


class Stages(NamedTuple):
    """Nanoseconds that one run took to lay out its input, to compute, and to encode its answers."""

    input_ns: int
    infer_ns: int
    output_ns: int


@dataclass(slots=True)
class Counters:
    """What a batcher has done since the start; durations are sums over requests, in nanoseconds."""

    requests: int = 0
    """Items answered."""
    rows: int = 0
    runs: int = 0
    request_ns: int = 0
    """From submission to answer."""
    queue_ns: int = 0
    """From submission to the start of the run."""
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0
    pending: int = 0
    """Items that wait or run now."""
    failed_ns: int = 0
    """From submission to the failure, of items that failed."""
    last_run_unix_ms: int = 0
    """When the last run ended; 0: never."""
    failures: dict[str, int] = field(default_factory=dict)
    """The error's code to the number of items that ended in it."""
    batches: list[int] = field(default_factory=lambda: [0] * BATCH_SIZES)
    """Batches of one row, two, three or four, five to eight, ...: at place i of at most 2**i rows."""
    batch_rows: int = 0
    """Rows of all batches."""
    files: int = 0
    """Files that were scored to their end."""
    file_rows: int = 0
    """Rows of files that were scored, of those that came to nothing in the middle too."""
    file_rows_failed: int = 0
    """Rows of files that could not be."""

    def fail(self, error: Exception, after_ns: int = 0) -> None:
        """Count a failure, `after_ns` from the submission."""
        self.failed_ns += after_ns
        code = error.code if isinstance(error, RequestError) else Internal.code
        self.failures[code] = self.failures.get(code, 0) + 1


ReloadResult = Literal["changed", "unchanged", "refused"]
"""Other versions or labels are served; the same as before; not all that the folder has for callers can be."""
RELOAD_RESULTS: Final[tuple[ReloadResult, ...]] = get_args(ReloadResult)


class Reloads:
    """How often one model was read again from its folder."""

    def __init__(self) -> None:
        """Never so far."""
        self.results: dict[ReloadResult, int] = dict.fromkeys(RELOAD_RESULTS, 0)
        self.last_unix_s = 0.0
        """When that last ended."""

    def count(self, result: ReloadResult) -> None:
        """Count one that ends now."""
        self.results[result] += 1
        self.last_unix_s = time.time()

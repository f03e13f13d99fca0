"""What is counted: requests, rows, runs and where the time went; and what came of reading models again."""

import time
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, get_args

from server.errors import Internal, RequestError


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

"""Progress bar of a file: percentage, rows, rate, remaining time."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

_BAR_FORMAT = "{percentage:3.0f}%|{bar:30}| {desc} [{elapsed}<{remaining}]"
_RATE_FORMAT = "{desc} [{elapsed}]"


class Progress:
    """Progress bar on standard error; without `is_visible` it prints nothing."""

    def __init__(self, total: int | None, *, is_visible: bool) -> None:
        """Expect `total` bytes; None: unknown."""
        self._bar = tqdm(
            total=total,
            disable=not is_visible,
            file=sys.stderr,
            bar_format=_BAR_FORMAT if total else _RATE_FORMAT,
            leave=False,
            smoothing=0,  # average rate since the start: parts finish at irregular times
        )
        self._start_s = time.monotonic()
        self._skipped_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.refresh()
        self._bar.close()

    def update(self, rows: int, bytes_read: int) -> None:
        """Show the rows so far, and the bytes read from the file."""
        elapsed_s = time.monotonic() - self._start_s
        rate = f", {(rows - self._skipped_rows) / elapsed_s:,.0f} rows/s" if elapsed_s else ""
        self._bar.set_description_str(f"{rows:,} rows{rate}", refresh=False)
        self._bar.update(bytes_read - self._bar.n)

    def skip(self, rows: int, bytes_read: int) -> None:
        """Show the rows of parts that an earlier run finished.

        They do not count for the rate and the remaining time.
        """
        self._bar.initial = self._bar.n = self._bar.last_print_n = bytes_read
        self._bar.start_t = time.time()
        self._start_s = time.monotonic()
        self._skipped_rows = rows
        self._bar.set_description_str(f"{rows:,} rows", refresh=False)

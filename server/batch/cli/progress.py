"""Progress bar of a file: percentage, rows, rate, remaining time."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

_BAR = "{percentage:3.0f}%|{bar:30}| {desc} [{elapsed}<{remaining}]"
_NO_BAR = "{desc} [{elapsed}]"


class Progress:
    """Progress bar on standard error; without `shows` it prints nothing."""

    def __init__(self, total: int | None, *, shows: bool) -> None:
        """Expect `total` bytes; None: unknown."""
        self._bar = tqdm(
            total=total,
            disable=not shows,
            file=sys.stderr,
            bar_format=_BAR if total else _NO_BAR,
            leave=False,
            smoothing=0,  # average rate since the start: parts finish at irregular times
        )
        self._began_s = time.monotonic()
        self._kept_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.refresh()
        self._bar.close()

    def at(self, rows: int, taken: int) -> None:
        """Show the rows so far, and the bytes read from the file."""
        elapsed_s = time.monotonic() - self._began_s
        rate = f", {(rows - self._kept_rows) / elapsed_s:,.0f} rows/s" if elapsed_s else ""
        self._bar.set_description_str(f"{rows:,} rows{rate}", refresh=False)
        self._bar.update(taken - self._bar.n)

    def kept(self, rows: int, taken: int) -> None:
        """Show the rows of parts that an earlier run finished.

        They do not count for the rate and the remaining time.
        """
        self._bar.initial = self._bar.n = self._bar.last_print_n = taken
        self._bar.start_t = time.time()
        self._began_s = time.monotonic()
        self._kept_rows = rows
        self._bar.set_description_str(f"{rows:,} rows", refresh=False)

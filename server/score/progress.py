"""How far a file is: its share, the rows, the rate, the time left."""

import sys
from types import TracebackType
from typing import Self

from tqdm import tqdm

_BAR = "{percentage:3.0f}%|{bar:30}| {postfix} [{elapsed}<{remaining}]"
_NO_BAR = "{postfix} [{elapsed}]"


class Progress:
    """A bar on standard error; nothing where it is to be quiet."""

    def __init__(self, total: int | None, *, quiet: bool) -> None:
        """Expect `total` bytes, or rows; None where that is not known."""
        self._bar = tqdm(
            total=total, disable=quiet, file=sys.stderr, bar_format=_BAR if total else _NO_BAR, leave=False
        )
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    def read(self, number: int) -> None:
        """Note what was read of the total."""
        self._bar.update(number)

    def at(self, rows: int) -> bool:
        """Note the rows so far. Returns False: a file has always more to read."""
        self._rows = rows
        elapsed = self._bar.format_dict["elapsed"]
        self._bar.set_postfix_str(f"{rows:,} rows, {rows / elapsed:,.0f} rows/s" if elapsed else "", refresh=False)
        return False

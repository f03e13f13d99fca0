"""Print the progress of a command, for people or as JSON."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import msgspec
from tqdm import tqdm

T = TypeVar("T")


class Console:
    """Writer for standard output.

    Writes text lines immediately. With --json, writes one object at the end and no text lines.
    """

    def __init__(self, *, json: bool = False) -> None:
        """Create a console for text output, or for one JSON object."""
        self._json = json
        self._results: dict[str, Any] = {}

    def print_line(self, line: str) -> None:
        """Print a text line; does nothing with --json."""
        if not self._json:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()

    def add_result(self, **results: Any) -> None:  # noqa: ANN401 # any JSON value
        """Add members to the JSON object."""
        self._results |= results

    def track(self, items: Sequence[T], description: str) -> Iterator[T]:
        """Yield the items of a long step and show a progress bar.

        Shows the bar only if standard error is a terminal, and not with --json.
        """
        yield from tqdm(
            items, desc=description, leave=False, disable=self._json or not sys.stderr.isatty(), file=sys.stderr
        )

    def report_error(self, error: Exception, code: int) -> None:
        """Report the error that stopped the command."""
        if self._json:
            self.add_result(error=str(error), code=code)
        else:
            print(f"error: {error}", file=sys.stderr)  # command-line output

    def end(self) -> None:
        """Print the JSON object, if --json is set."""
        if self._json:
            print(msgspec.json.encode(self._results).decode())

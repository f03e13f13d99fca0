"""What a command says while it works, to a person or to a machine."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import msgspec
from tqdm import tqdm

T = TypeVar("T")


class Console:
    """Lines on standard output as they come; or, with --json, one object there at the end and no line before it."""

    def __init__(self, *, json: bool = False) -> None:
        """Speak to a person, or with `json` to a machine."""
        self._json = json
        self._facts: dict[str, Any] = {}

    def say(self, line: str) -> None:
        """Say what was done, or what was found."""
        if not self._json:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()

    def fact(self, **facts: Any) -> None:  # noqa: ANN401 # whatever JSON can hold
        """Keep what a machine is to be told."""
        self._facts |= facts

    def track(self, each: Sequence[T], what: str) -> Iterator[T]:
        """Yield the items of a long step, its progress a bar on a terminal's standard error and nothing elsewhere."""
        yield from tqdm(each, desc=what, leave=False, disable=self._json or not sys.stderr.isatty(), file=sys.stderr)

    def refuse(self, error: Exception, code: int) -> None:
        """Tell why nothing was done."""
        if self._json:
            self.fact(error=str(error), code=code)
        else:
            print(f"refused: {error}", file=sys.stderr)  # a command speaks

    def end(self) -> None:
        """Write the object for a machine, where one listens."""
        if self._json:
            print(msgspec.json.encode(self._facts).decode())

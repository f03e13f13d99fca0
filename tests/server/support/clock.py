"""A clock that the test sets."""

from typing import Final

SECOND_NS: Final = 1_000_000_000


class Clock:
    """A clock that advances only when a test calls `go_on`."""

    def __init__(self) -> None:
        """Start at an arbitrary time that is not a round number."""
        self.now_ns = 12_345_678_901_234

    def __call__(self) -> int:
        """Return the time in nanoseconds."""
        return self.now_ns

    def go_on(self, seconds: float) -> None:
        """Advance the clock."""
        self.now_ns += int(seconds * SECOND_NS)

"""A clock that a test moves."""

from typing import Final

SECOND_NS: Final = 1_000_000_000


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        """Begin at a time that is no round number of anything."""
        self.now_ns = 12_345_678_901_234

    def __call__(self) -> int:
        """Return the time."""
        return self.now_ns

    def go_on(self, seconds: float) -> None:
        """Let some time pass."""
        self.now_ns += int(seconds * SECOND_NS)

"""Version policies: Triton's and TensorFlow Serving's three rules for the versions to serve."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from server.models.quoting import quoted

_SYNTAX: Final = re.compile(
    r"all|latest(?::(?P<count>[1-9]\d{0,8}))?|specific:(?P<versions>[1-9]\d{0,17}(?:,[1-9]\d{0,17})*)", re.ASCII
)
EXPECTED: Final = "all, latest, latest:N or specific:1,2,..."


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """A policy: the latest versions, specific versions, or all if neither is set."""

    latest: int | None = None
    """Number of the highest versions."""
    specific: frozenset[int] | None = None

    @classmethod
    def parse(cls, text: str) -> "VersionPolicy":
        """Return the policy in `text`: `all`, `latest`, `latest:N` or `specific:1,2`.

        Raises ValueError.
        """
        match = _SYNTAX.fullmatch(text)
        if match is None:
            raise ValueError(f"expected {EXPECTED}; got {quoted(text)}")
        if match["versions"]:
            return cls(specific=frozenset(map(int, match["versions"].split(","))))
        if text == "all":
            return cls()
        return cls(latest=int(match["count"] or 1))

    def __str__(self) -> str:
        """Return the policy in the format that `parse` reads."""
        if self.specific is not None:
            return f"specific:{','.join(map(str, sorted(self.specific)))}"
        return "all" if self.latest is None else f"latest:{self.latest}"

    def choose(self, versions: Iterable[int]) -> set[int]:
        """Return the versions to serve."""
        available = sorted(versions)
        if self.specific is not None:
            return set(available) & self.specific
        return set(available if self.latest is None else available[-self.latest :])


ALL: Final = VersionPolicy()

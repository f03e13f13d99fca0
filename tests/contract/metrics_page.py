"""The metrics that docs/reference/metrics.md documents."""

import re
from typing import Final, NamedTuple

from tests.server.support.process import ROOT

_ROW: Final = re.compile(r"^\| `((?:nv|lifeboat|process)_\w+)` \| (\w+) \|([\w, ]*)\|", re.MULTILINE)
_NAMED: Final = re.compile(r"\b(?:nv|lifeboat|process)_\w+")
_OF_HISTOGRAM: Final = re.compile(r"_(?:bucket|sum|count)$")


class Told(NamedTuple):
    """A metric's type and labels, from the page or from a server."""

    kind: str
    labels: frozenset[str]


def documented() -> dict[str, Told]:
    """Return every metric on the page."""
    rows = _ROW.findall((ROOT / "docs" / "reference" / "metrics.md").read_text())
    return {name: Told(kind, frozenset(labels.replace(",", " ").split())) for name, kind, labels in rows}


def unknown(expression: str) -> set[str]:
    """Return the metrics of a query that the page doesn't document."""
    known = documented()
    histograms = {name for name, told in known.items() if told.kind == "histogram"}
    return {
        name
        for name in _NAMED.findall(expression)
        if name not in known and _OF_HISTOGRAM.sub("", name) not in histograms
    }

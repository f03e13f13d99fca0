"""The population stability index (PSI): the distance of served values from the reference.

It is the sum over the bins of (a - e) ln(a / e), where e is the share of the reference's rows in a bin and a the share
of the served rows (N. Siddiqi, "Credit Risk Scorecards", 2006: less than 0.1 is no significant change, more than 0.25
is a large one). Half a row is added to each bin on both sides, so that an empty bin has a logarithm.
"""

from typing import Any, Final

import numpy as np

from server.errors import Unimplemented
from server.inference.drift.histogram import Counts
from server.inference.drift.monitor import BinCounts, Drift, RowSource
from server.models.session import Model

MIN_ROWS: Final = 300
"""Minimum rows for an index.

With ten bins, a thousand reference rows and no change, the index then exceeds 0.1 by chance in one case of a hundred:
it is close to a chi-squared variable times 1/n + 1/m (B. Yurdakul, "Statistical Properties of Population Stability
Index", 2018).
"""
_HALF: Final = 0.5

Document = dict[str, Any]
"""A JSON object."""


def psi(expected: Counts, actual: Counts) -> float | None:
    """Return the index of counts in the same bins; None with too few rows."""
    if actual.sum() < MIN_ROWS or not expected.sum():
        return None
    e, a = ((counts + _HALF) / (counts.sum() + _HALF * len(counts)) for counts in (expected, actual))
    return float(((a - e) * np.log(a / e)).sum())


def index(distribution: BinCounts) -> float | None:
    """Return the index of one distribution."""
    return psi(distribution.bins.expected, distribution.counts)


def report(model: Model, drift: Drift | None, source: RowSource) -> Document:
    """Return the drift report of a version. Raises Unimplemented if drift is not watched."""
    if model.manifest.reference is None:
        message = f"model {model.name!r} version {model.version} has no reference in its manifest: export it again"
        raise Unimplemented(message, field="model")
    if drift is None:
        raise Unimplemented("drift detection is disabled: LIFEBOAT_DRIFT_WINDOW_S is 0")
    features, output = drift.counts(source)
    return {
        "model": model.name,
        "version": model.version,
        "of": source,
        "rows": int(output.counts.sum()),
        "min_rows": MIN_ROWS,
        "reference_rows": model.manifest.reference.rows,
        "window_s": drift.window_s,
        "features": {name: _distribution(distribution) for name, distribution in features.items()},
        "answer": _distribution(output),
    }


def _distribution(distribution: BinCounts) -> Document:
    bins = distribution.bins
    expected, actual = _shares(bins.expected), _shares(distribution.counts)
    listed = len(bins.reference.counts)
    document: Document = {"psi": index(distribution), "expected": expected[:listed], "actual": actual[:listed]}
    if bins.reference.edges is not None:
        document["edges"] = bins.reference.edges
    else:
        document["categories"] = bins.reference.categories
    for name, bin_index in (("other", bins.other), ("nulls", bins.nulls)):
        if bin_index is not None:
            document[name] = {"expected": expected[bin_index], "actual": actual[bin_index]}
    return document


def _shares(counts: Counts) -> list[float]:
    total = int(counts.sum())
    return [round(count / total, 6) if total else 0.0 for count in counts.tolist()]

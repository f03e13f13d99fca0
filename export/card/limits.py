"""State where the model should not be trusted."""

from typing import Final

import numpy as np

from export.card.card_data import Subject, is_number
from export.card.formatting import allowed, listed, number, rows, value
from export.card.html import Markup, bullets, code, element, join, paragraph, table
from server.models.manifest import Feature
from server.models.signature import Column

FEW_ROWS: Final = 30
FEW_HELD_OUT: Final = 100
_NAMED: Final = 12
"""Maximum number of rare categories to list by name."""


def limits(subject: Subject) -> Markup:
    """Return the author's limits, the limits from the data, and the ranges beyond training."""
    written = subject.manifest.limits or ["The author stated no limits. That does not mean that there are none."]
    return join(
        bullets(written, class_="limits"),
        element("h3", "Limits from the data"),
        bullets(from_data(subject)),
        _beyond(subject),
    )


def from_data(subject: Subject) -> list[str]:
    """Return sentences about small samples, rare classes and categories, and nulls without training rows."""
    held_out, told = len(subject.truths), []
    if held_out < FEW_HELD_OUT:
        told.append(f"Only {rows(held_out)} are held out: the intervals are wide, and the figures are rough.")
    metrics = subject.manifest.metrics
    if metrics is not None and metrics.held_out.get("accuracy") == 1:
        told.append(
            "No held-out row has a wrong label, so the interval has no width: that shows few rows, not certainty."
        )
    told += [
        f"{name}: {rows(count)} to train this class, fewer than {FEW_ROWS}."
        for name in subject.manifest.classes
        if (count := int((subject.part.y_train == name).sum())) < FEW_ROWS
    ]
    for feature in subject.manifest.features:
        told += _rare(subject, feature)
        if feature.nullable and len(subject.trained(feature)) == len(subject.part.y_train):
            told.append(f"{feature.name}: null is allowed, but no training row has it.")
    return told or [f"No class or category has fewer than {FEW_ROWS} training rows."]


def _rare(subject: Subject, feature: Feature) -> list[str]:
    if is_number(feature):
        return []
    distribution = subject.reference.features[feature.name]
    if feature.datatype == "BYTES" and feature.categories is None:
        kinds = len(np.unique(subject.trained(feature).astype(str)))
        return [f"{feature.name}: any string is allowed; the training rows have {number(kinds)} different strings."]
    counts = zip(distribution.categories or [], distribution.counts, strict=True)
    few = [f"{value(name)} ({number(count)})" for name, count in counts if count < FEW_ROWS]
    if not few:
        return []
    more = [f"{len(few) - _NAMED} more"] if len(few) > _NAMED else []
    return [f"{feature.name}: fewer than {FEW_ROWS} training rows have {listed(few[:_NAMED] + more)}."]


def _beyond(subject: Subject) -> Markup:
    """Return a table of the numeric features whose allowed range exceeds the training range."""
    lines = []
    for feature in subject.manifest.features:
        trained = subject.trained(feature)
        if not is_number(feature) or not len(trained):
            continue
        column = Column.of(feature)
        low, high = trained.min().item(), trained.max().item()
        if column.low == low and column.high == high:
            continue
        lines.append([code(feature.name), f"{number(low)} to {number(high)}", allowed(feature)])
    if not lines:
        return Markup()
    words = "Values beyond the training rows are allowed for these features. No score covers such extrapolations."
    return join(paragraph(words), table("Allowed beyond training", ["Feature", "In training", "Allowed"], lines))

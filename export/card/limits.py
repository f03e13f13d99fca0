"""State where the model should not be trusted."""

from typing import Final

import numpy as np

from export.card.card_data import Subject, is_number
from export.card.formatting import allowed_values, join_names, number, rows, value
from export.card.html import Markup, bullets, code, element, join, paragraph, table
from server.models.manifest import Feature
from server.models.signature import Column

FEW_ROWS: Final = 30
FEW_HELD_OUT: Final = 100
_MAX_NAMED: Final = 12
"""Maximum number of rare categories to list by name."""


def limits(subject: Subject) -> Markup:
    """Return the author's limits, the limits from the data, and the ranges beyond training."""
    author_limits = subject.manifest.limits or ["The author stated no limits. That does not mean that there are none."]
    return join(
        bullets(author_limits, class_="limits"),
        element("h3", "Limits from the data"),
        bullets(from_data(subject)),
        _extrapolation_table(subject),
    )


def from_data(subject: Subject) -> list[str]:
    """Return sentences about small samples, rare classes and categories, and nulls without training rows."""
    held_out, sentences = len(subject.true_values), []
    if held_out < FEW_HELD_OUT:
        sentences.append(f"Only {rows(held_out)} are held out: the intervals are wide, and the figures are rough.")
    metrics = subject.manifest.metrics
    if metrics is not None and metrics.held_out.get("accuracy") == 1:
        sentences.append(
            "No held-out row has a wrong label, so the interval has no width: that shows few rows, not certainty."
        )
    sentences += [
        f"{name}: {rows(count)} to train this class, fewer than {FEW_ROWS}."
        for name in subject.manifest.classes
        if (count := int((subject.part.y_train == name).sum())) < FEW_ROWS
    ]
    for feature in subject.manifest.features:
        sentences += _rare(subject, feature)
        if feature.nullable and len(subject.training_values(feature)) == len(subject.part.y_train):
            sentences.append(f"{feature.name}: null is allowed, but no training row has it.")
    return sentences or [f"No class or category has fewer than {FEW_ROWS} training rows."]


def _rare(subject: Subject, feature: Feature) -> list[str]:
    if is_number(feature):
        return []
    distribution = subject.reference.features[feature.name]
    if feature.datatype == "BYTES" and feature.categories is None:
        distinct = len(np.unique(subject.training_values(feature).astype(str)))
        return [f"{feature.name}: any string is allowed; the training rows have {number(distinct)} different strings."]
    counts = zip(distribution.categories or [], distribution.counts, strict=True)
    rare = [f"{value(name)} ({number(count)})" for name, count in counts if count < FEW_ROWS]
    if not rare:
        return []
    more = [f"{len(rare) - _MAX_NAMED} more"] if len(rare) > _MAX_NAMED else []
    return [f"{feature.name}: fewer than {FEW_ROWS} training rows have {join_names(rare[:_MAX_NAMED] + more)}."]


def _extrapolation_table(subject: Subject) -> Markup:
    """Return a table of the numeric features whose allowed range exceeds the training range."""
    lines = []
    for feature in subject.manifest.features:
        training_values = subject.training_values(feature)
        if not is_number(feature) or not len(training_values):
            continue
        column = Column.of(feature)
        low, high = training_values.min().item(), training_values.max().item()
        if column.low == low and column.high == high:
            continue
        lines.append([code(feature.name), f"{number(low)} to {number(high)}", allowed_values(feature)])
    if not lines:
        return Markup()
    text = "Values beyond the training rows are allowed for these features. No score covers such extrapolations."
    return join(paragraph(text), table("Allowed beyond training", ["Feature", "In training", "Allowed"], lines))

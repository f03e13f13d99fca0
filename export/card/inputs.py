"""Show the model's features, each with a small plot of its training values."""

from typing import Final

import numpy as np

from export.card.card_data import Subject, is_number
from export.card.formatting import allowed_values, number, percent, value
from export.card.html import Markup, bullets, code, element, join, table
from server.models.manifest import Feature
from server.models.training_metadata import Distribution

MAX_SHARES: Final = 6
"""Maximum number of categories with bars in a small plot."""
BINS: Final = 24
_WIDTH: Final = 168
_HEIGHT: Final = 34


def features(subject: Subject) -> Markup:
    """Return the table of features."""
    reference = subject.reference
    lines = [
        [
            join(
                code(feature.name),
                element(
                    "span", f"{feature.datatype}, {'null allowed' if feature.nullable else 'never null'}", class_="note"
                ),
            ),
            allowed_values(feature),
            _training(subject, feature, reference.features[feature.name]),
            feature.description or "–",  # noqa: RUF001 # an en dash means no value
        ]
        for feature in subject.manifest.features
    ]
    header = ["Feature", "Allowed", "In the training rows", "Meaning"]
    return table(f"Features, and their values in {number(reference.rows)} training rows", header, lines, "features")


def _training(subject: Subject, feature: Feature, distribution: Distribution) -> Markup:
    return _sizes(subject, feature) if is_number(feature) else _shares(subject, distribution)


def _sizes(subject: Subject, feature: Feature) -> Markup:
    """Return a histogram with bins of equal width, and minimum, maximum and median as text."""
    training_values = subject.training_values(feature).astype(np.float64)
    nulls = _nulls(len(subject.part.y_train) - len(training_values), len(subject.part.y_train))
    if not len(training_values):
        return join(element("span", "no values", class_="note"), nulls)
    low, high = float(training_values.min()), float(training_values.max())
    bins = BINS if feature.is_float else int(min(BINS, high - low + 1))
    counts, _ = np.histogram(training_values, bins=bins, range=(low, high) if high > low else None)
    step = _WIDTH / len(counts)
    bars = [
        element(
            "rect",
            x=f"{index * step + 0.5:.1f}",
            y=f"{_HEIGHT - height:.1f}",
            width=f"{step - 1:.1f}",
            height=f"{height:.1f}",
        )
        for index, count in enumerate(counts)
        if (height := max(1.5, _HEIGHT * int(count) / int(counts.max())) if count else 0.0)
    ]
    text = f"{number(low)} to {number(high)}, median {number(float(np.median(training_values)))}"
    histogram = element(
        "svg", *bars, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=f"Histogram: {text}", class_="small"
    )
    return join(histogram, element("span", text, class_="note"), nulls)


def _shares(subject: Subject, distribution: Distribution) -> Markup:
    """Return bars of the most frequent categories."""
    total = len(subject.part.y_train)
    pairs = list(zip(distribution.categories or [], distribution.counts, strict=True))
    largest = sorted(pairs, key=lambda each: -each[1])[:MAX_SHARES] if len(pairs) > MAX_SHARES else pairs
    bars = [
        join(
            element("span", value(name)),
            element("span", element("span", style=f"width:{100 * count / total:.1f}%"), class_="bar"),
            element("span", percent(count / total)),
        )
        for name, count in largest
    ]
    other_rows = sum(distribution.counts) + distribution.other - sum(count for _, count in largest)
    rest_label = "other values" if distribution.other else f"{len(pairs) - len(largest)} more"
    rest = element("span", f"{rest_label}: {percent(other_rows / total)}", class_="note") if other_rows else Markup()
    return join(bullets(bars, class_="shares"), rest, _nulls(distribution.nulls, total))


def _nulls(nulls: int, total: int) -> Markup:
    return element("span", f"null in {percent(nulls / total)}", class_="note") if nulls else Markup()

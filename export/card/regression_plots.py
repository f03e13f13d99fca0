"""Plot a regression's held-out predictions: predicted and true values, residuals."""

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from export.card.card_data import Subject
from export.card.formatting import number, percent, short, signed
from export.card.html import Markup, figure
from export.card.svg import MUTED, SERIES, plot

MOST_POINTS: Final = 800
"""Maximum number of rows to draw as points; the numbers in captions use all rows."""


def pictures(subject: Subject) -> list[Markup]:
    """Return the figures of a regression."""
    return [predicted(subject), residuals(subject), spread(subject)]


def predicted(subject: Subject) -> Markup:
    """Return the plot of predictions over true values."""
    truths, answers = subject.truths, subject.answers
    ends = [float(min(truths.min(), answers.min())), float(max(truths.max(), answers.max()))]

    def draw(axes: Axes) -> None:
        axes.plot(ends, ends, color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
        _points(axes, truths, answers)
        axes.set(xlabel=f"True {short(subject.manifest.target)}", ylabel=f"Predicted {short(subject.manifest.target)}")

    off = np.abs(truths - answers)
    words = (
        f"Half of the predictions are within {number(float(np.median(off)))} of the truth, 90 % within "
        f"{number(float(np.quantile(off, 0.9)))}. On the dashed diagonal a prediction is exact.{_left_out(subject)}"
    )
    return figure("Predicted and true", plot(draw, "Predicted over true values"), words)


def residuals(subject: Subject) -> Markup:
    """Return the plot of residuals (true minus predicted) over predictions."""
    left = subject.truths - subject.answers

    def draw(axes: Axes) -> None:
        axes.axhline(0, color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
        _points(axes, subject.answers, left)
        axes.set(xlabel=f"Predicted {short(subject.manifest.target)}", ylabel="Residual: true minus predicted")

    low, high = np.array_split(np.argsort(subject.answers, kind="stable"), 2)
    words = (
        f"Mean residual {signed(float(left[low].mean()))} in the lower half of the predictions, "
        f"{signed(float(left[high].mean()))} in the upper. Above the line the prediction is too low, below it too "
        "high. A slope or a fan shows structure that the model has not learnt."
    )
    return figure("Residuals", plot(draw, "Residuals over predicted values"), words)


def spread(subject: Subject) -> Markup:
    """Return a histogram of the residuals."""
    left = subject.truths - subject.answers
    counts, edges = np.histogram(left, bins=max(3, min(24, int(2 * len(left) ** 0.5))))

    def draw(axes: Axes) -> None:
        axes.stairs(counts, edges, fill=True, color=SERIES[0], alpha=0.55)
        axes.axvline(0, color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
        axes.set(xlabel="Residual: true minus predicted", ylabel="Held-out rows")
        axes.locator_params(axis="y", integer=True)
        axes.grid(visible=False, axis="x")

    words = (
        f"Mean {signed(float(left.mean()))}, standard deviation {number(float(left.std()))}; "
        f"{percent(float((left > 0).mean()))} of the rows are above their predictions. A centre away from 0 is a bias."
    )
    return figure("Distribution of the residuals", plot(draw, "Histogram of residuals"), words)


def _points(axes: Axes, x: NDArray[Any], y: NDArray[Any]) -> None:
    few = np.unique(np.linspace(0, len(x) - 1, MOST_POINTS).astype(np.intp))
    axes.plot(x[few], y[few], "o", color=SERIES[0], alpha=0.55, markersize=3.5, markeredgewidth=0)


def _left_out(subject: Subject) -> str:
    return f" {MOST_POINTS} of the rows are shown, evenly spaced." if len(subject.truths) > MOST_POINTS else ""

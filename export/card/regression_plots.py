"""Plot a regression's held-out predictions: predicted and true values, residuals."""

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from export.card.card_data import Subject
from export.card.formatting import number, percent, shorten, signed
from export.card.html import Markup, figure
from export.card.svg import MUTED, SERIES, plot

MAX_POINTS: Final = 800
"""Maximum number of rows to draw as points; the numbers in captions use all rows."""


def pictures(subject: Subject) -> list[Markup]:
    """Return the figures of a regression."""
    return [predicted(subject), residuals(subject), spread(subject)]


def predicted(subject: Subject) -> Markup:
    """Return the plot of predictions over true values."""
    true_values, predictions = subject.true_values, subject.predictions
    limits = [float(min(true_values.min(), predictions.min())), float(max(true_values.max(), predictions.max()))]

    def draw(axes: Axes) -> None:
        axes.plot(limits, limits, color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
        _points(axes, true_values, predictions)
        axes.set(
            xlabel=f"True {shorten(subject.manifest.target)}", ylabel=f"Predicted {shorten(subject.manifest.target)}"
        )

    errors = np.abs(true_values - predictions)
    caption = (
        f"Half of the predictions are within {number(float(np.median(errors)))} of the truth, 90 % within "
        f"{number(float(np.quantile(errors, 0.9)))}. On the dashed diagonal a prediction is "
        f"exact.{_omitted_text(subject)}"
    )
    return figure("Predicted and true", plot(draw, "Predicted over true values"), caption)


def residuals(subject: Subject) -> Markup:
    """Return the plot of residuals (true minus predicted) over predictions."""
    residual_values = subject.true_values - subject.predictions

    def draw(axes: Axes) -> None:
        axes.axhline(0, color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
        _points(axes, subject.predictions, residual_values)
        axes.set(xlabel=f"Predicted {shorten(subject.manifest.target)}", ylabel="Residual: true minus predicted")

    low, high = np.array_split(np.argsort(subject.predictions, kind="stable"), 2)
    caption = (
        f"Mean residual {signed(float(residual_values[low].mean()))} in the lower half of the predictions, "
        f"{signed(float(residual_values[high].mean()))} in the upper. Above the line the prediction is too low, "
        "below it too high. A slope or a fan shows structure that the model has not learnt."
    )
    return figure("Residuals", plot(draw, "Residuals over predicted values"), caption)


def spread(subject: Subject) -> Markup:
    """Return a histogram of the residuals."""
    residual_values = subject.true_values - subject.predictions
    counts, edges = np.histogram(residual_values, bins=max(3, min(24, int(2 * len(residual_values) ** 0.5))))

    def draw(axes: Axes) -> None:
        axes.stairs(counts, edges, fill=True, color=SERIES[0], alpha=0.55)
        axes.axvline(0, color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
        axes.set(xlabel="Residual: true minus predicted", ylabel="Held-out rows")
        axes.locator_params(axis="y", integer=True)
        axes.grid(visible=False, axis="x")

    caption = (
        f"Mean {signed(float(residual_values.mean()))}, standard deviation {number(float(residual_values.std()))}; "
        f"{percent(float((residual_values > 0).mean()))} of the rows are above their predictions. A centre away from "
        "0 is a bias."
    )
    return figure("Distribution of the residuals", plot(draw, "Histogram of residuals"), caption)


def _points(axes: Axes, x: NDArray[Any], y: NDArray[Any]) -> None:
    indices = np.unique(np.linspace(0, len(x) - 1, MAX_POINTS).astype(np.intp))
    axes.plot(x[indices], y[indices], "o", color=SERIES[0], alpha=0.55, markersize=3.5, markeredgewidth=0)


def _omitted_text(subject: Subject) -> str:
    return f" {MAX_POINTS} of the rows are shown, evenly spaced." if len(subject.true_values) > MAX_POINTS else ""

"""Plot importance and partial dependence."""

from typing import Final

import numpy as np
from matplotlib.axes import Axes

from export.card.card_data import Subject, is_number
from export.card.formatting import number, rows, shorten, signed, value
from export.card.html import Markup, element, figure, join, paragraph, table
from export.card.importance import REPEATS, SAMPLED_ROWS, SHUFFLED_ROWS, Effect, Importance
from export.card.svg import MARKS, MUTED, SERIES, key, line, plot

MAX_FEATURES: Final = 25
"""Maximum number of features in the importance plot."""
MAX_EFFECTS: Final = 6
MAX_LINES: Final = 30
"""Maximum number of single rows to draw behind the mean."""


def importance(subject: Subject, importances: list[Importance]) -> Markup:
    """Return the importance plot, largest on top, with a table of its numbers."""
    loss = "log loss" if subject.manifest.classes else "squared error"
    plotted = importances[:MAX_FEATURES][::-1]

    def draw(axes: Axes) -> None:
        names = [shorten(each.feature.name, 24) for each in plotted]
        means, spread = [each.mean for each in plotted], [each.deviation for each in plotted]
        axes.barh(range(len(plotted)), means, 0.66, color=SERIES[0], alpha=0.75)
        axes.errorbar(means, range(len(plotted)), xerr=spread, fmt="none", ecolor=MUTED, elinewidth=1.1, capsize=2)
        axes.axvline(0, color=MUTED, linewidth=0.7)
        axes.set_yticks(range(len(plotted)), names)
        axes.set_xlabel(f"Increase of the {loss} per row")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=5)

    first, *others = importances
    sentence = (
        f"The most important feature is {first.feature.name}: if its column is shuffled, the {loss} increases by "
    )
    sentence = (
        f"{sentence}{number(first.mean)}"
        if first.mean > 0
        else "Shuffling any single column does not make the predictions worse"
    )
    second = f", then {others[0].feature.name} (by {number(others[0].mean)})" if others and others[0].mean > 0 else ""
    omitted_text = (
        f" The first {MAX_FEATURES} of {len(importances)} are shown." if len(importances) > MAX_FEATURES else ""
    )
    caption = (
        f"{sentence}{second}. Means of {REPEATS} shuffles of {rows(min(len(subject.true_values), SHUFFLED_ROWS))} "
        "held out; whiskers are the standard deviation. About 0: not needed, or another feature has the same "
        f"information.{omitted_text}"
    )
    value_rows = [[each.feature.name, signed(each.mean), number(each.deviation)] for each in importances]
    header = ["Feature", f"Increase of the {loss}", "Standard deviation"]
    details = element(
        "details", element("summary", "Values"), table("Permutation importance", header, value_rows, "numbers")
    )
    height = 0.75 + 0.24 * len(plotted)
    drawing = plot(draw, "Permutation importance, largest first", 4.0, height)
    return figure("Permutation importance", drawing, join(paragraph(caption), details), class_="beside")


def pictures(subject: Subject, effects: list[Effect]) -> list[Markup]:
    """Return the partial dependence plots, all with the same range of predictions."""
    plotted = [
        each.predictions[:, :MAX_LINES].ravel()
        if len(subject.plotted_columns) == 1
        else each.predictions.mean(axis=1).ravel()
        for each in effects
    ]
    limits = (0.0, 1.0)
    if not subject.manifest.classes and plotted:
        all_predictions = np.concatenate(plotted)
        margin = 0.04 * float(np.ptp(all_predictions)) or 1.0
        limits = (float(all_predictions.min()) - margin, float(all_predictions.max()) + margin)
    return [
        _numeric(subject, each, limits) if is_number(each.feature) else _categorical(subject, each, limits)
        for each in effects
    ]


def _numeric(subject: Subject, effect: Effect, limits: tuple[float, float]) -> Markup:
    x = np.array(effect.grid, dtype=np.float64)
    means, is_single = effect.predictions.mean(axis=1), len(subject.plotted_columns) == 1
    null_x = x[-1] + 0.09 * (x[-1] - x[0] or 1.0)

    def draw(axes: Axes) -> None:
        if is_single:
            axes.plot(x, effect.predictions[:, :MAX_LINES, 0], color=SERIES[0], alpha=0.2, linewidth=0.6)
        for index in range(means.shape[1]):
            style = line(index)
            axes.plot(x, means[:, index], marker="o" if len(x) == 1 else "", **(style | {"linewidth": 2.2}))
            if effect.null is not None:
                axes.plot(null_x, effect.null[:, index].mean(), "D", color=style["color"], markersize=4.5)
        if effect.null is not None:
            axes.annotate("null", (null_x, limits[0]), (0, 3), textcoords="offset points", ha="center", color=MUTED)
        deciles = np.quantile(subject.training_values(effect.feature).astype(np.float64), np.arange(1, 10) / 10)
        axes.plot(deciles, [0] * 9, "|", transform=axes.get_xaxis_transform(), color=MUTED, markersize=7, clip_on=False)
        axes.set(ylim=limits, xlabel=shorten(effect.feature.name, 30), ylabel=_axis_label(subject))
        axes.locator_params(axis="x", nbins=6, integer=not effect.feature.is_float)

    return _figure(subject, effect, plot(draw, f"Partial dependence on {effect.feature.name}"))


def _categorical(subject: Subject, effect: Effect, limits: tuple[float, float]) -> Markup:
    predictions = effect.predictions if effect.null is None else np.concatenate([effect.predictions, effect.null[None]])
    names = [shorten(value(each), 14) for each in effect.grid] + ["null"] * (effect.null is not None)
    y = np.arange(len(names))[::-1]
    means, is_single = predictions.mean(axis=1), len(subject.plotted_columns) == 1

    def draw(axes: Axes) -> None:
        if is_single:
            low, high = np.quantile(predictions[:, :, 0], [0.1, 0.9], axis=1)
            axes.hlines(y, low, high, color=SERIES[0], alpha=0.3, linewidth=6)
        for index in range(means.shape[1]):
            axes.plot(means[:, index], y, MARKS[index % 3], color=line(index)["color"], markersize=6)
        axes.set(xlim=limits, ylim=(-0.6, len(names) - 0.4), xlabel=_axis_label(subject))
        axes.set_yticks(y, names)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)

    return _figure(subject, effect, plot(draw, f"Partial dependence on {effect.feature.name}"))


def _figure(subject: Subject, effect: Effect, drawing: Markup) -> Markup:
    """Return a partial dependence figure; the caption has the lowest and highest mean."""
    means, classes = effect.predictions.mean(axis=1), subject.manifest.classes
    most_affected = int(np.ptp(means, axis=0).argmax())
    low, high = int(means[:, most_affected].argmin()), int(means[:, most_affected].argmax())
    quantity = (
        f"The mean probability of {classes[subject.plotted_columns[most_affected]]}"
        if classes
        else "The mean prediction"
    )
    format_value = "{:.3f}".format if classes else number
    caption = (
        f"{quantity} is lowest at {value(effect.grid[low])}, {format_value(means[low, most_affected])}, and highest at "
        f"{value(effect.grid[high])}, {format_value(means[high, most_affected])}."
    )
    if means[low, most_affected] == means[high, most_affected]:
        caption = f"{quantity} is {format_value(means[low, most_affected])} for all values: the feature has no effect."
    if effect.null is not None:
        caption += f" Without a value (null): {format_value(float(effect.null.mean(axis=0)[most_affected]))}."
    names = key(classes, marks=not is_number(effect.feature)) if len(subject.plotted_columns) > 1 else None
    return figure(effect.feature.name, drawing, caption, names)


def explanation(subject: Subject) -> str:
    """Return the explanation of the partial dependence plots."""
    row_count = min(len(subject.part.y_train), SAMPLED_ROWS)
    lines = "each thin line is one row, " if len(subject.plotted_columns) == 1 else ""
    bars = "bars cover the middle 80 % of the rows, " if len(subject.plotted_columns) == 1 else ""
    return (
        f"The model's predictions for {row_count} training rows if one feature has the same value in all of them. The "
        f"thick line or the mark is the mean, {lines}{bars}ticks at the bottom are deciles of the training rows. This "
        "shows the model's behaviour, not causes, and includes combinations of values that may never occur."
    )


def _axis_label(subject: Subject) -> str:
    positive = subject.manifest.positive_class
    if positive is not None:
        return f"Probability of {shorten(positive)}"
    return "Probability" if subject.manifest.classes else f"Predicted {shorten(subject.manifest.target)}"

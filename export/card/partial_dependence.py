"""Plot importance and partial dependence."""

from typing import Final

import numpy as np
from matplotlib.axes import Axes

from export.card.card_data import Subject, is_number
from export.card.formatting import number, rows, short, signed, value
from export.card.html import Markup, element, figure, join, paragraph, table
from export.card.importance import REPEATS, SAMPLED_ROWS, SHUFFLED_ROWS, Effect, Importance
from export.card.svg import MARKS, MUTED, SERIES, key, line, plot

MOST_FEATURES: Final = 25
"""Maximum number of features in the importance plot."""
MOST_EFFECTS: Final = 6
LINES: Final = 30
"""Maximum number of single rows to draw behind the mean."""


def importance(subject: Subject, found: list[Importance]) -> Markup:
    """Return the importance plot, largest on top, with a table of its numbers."""
    loss = "log loss" if subject.manifest.classes else "squared error"
    drawn = found[:MOST_FEATURES][::-1]

    def draw(axes: Axes) -> None:
        names = [short(each.feature.name, 24) for each in drawn]
        means, spread = [each.mean for each in drawn], [each.deviation for each in drawn]
        axes.barh(range(len(drawn)), means, 0.66, color=SERIES[0], alpha=0.75)
        axes.errorbar(means, range(len(drawn)), xerr=spread, fmt="none", ecolor=MUTED, elinewidth=1.1, capsize=2)
        axes.axvline(0, color=MUTED, linewidth=0.7)
        axes.set_yticks(range(len(drawn)), names)
        axes.set_xlabel(f"Increase of the {loss} per row")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=5)

    first, *others = found
    leans = f"The most important feature is {first.feature.name}: if its column is shuffled, the {loss} increases by "
    leans = (
        f"{leans}{number(first.mean)}"
        if first.mean > 0
        else "Shuffling any single column does not make the predictions worse"
    )
    second = f", then {others[0].feature.name} (by {number(others[0].mean)})" if others and others[0].mean > 0 else ""
    left_out = f" The first {MOST_FEATURES} of {len(found)} are shown." if len(found) > MOST_FEATURES else ""
    words = (
        f"{leans}{second}. Means of {REPEATS} shuffles of {rows(min(len(subject.truths), SHUFFLED_ROWS))} "
        "held out; whiskers are the standard deviation. About 0: not needed, or another feature has the same "
        f"information.{left_out}"
    )
    listing = [[each.feature.name, signed(each.mean), number(each.deviation)] for each in found]
    header = ["Feature", f"Increase of the {loss}", "Standard deviation"]
    details = element(
        "details", element("summary", "Values"), table("Permutation importance", header, listing, "numbers")
    )
    height = 0.75 + 0.24 * len(drawn)
    drawing = plot(draw, "Permutation importance, largest first", 4.0, height)
    return figure("Permutation importance", drawing, join(paragraph(words), details), class_="beside")


def pictures(subject: Subject, effects: list[Effect]) -> list[Markup]:
    """Return the partial dependence plots, all with the same range of predictions."""
    drawn = [
        each.answers[:, :LINES].ravel() if len(subject.shown) == 1 else each.answers.mean(axis=1).ravel()
        for each in effects
    ]
    ends = (0.0, 1.0)
    if not subject.manifest.classes and drawn:
        everything = np.concatenate(drawn)
        margin = 0.04 * float(np.ptp(everything)) or 1.0
        ends = (float(everything.min()) - margin, float(everything.max()) + margin)
    return [
        _numeric(subject, each, ends) if is_number(each.feature) else _named(subject, each, ends) for each in effects
    ]


def _numeric(subject: Subject, effect: Effect, ends: tuple[float, float]) -> Markup:
    x = np.array(effect.grid, dtype=np.float64)
    means, single = effect.answers.mean(axis=1), len(subject.shown) == 1
    aside = x[-1] + 0.09 * (x[-1] - x[0] or 1.0)

    def draw(axes: Axes) -> None:
        if single:
            axes.plot(x, effect.answers[:, :LINES, 0], color=SERIES[0], alpha=0.2, linewidth=0.6)
        for place in range(means.shape[1]):
            style = line(place)
            axes.plot(x, means[:, place], marker="o" if len(x) == 1 else "", **(style | {"linewidth": 2.2}))
            if effect.null is not None:
                axes.plot(aside, effect.null[:, place].mean(), "D", color=style["color"], markersize=4.5)
        if effect.null is not None:
            axes.annotate("null", (aside, ends[0]), (0, 3), textcoords="offset points", ha="center", color=MUTED)
        deciles = np.quantile(subject.trained(effect.feature).astype(np.float64), np.arange(1, 10) / 10)
        axes.plot(deciles, [0] * 9, "|", transform=axes.get_xaxis_transform(), color=MUTED, markersize=7, clip_on=False)
        axes.set(ylim=ends, xlabel=short(effect.feature.name, 30), ylabel=_answer(subject))
        axes.locator_params(axis="x", nbins=6, integer=not effect.feature.is_float)

    return _figure(subject, effect, plot(draw, f"Partial dependence on {effect.feature.name}"))


def _named(subject: Subject, effect: Effect, ends: tuple[float, float]) -> Markup:
    answers = effect.answers if effect.null is None else np.concatenate([effect.answers, effect.null[None]])
    names = [short(value(each), 14) for each in effect.grid] + ["null"] * (effect.null is not None)
    y = np.arange(len(names))[::-1]
    means, single = answers.mean(axis=1), len(subject.shown) == 1

    def draw(axes: Axes) -> None:
        if single:
            low, high = np.quantile(answers[:, :, 0], [0.1, 0.9], axis=1)
            axes.hlines(y, low, high, color=SERIES[0], alpha=0.3, linewidth=6)
        for place in range(means.shape[1]):
            axes.plot(means[:, place], y, MARKS[place % 3], color=line(place)["color"], markersize=6)
        axes.set(xlim=ends, ylim=(-0.6, len(names) - 0.4), xlabel=_answer(subject))
        axes.set_yticks(y, names)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)

    return _figure(subject, effect, plot(draw, f"Partial dependence on {effect.feature.name}"))


def _figure(subject: Subject, effect: Effect, drawing: Markup) -> Markup:
    """Return a partial dependence figure; the caption has the lowest and highest mean."""
    means, classes = effect.answers.mean(axis=1), subject.manifest.classes
    moved = int(np.ptp(means, axis=0).argmax())
    low, high = int(means[:, moved].argmin()), int(means[:, moved].argmax())
    what = f"The mean probability of {classes[subject.shown[moved]]}" if classes else "The mean prediction"
    told = "{:.3f}".format if classes else number
    words = (
        f"{what} is lowest at {value(effect.grid[low])}, {told(means[low, moved])}, and highest at "
        f"{value(effect.grid[high])}, {told(means[high, moved])}."
    )
    if means[low, moved] == means[high, moved]:
        words = f"{what} is {told(means[low, moved])} for all values: the feature has no effect."
    if effect.null is not None:
        words += f" Without a value (null): {told(float(effect.null.mean(axis=0)[moved]))}."
    names = key(classes, marks=not is_number(effect.feature)) if len(subject.shown) > 1 else None
    return figure(effect.feature.name, drawing, words, names)


def explained(subject: Subject) -> str:
    """Return the explanation of the partial dependence plots."""
    sampled = min(len(subject.part.y_train), SAMPLED_ROWS)
    lines = "each thin line is one row, " if len(subject.shown) == 1 else ""
    bars = "bars cover the middle 80 % of the rows, " if len(subject.shown) == 1 else ""
    return (
        f"The model's predictions for {sampled} training rows if one feature has the same value in all of them. The "
        f"thick line or the mark is the mean, {lines}{bars}ticks at the bottom are deciles of the training rows. This "
        "shows the model's behaviour, not causes, and includes combinations of values that may never occur."
    )


def _answer(subject: Subject) -> str:
    positive = subject.manifest.positive_class
    if positive is not None:
        return f"Probability of {short(positive)}"
    return "Probability" if subject.manifest.classes else f"Predicted {short(subject.manifest.target)}"

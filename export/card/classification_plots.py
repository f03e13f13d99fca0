"""Plot a classifier's held-out predictions: curves, calibration, confusion, probabilities."""

from collections.abc import Callable
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from export.card import curves
from export.card.card_data import Subject
from export.card.formatting import NARROW, listed, number, percent, rows, short
from export.card.html import Markup, element, figure, table
from export.card.svg import MUTED, SERIES, key, line, picture, plot

MOST_CURVES: Final = 8
"""Maximum number of classes in a plot. Classes with the most held-out rows come first."""
MOST_NAMED: Final = 5
"""Maximum number of classes for a confusion matrix with words and shares in the cells."""
_BINS: Final = 20


def pictures(subject: Subject) -> list[Markup]:
    """Return the figures of a binary or multiclass classifier."""
    told = _told(subject)
    drawn = [
        _curves(subject, told, "ROC", curves.roc, _roc_words),
        _curves(subject, told, "Precision and recall", curves.precision_recall, _recall_words),
        calibration(subject),
        confusion(subject),
        histogram(subject),
    ]
    return [each for each in drawn if each]


def _told(subject: Subject) -> dict[str, int]:
    """Return the classes to draw curves for, with their index in the manifest.

    The classes are in the order of the manifest.
    """
    classes = subject.manifest.classes
    there = [place for place in subject.shown if curves.is_told(subject.truths == classes[place])]
    there.sort(key=lambda place: -int((subject.truths == classes[place]).sum()))
    return {classes[place]: place for place in sorted(there[:MOST_CURVES])}


def _curves(
    subject: Subject,
    told: dict[str, int],
    title: str,
    curve: Callable[[NDArray[np.bool_], NDArray[np.float64]], curves.Curve],
    words: Callable[[Subject, dict[str, curves.Curve]], str],
) -> Markup:
    """Return one-against-rest curves; only for the positive class if there is one."""
    if not told:
        return Markup()
    lines = {name: curve(subject.truths == name, subject.answers[:, place]) for name, place in told.items()}
    is_roc = curve is curves.roc
    shares = [float((subject.truths == name).mean()) for name in told]

    def draw(axes: Axes) -> None:
        if is_roc:
            axes.plot([0, 1], [0, 1], color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
        elif len(lines) == 1:
            axes.axhline(shares[0], color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
        for place, each in enumerate(lines.values()):
            axes.plot(each.x, each.y, clip_on=False, drawstyle="default" if is_roc else "steps-pre", **line(place))
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.set_xlabel(
            "False positive rate" if is_roc else "Recall: share of the class that is predicted as the class"
        )
        axes.set_ylabel("True positive rate" if is_roc else "Precision: share of these predictions that are correct")

    names = key([*lines]) if len(lines) > 1 else None
    return figure(title, plot(draw, f"{title} curve of {listed([*lines])}"), words(subject, lines), names)


def _roc_words(subject: Subject, lines: dict[str, curves.Curve]) -> str:
    if len(lines) == 1:
        ((name, curve),) = lines.items()
        return (
            f"Area {curve.area:.3f}: for a random pair of rows, one {name} and one not, the model gives {name} the "
            f"higher probability in {percent(curve.area)} of cases. The dashed diagonal is random guessing."
        )
    left_out = _left_out(subject, lines)
    return (
        f"Each class against the rest; area: {_areas(lines)}. 1 is perfect, 0.5 (dashed) is random guessing.{left_out}"
    )


def _recall_words(subject: Subject, lines: dict[str, curves.Curve]) -> str:
    if len(lines) == 1:
        ((name, curve),) = lines.items()
        base = float((subject.truths == name).mean())
        return (
            f"Average precision {curve.area:.3f}; random guessing has the base rate of {name}, {base:.3f} (dashed). "
            "Further up and right is better."
        )
    return f"Each class against the rest; average precision: {_areas(lines)}.{_left_out(subject, lines)}"


def _areas(lines: dict[str, curves.Curve]) -> str:
    return listed([f"{short(name, 40)} {curve.area:.3f}" for name, curve in lines.items()])


def _left_out(subject: Subject, lines: dict[str, curves.Curve]) -> str:
    left = len(subject.manifest.classes) - len(lines)
    return f" The {len(lines)} classes with the most held-out rows are shown, {left} are not." if left else ""


def calibration(subject: Subject) -> Markup:
    """Return the calibration plot of the positive class, or of the predicted class."""
    positive = subject.manifest.positive_class
    if positive is None:
        told = curves.reliability(subject.labels == subject.truths, subject.answers.max(axis=1))
        what, came = "Probability of the predicted class", "Share with that true class"
    else:
        told = curves.reliability(subject.truths == positive, subject.answers[:, subject.shown[0]])
        what, came = f"Probability of {short(positive)}", f"Share with true class {short(positive)}"

    def draw(drawn: Figure) -> None:
        top, bottom = drawn.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        top.plot([0, 1], [0, 1], color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
        reach = [told.came - told.low, told.high - told.came]
        top.errorbar(told.said, told.came, reach, fmt="o-", clip_on=False, color=SERIES[0], elinewidth=0.9)
        top.set(xlim=(0, 1), ylim=(0, 1), ylabel=came)
        edges = np.linspace(0, 1, len(told.counts) + 1)
        bottom.stairs(told.counts, edges, fill=True, color=SERIES[0], alpha=0.55)
        bottom.set(xlabel=what, ylabel="Rows")
        bottom.locator_params(axis="y", nbins=2, integer=True)

    words = (
        f"Expected calibration error {told.error:.3f}: the mean difference between predicted probability and observed "
        f"share, over the rows. On the dashed diagonal, a prediction of 70{NARROW}% is correct in 70{NARROW}% of "
        f"cases. Whiskers are 95{NARROW}% intervals; the bars below count the rows in each of {len(told.counts)} bins."
    )
    return figure("Calibration", picture(draw, "Calibration: observed shares over predicted probabilities"), words)


def confusion(subject: Subject) -> Markup:
    """Return the confusion matrix, shaded by the share of the true class's rows."""
    classes, labels = subject.manifest.classes, subject.labels
    counts = curves.confusion(subject.truths, labels, classes)
    totals, dense = counts.sum(axis=1), len(classes) > MOST_NAMED
    head = element(
        "tr",
        element("th", "True class and predicted class" if dense else "True class", scope="col"),
        *(element("th", name if dense else f"predicted {name}", scope="col") for name in classes),
    )
    body = [
        element(
            "tr",
            element("th", name, element("span", rows(int(total))), scope="row"),
            *(_cell(int(count), int(total), right=told == place) for told, count in enumerate(line)),
        )
        for place, (name, line, total) in enumerate(zip(classes, counts, totals, strict=True))
    ]
    grid = element(
        "table", element("thead", head), element("tbody", *body), class_="confusion dense" if dense else "confusion"
    )
    scroll = element("div", grid, class_="scroll", tabindex="0", role="region", aria_label="Confusion matrix")
    right, share = int(np.trace(counts)), float(np.trace(counts) / counts.sum())
    rule = " at a threshold of 0.5" if subject.manifest.kind == "binary" else ", by the most likely class"
    words = (
        f"{number(right)} of {rows(int(counts.sum()))} ({percent(share)}) are predicted correctly{rule}: the outlined "
        f"cells. {'Shades' if dense else 'Shares'} are relative to the rows of the true class."
    )
    return figure("Confusion", scroll, words, class_="full" if dense else "wide" if len(classes) > 2 else "")


def _cell(count: int, total: int, *, right: bool) -> Markup:
    share = count / total if total else 0.0
    shade = f"background:rgb(var(--shade) / {0.5 * share:.2f})"
    told = element("span", percent(share)) if total else Markup()
    return element("td", number(count), told, style=shade, class_="right" if right else "wrong")


def histogram(subject: Subject) -> Markup:
    """Return a histogram of the probabilities by true class; empty for multiclass models."""
    manifest, positive = subject.manifest, subject.manifest.positive_class
    if positive is None:
        return Markup()
    chances = subject.answers[:, subject.shown[0]]
    edges = np.linspace(0, 1, _BINS + 1)
    order = [positive, *(name for name in manifest.classes if name != positive)]

    def draw(axes: Axes) -> None:
        axes.axvline(0.5, color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
        for place, name in enumerate(order):
            counts, _ = np.histogram(chances[subject.truths == name], edges)
            axes.stairs(counts, edges, fill=True, alpha=0.22, color=SERIES[place])
            axes.stairs(counts, edges, linewidth=1.4, clip_on=False, **line(place))
        axes.set(xlim=(0, 1), xlabel=f"Probability of {short(positive)}", ylabel="Held-out rows")
        axes.locator_params(axis="y", integer=True)
        axes.grid(visible=False, axis="x")

    sure = float(((chances <= 0.1) | (chances >= 0.9)).mean())
    words = (
        f"{percent(sure)} of the rows have a probability of at most 0.1 or at least 0.9. The less the two classes "
        "overlap, the better the model separates them. At the dashed line the label changes."
    )
    return figure("Probabilities by class", plot(draw, "Histogram of probabilities by class"), words, key(order))


def by_class(subject: Subject) -> Markup:
    """Return a table with the scores of each class; empty for binary models.

    The columns are held-out rows, areas, precision and recall.
    """
    classes = subject.manifest.classes
    if len(classes) <= 2:
        return Markup()
    counts = curves.confusion(subject.truths, subject.labels, classes)
    lines = []
    for place, name in enumerate(classes):
        hits, chances = subject.truths == name, subject.answers[:, place]
        told = curves.is_told(hits)
        lines.append(
            [
                name,
                number(int(hits.sum())),
                f"{curves.roc(hits, chances).area:.3f}" if told else "–",  # noqa: RUF001 # an en dash means no value
                f"{curves.precision_recall(hits, chances).area:.3f}" if told else "–",  # noqa: RUF001
                _share(int(counts[place, place]), int(counts[:, place].sum())),
                _share(int(counts[place, place]), int(counts[place].sum())),
            ]
        )
    header = ["Class", "Held-out rows", "ROC AUC", "Average precision", "Precision", "Recall"]
    return table("Each class against the rest", header, lines, "numbers")


def _share(part: int, whole: int) -> str:
    return percent(part / whole) if whole else "–"  # noqa: RUF001

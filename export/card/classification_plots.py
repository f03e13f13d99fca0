"""Plot a classifier's held-out predictions: curves, calibration, confusion, probabilities."""

from collections.abc import Callable
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from export.card import curves
from export.card.card_data import Subject
from export.card.formatting import NARROW, join_names, number, percent, rows, shorten
from export.card.html import Markup, element, figure, table
from export.card.svg import MUTED, SERIES, key, line, picture, plot

MAX_CURVES: Final = 8
"""Maximum number of classes in a plot. Classes with the most held-out rows come first."""
MAX_NAMED: Final = 5
"""Maximum number of classes for a confusion matrix with words and shares in the cells."""
_BINS: Final = 20


def pictures(subject: Subject) -> list[Markup]:
    """Return the figures of a binary or multiclass classifier."""
    class_indices = _plotted_classes(subject)
    figures = [
        _curves(subject, class_indices, "ROC", curves.roc, _roc_caption),
        _curves(subject, class_indices, "Precision and recall", curves.precision_recall, _recall_caption),
        calibration(subject),
        confusion(subject),
        histogram(subject),
    ]
    return [each for each in figures if each]


def _plotted_classes(subject: Subject) -> dict[str, int]:
    """Return the classes to draw curves for, with their index in the manifest.

    The classes are in the order of the manifest.
    """
    classes = subject.manifest.classes
    indices = [
        index for index in subject.plotted_columns if curves.has_both_outcomes(subject.true_values == classes[index])
    ]
    indices.sort(key=lambda index: -int((subject.true_values == classes[index]).sum()))
    return {classes[index]: index for index in sorted(indices[:MAX_CURVES])}


def _curves(
    subject: Subject,
    class_indices: dict[str, int],
    title: str,
    curve: Callable[[NDArray[np.bool_], NDArray[np.float64]], curves.Curve],
    caption: Callable[[Subject, dict[str, curves.Curve]], str],
) -> Markup:
    """Return one-against-rest curves; only for the positive class if there is one."""
    if not class_indices:
        return Markup()
    lines = {
        name: curve(subject.true_values == name, subject.predictions[:, index]) for name, index in class_indices.items()
    }
    is_roc = curve is curves.roc
    shares = [float((subject.true_values == name).mean()) for name in class_indices]

    def draw(axes: Axes) -> None:
        if is_roc:
            axes.plot([0, 1], [0, 1], color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
        elif len(lines) == 1:
            axes.axhline(shares[0], color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
        for index, each in enumerate(lines.values()):
            axes.plot(each.x, each.y, clip_on=False, drawstyle="default" if is_roc else "steps-pre", **line(index))
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.set_xlabel(
            "False positive rate" if is_roc else "Recall: share of the class that is predicted as the class"
        )
        axes.set_ylabel("True positive rate" if is_roc else "Precision: share of these predictions that are correct")

    names = key([*lines]) if len(lines) > 1 else None
    return figure(title, plot(draw, f"{title} curve of {join_names([*lines])}"), caption(subject, lines), names)


def _roc_caption(subject: Subject, lines: dict[str, curves.Curve]) -> str:
    if len(lines) == 1:
        ((name, curve),) = lines.items()
        return (
            f"Area {curve.area:.3f}: for a random pair of rows, one {name} and one not, the model gives {name} the "
            f"higher probability in {percent(curve.area)} of cases. The dashed diagonal is random guessing."
        )
    omitted_text = _omitted_text(subject, lines)
    return (
        f"Each class against the rest; area: {_areas(lines)}. 1 is perfect, 0.5 (dashed) is random "
        f"guessing.{omitted_text}"
    )


def _recall_caption(subject: Subject, lines: dict[str, curves.Curve]) -> str:
    if len(lines) == 1:
        ((name, curve),) = lines.items()
        base = float((subject.true_values == name).mean())
        return (
            f"Average precision {curve.area:.3f}; random guessing has the base rate of {name}, {base:.3f} (dashed). "
            "Further up and right is better."
        )
    return f"Each class against the rest; average precision: {_areas(lines)}.{_omitted_text(subject, lines)}"


def _areas(lines: dict[str, curves.Curve]) -> str:
    return join_names([f"{shorten(name, 40)} {curve.area:.3f}" for name, curve in lines.items()])


def _omitted_text(subject: Subject, lines: dict[str, curves.Curve]) -> str:
    omitted = len(subject.manifest.classes) - len(lines)
    return f" The {len(lines)} classes with the most held-out rows are shown, {omitted} are not." if omitted else ""


def calibration(subject: Subject) -> Markup:
    """Return the calibration plot of the positive class, or of the predicted class."""
    positive = subject.manifest.positive_class
    if positive is None:
        reliability = curves.reliability(subject.labels == subject.true_values, subject.predictions.max(axis=1))
        x_label, y_label = "Probability of the predicted class", "Share with that true class"
    else:
        reliability = curves.reliability(
            subject.true_values == positive, subject.predictions[:, subject.plotted_columns[0]]
        )
        x_label, y_label = f"Probability of {shorten(positive)}", f"Share with true class {shorten(positive)}"

    def draw(canvas: Figure) -> None:
        top, bottom = canvas.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        top.plot([0, 1], [0, 1], color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
        error_bars = [reliability.observed - reliability.low, reliability.high - reliability.observed]
        top.errorbar(
            reliability.predicted,
            reliability.observed,
            error_bars,
            fmt="o-",
            clip_on=False,
            color=SERIES[0],
            elinewidth=0.9,
        )
        top.set(xlim=(0, 1), ylim=(0, 1), ylabel=y_label)
        edges = np.linspace(0, 1, len(reliability.counts) + 1)
        bottom.stairs(reliability.counts, edges, fill=True, color=SERIES[0], alpha=0.55)
        bottom.set(xlabel=x_label, ylabel="Rows")
        bottom.locator_params(axis="y", nbins=2, integer=True)

    caption = (
        f"Expected calibration error {reliability.error:.3f}: the mean difference between predicted probability and "
        f"observed share, over the rows. On the dashed diagonal, a prediction of 70{NARROW}% is correct in "
        f"70{NARROW}% of cases. Whiskers are 95{NARROW}% intervals; the bars below count the rows in each of "
        f"{len(reliability.counts)} bins."
    )
    return figure("Calibration", picture(draw, "Calibration: observed shares over predicted probabilities"), caption)


def confusion(subject: Subject) -> Markup:
    """Return the confusion matrix, shaded by the share of the true class's rows."""
    classes, labels = subject.manifest.classes, subject.labels
    counts = curves.confusion(subject.true_values, labels, classes)
    totals, is_dense = counts.sum(axis=1), len(classes) > MAX_NAMED
    head = element(
        "tr",
        element("th", "True class and predicted class" if is_dense else "True class", scope="col"),
        *(element("th", name if is_dense else f"predicted {name}", scope="col") for name in classes),
    )
    body = [
        element(
            "tr",
            element("th", name, element("span", rows(int(total))), scope="row"),
            *(
                _cell(int(count), int(total), is_correct=predicted_index == index)
                for predicted_index, count in enumerate(line)
            ),
        )
        for index, (name, line, total) in enumerate(zip(classes, counts, totals, strict=True))
    ]
    grid = element(
        "table", element("thead", head), element("tbody", *body), class_="confusion dense" if is_dense else "confusion"
    )
    scroll = element("div", grid, class_="scroll", tabindex="0", role="region", aria_label="Confusion matrix")
    correct, share = int(np.trace(counts)), float(np.trace(counts) / counts.sum())
    rule = " at a threshold of 0.5" if subject.manifest.kind == "binary" else ", by the most likely class"
    caption = (
        f"{number(correct)} of {rows(int(counts.sum()))} ({percent(share)}) are predicted correctly{rule}: the "
        f"outlined cells. {'Shades' if is_dense else 'Shares'} are relative to the rows of the true class."
    )
    return figure("Confusion", scroll, caption, class_="full" if is_dense else "wide" if len(classes) > 2 else "")


def _cell(count: int, total: int, *, is_correct: bool) -> Markup:
    share = count / total if total else 0.0
    shade = f"background:rgb(var(--shade) / {0.5 * share:.2f})"
    share_text = element("span", percent(share)) if total else Markup()
    return element("td", number(count), share_text, style=shade, class_="right" if is_correct else "wrong")


def histogram(subject: Subject) -> Markup:
    """Return a histogram of the probabilities by true class; empty for multiclass models."""
    manifest, positive = subject.manifest, subject.manifest.positive_class
    if positive is None:
        return Markup()
    probabilities = subject.predictions[:, subject.plotted_columns[0]]
    edges = np.linspace(0, 1, _BINS + 1)
    order = [positive, *(name for name in manifest.classes if name != positive)]

    def draw(axes: Axes) -> None:
        axes.axvline(0.5, color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
        for index, name in enumerate(order):
            counts, _ = np.histogram(probabilities[subject.true_values == name], edges)
            axes.stairs(counts, edges, fill=True, alpha=0.22, color=SERIES[index])
            axes.stairs(counts, edges, linewidth=1.4, clip_on=False, **line(index))
        axes.set(xlim=(0, 1), xlabel=f"Probability of {shorten(positive)}", ylabel="Held-out rows")
        axes.locator_params(axis="y", integer=True)
        axes.grid(visible=False, axis="x")

    confident_share = float(((probabilities <= 0.1) | (probabilities >= 0.9)).mean())
    caption = (
        f"{percent(confident_share)} of the rows have a probability of at most 0.1 or at least 0.9. The less the two "
        "classes overlap, the better the model separates them. At the dashed line the label changes."
    )
    return figure("Probabilities by class", plot(draw, "Histogram of probabilities by class"), caption, key(order))


def by_class(subject: Subject) -> Markup:
    """Return a table with the scores of each class; empty for binary models.

    The columns are held-out rows, areas, precision and recall.
    """
    classes = subject.manifest.classes
    if len(classes) <= 2:
        return Markup()
    counts = curves.confusion(subject.true_values, subject.labels, classes)
    lines = []
    for index, name in enumerate(classes):
        hits, probabilities = subject.true_values == name, subject.predictions[:, index]
        has_both_outcomes = curves.has_both_outcomes(hits)
        lines.append(
            [
                name,
                number(int(hits.sum())),
                f"{curves.roc(hits, probabilities).area:.3f}" if has_both_outcomes else "–",  # noqa: RUF001 # an en dash means no value
                f"{curves.precision_recall(hits, probabilities).area:.3f}" if has_both_outcomes else "–",  # noqa: RUF001
                _share(int(counts[index, index]), int(counts[:, index].sum())),
                _share(int(counts[index, index]), int(counts[index].sum())),
            ]
        )
    header = ["Class", "Held-out rows", "ROC AUC", "Average precision", "Precision", "Recall"]
    return table("Each class against the rest", header, lines, "numbers")


def _share(part: int, whole: int) -> str:
    return percent(part / whole) if whole else "–"  # noqa: RUF001

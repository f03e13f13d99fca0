"""Show what the model predicts, how well, and against which baseline."""

from export.card.card_data import Subject
from export.card.formatting import NARROW, SCORES, between, join_names, number, rows, score, with_spaces
from export.card.html import Markup, code, element, join, paragraph
from server.models.training_metadata import Comparison, Metrics


def head(subject: Subject) -> Markup:
    """Return the title, the verdict and the score tiles."""
    manifest = subject.manifest
    title = element("h1", manifest.name, " ", element("span", f"version {manifest.version}"))
    description = [paragraph(manifest.description, class_="lead")] if manifest.description else []
    return element(
        "header",
        paragraph("Model card", class_="eyebrow"),
        title,
        *description,
        paragraph(_predicts(subject)),
        _verdict(subject),
        tiles(subject),
    )


def _predicts(subject: Subject) -> Markup:
    manifest, classes = subject.manifest, subject.manifest.classes
    start = join("The model predicts ", code(manifest.target), ": ")
    if not classes:
        return join(start, "a number.")
    names = join_names(classes, "or")
    if manifest.positive_class is None:
        return join(start, f"one of {len(classes)} classes, {names}, with a probability for each.")
    return join(start, f"one of two classes, {names}. The ", code("probability"), f" is for {manifest.positive_class}.")


def _verdict(subject: Subject) -> Markup:
    metrics = subject.manifest.metrics
    sentences = (
        [_first_sentence(subject, metrics), _loss_sentence(subject, metrics)]
        if metrics
        else [Markup("The manifest has no scores.")]
    )
    sentences.append(_comparison_sentence(subject.manifest.comparison))
    return element("div", *(paragraph(each) for each in sentences if each), class_="verdict")


def _first_sentence(subject: Subject, metrics: Metrics) -> Markup:
    """Return accuracy or mean absolute error, next to the baseline's."""
    name = "accuracy" if subject.manifest.classes else "mae"
    value = score(name, metrics.held_out[name])
    start = f"Correct in {value} of cases" if subject.manifest.classes else f"Mean absolute error {value}"
    baseline_text = f"; the baseline model: {score(name, metrics.baseline[name])}"
    if subject.is_plain:
        baseline_text = "; this is the baseline model itself"
    ends = between(name, metrics.intervals[name])
    return join(
        element("strong", start),
        f" on {rows(metrics.held_out_rows)} held out (95{NARROW}% interval {ends}){baseline_text}.",
    )


def _loss_sentence(subject: Subject, metrics: Metrics) -> Markup:
    """Return the loss that selected the model, and whether the baseline is in its interval."""
    name = subject.manifest.provenance.loss
    ends, baseline_score = metrics.intervals[name], metrics.baseline[name]
    start = (
        f"{SCORES[name][0]}, which selected the model, is {score(name, metrics.held_out[name])} ({between(name, ends)})"
    )
    if subject.is_plain:
        return join(f"{start}.")
    position = "within" if ends[0] <= baseline_score <= ends[1] else "outside"
    return join(f"{start}; the baseline model’s is {score(name, baseline_score)}, {position} that interval.")  # noqa: RUF001 # an apostrophe


def _comparison_sentence(comparison: Comparison | None) -> Markup:
    if comparison is None:
        return join("It was not compared with an earlier version.")
    forced_text = element("strong", " It was published anyway, with --force.") if comparison.forced else Markup()
    champion = f"version {comparison.version}, the stable version at that time"
    if not comparison.interval:
        return join(f"It could not be compared with {champion}.", forced_text)
    low, high = comparison.interval
    verdict = "no significant difference"
    if high < 0:
        verdict = "significantly better"
    elif low > 0:
        verdict = "significantly worse"
    direction = "lower" if comparison.difference <= 0 else "higher"
    return join(
        f"Compared with {champion}: {verdict}; {with_spaces(comparison.loss)} per row "
        f"{number(abs(comparison.difference))} "
        f"{direction} on the same {rows(comparison.rows)} (95{NARROW}% interval {number(low)} to {number(high)}; "
        "below 0 is better).",
        forced_text,
    )


def tiles(subject: Subject) -> Markup:
    """Return one tile per score, with its interval and the baseline's score."""
    metrics = subject.manifest.metrics
    if metrics is None:
        return Markup()
    each = [
        element(
            "div",
            element("dt", SCORES.get(name, (with_spaces(name), ""))[0]),
            element("dd", score(name, value), class_="large"),
            element("dd", f"95{NARROW}%: {between(name, metrics.intervals[name])}"),
            Markup() if subject.is_plain else element("dd", f"baseline: {score(name, metrics.baseline[name])}"),
        )
        for name, value in metrics.held_out.items()
    ]
    return element("dl", *each, class_="tiles")

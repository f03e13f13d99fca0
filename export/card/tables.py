"""Build tables of the data, the scores and the candidates."""

import numpy as np

from export.card.card_data import Subject
from export.card.formatting import NARROW, SCORES, between, number, percent, rows, score, with_spaces
from export.card.html import Markup, code, element, facts, join, paragraph, table
from server.models.training_metadata import Metrics


def data(subject: Subject) -> Markup:
    """Return the data set's name, digest and rows, the target distribution, and the missing values."""
    provenance, part = subject.manifest.provenance, subject.part
    held_out = len(part.y_test) / len(subject.data.y)
    details = facts(
        [
            ("Data set", code(provenance.dataset)),
            ("SHA-256", code(provenance.dataset_sha256)),
            ("Rows", number(provenance.dataset_rows)),
            ("Fitted on", rows(len(part.y_train))),
            (
                "Held out",
                f"{rows(len(part.y_test))} ({percent(held_out)}), selected by row content: equal rows stay together",
            ),
        ]
    )
    return join(details, element("div", _target(subject), _missing(subject), class_="pair"))


def _target(subject: Subject) -> Markup:
    part, all_targets = subject.part, subject.data.y
    caption = f"Target: {subject.manifest.target}"
    if not subject.manifest.classes:
        lines = [
            [name, number(len(y)), *(number(each, 4) for each in (y.min(), np.median(y), y.mean(), y.max(), y.std()))]
            for name, y in (("Fitted on", part.y_train), ("Held out", part.y_test))
        ]
        header = ["Rows", "Number", "Least", "Median", "Mean", "Most", "Standard deviation"]
        return table(caption, header, lines, "numbers")
    lines = [
        [
            name,
            number(int((all_targets == name).sum())),
            percent(float((all_targets == name).mean())),
            number(int((part.y_train == name).sum())),
            number(int((part.y_test == name).sum())),
        ]
        for name in subject.manifest.classes
    ]
    return table(caption, ["Class", "Rows", "Share", "Fitted on", "Held out"], lines, "numbers")


def _missing(subject: Subject) -> Markup:
    X = subject.data.X
    counts = {
        feature.name: int(subject.nulls(feature, X[feature.name].to_numpy()).sum())
        for feature in subject.manifest.features
    }
    lines = [[code(name), number(count), percent(count / len(X))] for name, count in counts.items() if count]
    if not lines:
        return paragraph("No value is missing in any feature.", class_="note")
    complete = len(counts) - len(lines)
    rest = paragraph(f"No value is missing in the other {complete}.", class_="note") if complete else Markup()
    return element("div", table("Missing values", ["Feature", "Rows", "Share"], lines, "numbers"), rest)


def scores(subject: Subject) -> Markup:
    """Return the scores and intervals of model and baseline, on held-out rows and other splits."""
    metrics = subject.manifest.metrics
    if metrics is None:
        return paragraph("The manifest has no scores.")
    baseline_name = with_spaces(next(iter(subject.manifest.provenance.candidates), ""))
    header = ["Score", "Held out", f"95{NARROW}% interval", f"Over {metrics.seeds} other splits"]
    text = f"The model is the baseline model itself, {baseline_name}: the first candidate."
    if not subject.is_plain:
        header += ["Baseline model", "Baseline over these splits"]
        text = f"The baseline model is the first candidate, {baseline_name}, fitted on the same rows."
    score_table = table(
        f"Scores on {rows(metrics.held_out_rows)} held out",
        header,
        (line[: len(header)] for line in _score_lines(metrics)),
        "numbers",
    )
    text += (
        f" An interval covers the middle 95{NARROW}% of the score over bootstrap samples of the held-out rows. For "
        "each other split the model is fitted again; the columns show mean ± standard deviation."
    )
    return join(score_table, paragraph(text, class_="note"))


def _score_lines(metrics: Metrics) -> list[list[str]]:
    lines = []
    for name, held_out in metrics.held_out.items():
        title, meaning = SCORES.get(name, (with_spaces(name), ""))
        spreads = [
            f"{score(name, each.mean[name])} ± {score(name, each.deviation[name])}"
            for each in (metrics.over_seeds, metrics.baseline_over_seeds)
        ]
        lines.append(
            [
                join(title, element("span", meaning, class_="note")),
                element("strong", score(name, held_out)),
                between(name, metrics.intervals[name]),
                spreads[0],
                score(name, metrics.baseline[name]),
                spreads[1],
            ]
        )
    return lines


def candidates(subject: Subject) -> Markup:
    """Return the cross-validation loss of each candidate, with the chosen one marked."""
    provenance = subject.manifest.provenance
    if not provenance.candidates:
        return Markup()
    chosen_name = provenance.estimator + (f", calibrated by {provenance.calibration}" if provenance.calibration else "")
    ordered = sorted(provenance.candidates.items(), key=lambda each: each[1].mean)
    lines = [
        [
            join(with_spaces(name), element("span", "chosen", class_="chosen"))
            if name == chosen_name
            else with_spaces(name),
            _cost(provenance.loss, each.mean),
            _cost(provenance.loss, each.deviation),
        ]
        for name, each in ordered
    ]
    loss = SCORES.get(provenance.loss, (with_spaces(provenance.loss), ""))[0]
    header = ["Candidate", f"{loss}, mean", "Standard deviation"]
    if not subject.manifest.classes:
        text = ""
    elif provenance.calibration:
        text = f" The probabilities are calibrated by {provenance.calibration}, which lowered the loss."
    else:
        text = " Calibration did not lower the loss, so the probabilities are not calibrated."
    note = (
        f"Loss over the folds of repeated cross-validation on the training rows. The smallest mean is selected.{text}"
    )
    return join(table("Candidates", header, lines, "numbers"), paragraph(note, class_="note"))


def _cost(loss: str, value: float) -> str:
    return f"{value:.4f}" if loss == "log_loss" else number(value, 4)

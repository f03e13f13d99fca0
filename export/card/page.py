"""Assemble the card's sections into one page."""

from importlib.resources import files
from typing import Final

from export.card import (
    classification_plots,
    inputs,
    limits,
    partial_dependence,
    regression_plots,
    reproducibility,
    summary,
    tables,
)
from export.card.card_data import Subject
from export.card.formatting import rows
from export.card.html import Markup, element, join, paragraph, section
from export.card.importance import effect, importances
from export.data.dataset import Dataset, Split
from server.models.manifest import Manifest
from server.models.session import Model

_SECTIONS: Final = {
    "takes": "Features",
    "data": "Data",
    "scores": "Scores",
    "pictures": "Figures of held-out rows",
    "features": "Feature effects",
    "parity": "Parity",
    "limits": "Limits of use",
    "reproduce": "Reproduction",
}


def page(manifest: Manifest, model: Model, data: Dataset, part: Split) -> bytes:
    """Return the HTML of the card in UTF-8."""
    subject = Subject.of(manifest, model, data, part)
    content = {
        "takes": inputs.features(subject),
        "data": tables.data(subject),
        "scores": element("div", tables.scores(subject), tables.candidates(subject)),
        "pictures": _pictures(subject),
        "features": _features(subject),
        "parity": reproducibility.parity(subject),
        "limits": limits.limits(subject),
        "reproduce": reproducibility.reproduce(subject),
    }
    links = [element("a", title, href=f"#{name}") for name, title in _SECTIONS.items()]
    main = element("main", *(section(name, title, content[name]) for name, title in _SECTIONS.items()))
    body = element("body", summary.head(subject), element("nav", *links, aria_label="Sections"), main)
    return join(Markup("<!doctype html>\n"), element("html", _head(manifest), body, lang="en"), "\n").encode()


def _head(manifest: Manifest) -> Markup:
    style = Markup(files("export.card").joinpath("style.css").read_text(encoding="utf-8"))
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{manifest.name} {manifest.version}: model card"),
        element("style", style),
    )


def _pictures(subject: Subject) -> Markup:
    figures = (classification_plots if subject.manifest.classes else regression_plots).pictures(subject)
    text = f"All these figures show the {rows(len(subject.true_values))} held out."
    return join(
        paragraph(text, class_="note"),
        element("div", *figures, class_="pictures"),
        classification_plots.by_class(subject),
    )


def _features(subject: Subject) -> Markup:
    results = importances(subject)
    effects = [effect(subject, each.feature) for each in results[: partial_dependence.MAX_EFFECTS]]
    available = [each for each in effects if each is not None]
    return join(
        partial_dependence.importance(subject, results),
        element("h3", "Partial dependence"),
        paragraph(partial_dependence.explanation(subject), class_="note"),
        element("div", *partial_dependence.pictures(subject, available), class_="pictures"),
    )

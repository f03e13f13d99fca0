"""The sections of the card, in their order, to one page."""

from importlib.resources import files
from typing import Final

from export.card import classifying, effects, limits, proof, regressing, tables, takes, verdict
from export.card.importance import effect, importances
from export.card.markup import Markup, element, join, paragraph, section
from export.card.subject import Subject
from export.card.words import rows
from export.data import Dataset, Split
from server.manifest import Manifest
from server.model import Model

_SECTIONS: Final = {
    "takes": "What it takes",
    "data": "Data",
    "scores": "Scores",
    "pictures": "Pictures of held-out rows",
    "features": "What it relies on",
    "parity": "Parity",
    "limits": "Limits of use",
    "reproduce": "How to reproduce",
}


def page(manifest: Manifest, model: Model, data: Dataset, part: Split) -> bytes:
    """Return the card's HTML, UTF-8."""
    subject = Subject.of(manifest, model, data, part)
    content = {
        "takes": takes.features(subject),
        "data": tables.data(subject),
        "scores": element("div", tables.scores(subject), tables.candidates(subject)),
        "pictures": _pictures(subject),
        "features": _features(subject),
        "parity": proof.parity(subject),
        "limits": limits.limits(subject),
        "reproduce": proof.reproduce(subject),
    }
    links = [element("a", title, href=f"#{name}") for name, title in _SECTIONS.items()]
    main = element("main", *(section(name, title, content[name]) for name, title in _SECTIONS.items()))
    body = element("body", verdict.head(subject), element("nav", *links, aria_label="Sections"), main)
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
    drawn = (classifying if subject.manifest.classes else regressing).pictures(subject)
    words = f"All of these are of the {rows(len(subject.truths))} held out."
    return join(
        paragraph(words, class_="note"), element("div", *drawn, class_="pictures"), classifying.by_class(subject)
    )


def _features(subject: Subject) -> Markup:
    found = importances(subject)
    tried = [effect(subject, each.feature) for each in found[: effects.MOST_EFFECTS]]
    there = [each for each in tried if each is not None]
    return join(
        effects.importance(subject, found),
        element("h3", "Partial dependence"),
        paragraph(effects.explained(subject), class_="note"),
        element("div", *effects.pictures(subject, there), class_="pictures"),
    )

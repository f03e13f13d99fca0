"""A model card taken apart, as a browser would."""

from html.parser import HTMLParser

from export.card import card
from tests.export.carded import Carded


class Page(HTMLParser):
    """A page taken apart: its tags in order, its words, the words of each figure; every tag must be closed in turn."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.figures: list[dict[str, str]] = []
        self._open: list[str] = []
        self.feed(content.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "figure":
            self.figures.append({"h3": "", "figcaption": ""})
        if tag != "meta":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that closes itself, as only SVG's may."""
        assert "svg" in self._open
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        """Hold a tag's end to its start."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note words."""
        if "style" in self._open:
            return
        self.words += data
        for part in ("h3", "figcaption"):
            if "figure" in self._open and part in self._open:
                self.figures[-1][part] += data

    def every(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of each tag of this name."""
        return [attributes for name, attributes in self.tags if name == tag]


def drawn(made: Carded) -> bytes:
    """Return the card of a model."""
    return card(made.manifest, made.model, made.data, made.part)

"""A parsed model card."""

from html.parser import HTMLParser

from export.card import card
from tests.export.carded import Carded


class Page(HTMLParser):
    """A parsed page: tags, words, and the words of each figure. Checks that tags are closed."""

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
        """Store a tag."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "figure":
            self.figures.append({"h3": "", "figcaption": ""})
        if tag != "meta":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Store a self-closing tag, which only SVG allows."""
        assert "svg" in self._open
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        """Check that the closing tag matches the last open one."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Store words."""
        if "style" in self._open:
            return
        self.words += data
        for part in ("h3", "figcaption"):
            if "figure" in self._open and part in self._open:
                self.figures[-1][part] += data

    def every(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of each tag with this name."""
        return [attributes for name, attributes in self.tags if name == tag]


def drawn(made: Carded) -> bytes:
    """Return the card of a model."""
    return card(made.manifest, made.model, made.data, made.part)

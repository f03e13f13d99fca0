"""Build HTML: text is escaped unless it is `Markup`, so that no name becomes a tag."""

import html
from collections.abc import Iterable, Sequence
from typing import Final

_VOID: Final = frozenset({"meta"})


class Markup(str):
    """A string of HTML, which is not escaped again."""

    __slots__ = ()


def element(tag: str, /, *children: str, **attributes: str) -> Markup:
    """Return an HTML element.

    In the name of an attribute, underscores become hyphens, and an underscore at the end is removed.
    """
    attribute_text = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for name, value in attributes.items()
    )
    return Markup(f"<{tag}{attribute_text}>" if tag in _VOID else f"<{tag}{attribute_text}>{join(*children)}</{tag}>")


def join(*children: str) -> Markup:
    """Return the concatenated children, each escaped unless it is `Markup`."""
    return Markup("".join(child if isinstance(child, Markup) else html.escape(child) for child in children))


def code(text: str) -> Markup:
    """Return a code element, for a name in a request or a file."""
    return element("code", text)


def paragraph(*children: str, **attributes: str) -> Markup:
    """Return a paragraph element."""
    return element("p", *children, **attributes)


def bullets(items: Iterable[str], **attributes: str) -> Markup:
    """Return a bullet list."""
    return element("ul", *(element("li", item) for item in items), **attributes)


def facts(pairs: Iterable[tuple[str, str]]) -> Markup:
    """Return a description list of names and values."""
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs))


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], class_: str = "") -> Markup:
    """Return a scrollable table; the first cell of each row is its header."""
    header_row = element("tr", *(element("th", name, scope="col") for name in header))
    body = [
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest))
        for first, *rest in rows
    ]
    inner_table = element(
        "table",
        element("caption", caption),
        element("thead", header_row),
        element("tbody", *body),
        class_=class_ or "plain",
    )
    return element("div", inner_table, class_="scroll", tabindex="0", role="region", aria_label=caption)


def figure(title: str, picture: Markup, caption: str, key: Markup | None = None, class_: str = "") -> Markup:
    """Return a figure with title, legend, picture and caption."""
    class_attribute = {"class_": class_} if class_ else {}
    return element(
        "figure", element("h3", title), key or Markup(), picture, element("figcaption", caption), **class_attribute
    )


def section(name: str, title: str, *children: str) -> Markup:
    """Return a section with an id as link target."""
    return element(
        "section", element("h2", title, id=f"{name}-title"), *children, id=name, aria_labelledby=f"{name}-title"
    )

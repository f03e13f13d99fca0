"""Words to HTML: what is not `Markup` already is escaped where it is put in, so that no name can become a tag."""

import html
from collections.abc import Iterable, Sequence
from typing import Final

_VOID: Final = frozenset({"meta"})


class Markup(str):
    """A string that is HTML already."""

    __slots__ = ()


def element(tag: str, /, *children: str, **attributes: str) -> Markup:
    """Return an element. An attribute's name may end in an underscore, and has one for each hyphen."""
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for name, value in attributes.items()
    )
    return Markup(f"<{tag}{named}>" if tag in _VOID else f"<{tag}{named}>{join(*children)}</{tag}>")


def join(*children: str) -> Markup:
    """Return children one after the other, each escaped unless it is markup."""
    return Markup("".join(child if isinstance(child, Markup) else html.escape(child) for child in children))


def code(text: str) -> Markup:
    """Return a name as it is written in a request or a file."""
    return element("code", text)


def paragraph(*children: str, **attributes: str) -> Markup:
    """Return a paragraph."""
    return element("p", *children, **attributes)


def bullets(items: Iterable[str], **attributes: str) -> Markup:
    """Return a list."""
    return element("ul", *(element("li", item) for item in items), **attributes)


def facts(pairs: Iterable[tuple[str, str]]) -> Markup:
    """Return names and what stands for each."""
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs))


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], class_: str = "") -> Markup:
    """Return a table that scrolls inside itself; the first cell of each row is the row's header."""
    head = element("tr", *(element("th", name, scope="col") for name in header))
    body = [
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest))
        for first, *rest in rows
    ]
    inner = element(
        "table", element("caption", caption), element("thead", head), element("tbody", *body), class_=class_ or "plain"
    )
    return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def figure(title: str, picture: Markup, words: str, key: Markup | None = None, class_: str = "") -> Markup:
    """Return a picture under its title, the key of its lines, and what it says in words."""
    named = {"class_": class_} if class_ else {}
    return element("figure", element("h3", title), key or Markup(), picture, element("figcaption", words), **named)


def section(name: str, title: str, *children: str) -> Markup:
    """Return a section that a link can lead to."""
    return element(
        "section", element("h2", title, id=f"{name}-title"), *children, id=name, aria_labelledby=f"{name}-title"
    )

"""Tests that every link in README and docs leads to an existing file and heading."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.contract.pages import PAGES, ROOT

_LINK: Final = re.compile(r"\]\((?!https?:)(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]*))?\)")
_FENCED: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_INDEX: Final = ROOT / "docs" / "README.md"


def links(page: Path) -> Iterator[tuple[Path, str | None]]:
    """Yield the path and the optional anchor of each relative link on a page."""
    for match in _LINK.finditer(_FENCED.sub("", page.read_text())):
        yield (page.parent / match["path"]).resolve() if match["path"] else page, match["anchor"]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the forge makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """A relative link names an existing file and a heading in it."""
    for path, anchor in links(page):
        assert path.exists(), path
        assert anchor is None or anchor in anchors(path), f"{path}#{anchor}"


def test_every_page_is_found_from_the_index() -> None:
    """Every page can be reached from the index."""
    found, open_ = {_INDEX}, [_INDEX]
    while open_:
        new = {path for path, _ in links(open_.pop()) if path.suffix == ".md" and path.exists()} - found
        found |= new
        open_ += new
    assert set(PAGES) <= found | {ROOT / "README.md"}


def test_an_anchor_is_made_as_the_forge_makes_it(tmp_path: Path) -> None:
    """A heading's anchor is its words in lower case, with dashes and without punctuation."""
    page = tmp_path / "page.md"
    page.write_text("# The `python -m export` command's help\n\n```sh\n# no heading\n```\n")
    assert anchors(page) == {"the-python--m-export-commands-help"}

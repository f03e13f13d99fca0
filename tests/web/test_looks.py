"""Accessibility and layout of the page, at each width and in both color schemes."""

from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.web.conftest import Visit
from tests.web.visitor import Visitor

WIDTHS: Final = {"phone": 390, "desktop": 1280}
RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(params=["light", "dark"])
def colour(request: pytest.FixtureRequest) -> str:
    """Return each color scheme in turn."""
    return str(request.param)


@pytest.fixture(params=WIDTHS)
def looked_at(visit: Visit, request: pytest.FixtureRequest, colour: str) -> Visitor:
    """Open the page at each width and in each color scheme."""
    return visit(viewport=ViewportSize(width=WIDTHS[request.param], height=844), color_scheme=colour, bypass_csp=True)


def violations(visitor: Visitor, axe: str) -> list[str]:
    """Return the violations that axe-core finds, each with its elements."""
    if not visitor.page.evaluate("'axe' in window"):
        visitor.page.add_script_tag(content=axe)
    found: list[dict[str, Any]] = visitor.page.evaluate(
        "tags => axe.run(document, { runOnly: tags }).then(({ violations }) => violations)", RULES
    )
    return [f"{each['id']}: {[node['html'] for node in each['nodes']]}" for each in found]


def is_too_wide(visitor: Visitor) -> bool:
    """Return whether the page scrolls horizontally."""
    wide: bool = visitor.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return wide


def test_nothing_is_in_the_way(looked_at: Visitor, axe: str, passengers_csv: Path) -> None:
    """With a prediction, open tables, a scored file or errors, axe-core finds no violation, and the page fits."""
    page = looked_at.page
    looked_at.settled()
    assert not violations(looked_at, axe)
    assert not is_too_wide(looked_at)
    page.get_by_text("age as numbers").click()
    page.get_by_role("tab", name="Python").click()
    page.get_by_label("Choose a CSV file, or drop one here").set_input_files(passengers_csv)
    expect(page.get_by_role("link", name="Download the scored file")).to_be_visible()
    page.get_by_text("Predictions as numbers").click()
    assert not violations(looked_at, axe)
    looked_at.type("age", "-3")
    expect(looked_at.field("age").locator(".error")).to_be_visible()
    page.evaluate("document.dispatchEvent(new CustomEvent('lifeboat-key-needed', { detail: { isWrong: true } }))")
    expect(page.get_by_label("API key")).to_be_visible()
    assert not violations(looked_at, axe)
    assert not is_too_wide(looked_at)


@pytest.mark.parametrize("model", ["small", "signs", "shades", "price_of_a_house"])
def test_other_models_look_right_too(visit: Visit, axe: str, model: str) -> None:
    """On a phone 320 pixels wide, the pages of other models have no violation and fit."""
    visitor = visit(f"/?model={model}", viewport=ViewportSize(width=320, height=640), bypass_csp=True)
    visitor.settled()
    assert not violations(visitor, axe)
    assert not is_too_wide(visitor)


def test_long_names_are_no_wider_than_a_phone(visit: Visit) -> None:
    """The API reference breaks names that are longer than a line, and links back to the web page."""
    visitor = visit("/api/docs", viewport=ViewportSize(width=320, height=640))
    summary = visitor.page.get_by_text("Predict price_of_a_house_in_euro_when_it_was_last_sold", exact=True)
    expect(summary.first).to_be_visible()
    assert not is_too_wide(visitor)
    visitor.page.get_by_role("link", name="web page").click()
    expect(visitor.verdict).to_be_visible()


def test_nothing_moves_for_who_wants_no_motion(visit: Visit) -> None:
    """If the user prefers reduced motion, no element has a transition."""
    visitor = visit(reduced_motion="reduce")
    visitor.settled()
    moving = (
        "[...document.querySelectorAll('*')].filter(each => getComputedStyle(each).transitionDuration !== '0s').length"
    )
    assert visitor.page.evaluate(moving) == 0


def test_the_focus_is_seen(visitor: Visitor) -> None:
    """Each element with keyboard focus has an outline, also the labels of hidden radio buttons."""
    seen = """() => {
      const it = document.activeElement;
      const shown = it.type === 'radio' ? it.nextElementSibling : it;
      return it.tagName + ' ' + getComputedStyle(shown).outlineStyle;
    }"""
    for _ in range(25):
        visitor.page.keyboard.press("Tab")
        name, style = visitor.page.evaluate(seen).split()
        if name == "BODY":
            break
        assert style != "none", name

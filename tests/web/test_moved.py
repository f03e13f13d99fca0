"""Feature contributions on the page."""

import re

import httpx
from playwright.sync_api import expect

from tests.passenger import PASSENGER
from tests.web.conftest import Visit
from tests.web.visitor import Visitor


def test_what_moved_the_answer(visitor: Visitor, site: httpx.Client) -> None:
    """The table shows the service's contributions from the average to the prediction, the largest first."""
    visitor.choose("sex", "male")
    told = site.post("/api/explain", json=PASSENGER | {"sex": "male"}).raise_for_status().json()
    rows = visitor.page.get_by_role("table", name="Feature contributions").locator("tr")
    largest = sorted(told["contributions"].items(), key=lambda each: -abs(each[1]))
    expect(rows.last).to_have_text(re.compile(rf"this prediction.*{told['probability']:.1%}".replace("%", r"\%")))
    expect(rows.first).to_contain_text(f"{told['base']:.1%}")
    shown = rows.all_inner_texts()[1:-1]
    assert [text.split()[0] for text in shown] == [name for name, _ in largest]
    for text, (name, share) in zip(shown, largest, strict=True):
        value = (PASSENGER | {"sex": "male"})[name]
        assert re.split(r"\s+", text)[:2] == [name, str(value)]
        assert f"{abs(share) * 100:.1f} points" in text
        assert ("−" in text) == (share < 0)  # noqa: RUF001 # the page shows a minus sign


def test_an_unknown_value_moves_it_too(visitor: Visitor) -> None:
    """A null value has a contribution, and is shown as unknown."""
    visitor.type("age", "")
    expect(visitor.page.get_by_role("row", name="age unknown")).to_be_visible()


def test_nothing_moved_what_was_refused(visitor: Visitor) -> None:
    """Contributions are hidden after a rejected request."""
    heading = visitor.page.get_by_role("heading", name="Feature contributions")
    expect(heading).to_be_visible()
    visitor.type("age", "-3")
    expect(heading).to_be_hidden()


def test_a_model_that_is_not_explained(visit: Visit) -> None:
    """For a model without a background sample, the page requests and shows no contributions."""
    visitor = visit("/?model=signs")
    visitor.settled()
    expect(visitor.page.get_by_role("heading", name="Feature contributions")).to_be_hidden()
    assert not [each for each in visitor.requests if "explain" in each]

"""The what-if curves, as charts and as tables."""

import re

import httpx
from playwright.sync_api import expect

from tests.passenger import PASSENGER
from tests.web.conftest import Visit
from tests.web.visitor import Visitor


def test_each_number_has_its_curve(visitor: Visitor, site: httpx.Client) -> None:
    """One request draws a curve for each numeric feature, and its table contains the service's predictions."""
    figures = visitor.page.locator("#curves-drawn figure")
    expect(figures.locator("figcaption")).to_have_text(["age", "sibsp", "parch", "fare"])
    assert len([each for each in visitor.requests if each.endswith("/predict")]) == 2
    figures.nth(1).get_by_text("sibsp as numbers").click()
    rows = figures.nth(1).locator("tbody tr")
    told = dict(zip(rows.locator("th").all_inner_texts(), rows.locator("td").all_inner_texts(), strict=True))
    assert list(told)[:3] == ["0", "1", "2"]
    records = [PASSENGER | {"sibsp": int(each)} for each in told]
    answers = site.post("/api/predict", json={"records": records}).json()["predictions"]
    assert list(told.values()) == [f"{each['probability']:.1%}" for each in answers]


def test_the_passengers_own_point_is_marked(visitor: Visitor) -> None:
    """The point of the current prediction follows the field, has a text alternative, and is absent for null."""
    drawn = visitor.page.locator("figure").first.get_by_role("img")
    expect(drawn).to_have_attribute("aria-label", re.compile(r"probability of survived by age.*now 29, 89\.9%"))
    before = drawn.locator("circle").get_attribute("cx")
    visitor.type("age", "0")
    expect(drawn).to_have_attribute("aria-label", re.compile("now 0, "))
    assert drawn.locator("circle").get_attribute("cx") != before
    visitor.type("age", "")
    expect(drawn).to_have_attribute("aria-label", re.compile("now unknown, "))
    expect(drawn.locator("circle")).to_have_count(0)


def test_the_curves_wait_until_the_typing_pauses(visitor: Visitor) -> None:
    """Typing requests predictions, and requests curves only after a pause."""
    visitor.requests.clear()
    visitor.page.clock.install()
    for typed in ("1", "12"):
        with visitor.page.expect_response("**/api/predict"):
            visitor.type("age", typed)
            visitor.page.clock.run_for(200)
    assert len([each for each in visitor.requests if each.endswith("/predict")]) == 2
    with visitor.page.expect_response(lambda each: "records" in (each.request.post_data or "")):
        visitor.page.clock.run_for(1_000)


def test_an_open_table_stays_open(visitor: Visitor) -> None:
    """A curve's open table stays open when the curve changes."""
    summary = visitor.page.get_by_text("fare as numbers")
    summary.click()
    with visitor.page.expect_response(lambda each: '"age":3,' in (each.request.post_data or "")):
        visitor.type("age", "3")
    drawn = visitor.page.locator("figure").first.get_by_role("img")
    expect(drawn).to_have_attribute("aria-label", re.compile("now 3, "))
    expect(visitor.page.locator("figure").last.locator("table")).to_be_visible()


def test_curves_of_other_kinds(visit: Visit) -> None:
    """The curves show the predicted class's probability for a multiclass model, and the value for a regression."""
    visitor = visit("/?model=signs")
    expect(visitor.page.locator("#curves-said")).to_contain_text(
        "The probability of above over the range of each number"
    )
    visitor.type("x", "-1")
    expect(visitor.page.locator("#curves-said")).to_contain_text(
        "The probability of below over the range of each number"
    )
    visitor = visit("/?model=small")
    expect(visitor.page.locator("#curves-said")).to_contain_text("The value over the range of each number")
    expect(visitor.page.locator("#curves-drawn figcaption")).to_have_text(
        ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "fp16", "fp32", "fp64"]
    )

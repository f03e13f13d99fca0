"""The form and its prediction."""

import contextlib
import json
import re
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Error, Route, expect

from tests.passenger import PASSENGER
from tests.web.conftest import Visit
from tests.web.visitor import Visitor, shown


def asked(site: httpx.Client, model: str = "titanic", **record: Any) -> dict[str, Any]:  # noqa: ANN401 # JSON values
    """Return the service's response to a record."""
    answer: dict[str, Any] = site.post(f"/api/models/{model}/predict", json=record).raise_for_status().json()
    return answer


def test_the_page_says_what_it_is_and_answers(visitor: Visitor, site: httpx.Client) -> None:
    """The page shows what the model predicts, and the prediction for the example without a click."""
    expect(visitor.page.get_by_role("heading", level=1)).to_contain_text("Predict Titanic passenger survival")
    expect(visitor.verdict).to_have_text(shown(asked(site, **PASSENGER)))
    expect(visitor.page.locator("#said")).to_have_text("survived, 89.9% likely")
    assert not visitor.refused


@pytest.mark.parametrize(("typed", "age"), [("0", 0), ("", None), ("71.5", 71.5), (".5", 0.5), ("007", 7)])
def test_what_is_typed_is_answered(visitor: Visitor, site: httpx.Client, typed: str, age: float | None) -> None:
    """Typing an age updates the prediction without a click: 0 is an age, an empty field is null."""
    visitor.choose("sex", "male")
    with visitor.page.expect_request(lambda each: f'"age":{json.dumps(age)}' in (each.post_data or "")):
        visitor.type("age", typed)
    expect(visitor.verdict).to_have_text(shown(asked(site, **PASSENGER | {"sex": "male", "age": age})))


def test_choices_are_answered(visitor: Visitor, site: httpx.Client) -> None:
    """Selecting a radio button updates the prediction, and a nullable feature has the choice `unknown`."""
    visitor.choose("pclass", "3")
    visitor.choose("sex", "male")
    visitor.choose("embarked", "unknown")
    expect(visitor.verdict).to_have_text(
        shown(asked(site, **PASSENGER | {"pclass": 3, "sex": "male", "embarked": None}))
    )
    visitor.page.get_by_role("button", name="Reset").click()
    expect(visitor.verdict).to_have_text(shown(asked(site, **PASSENGER)))


@pytest.mark.parametrize(
    ("name", "typed", "message"),
    [
        ("age", "-3", "age: expected a number from 0 to 120 or null; got -3"),
        ("age", "1e", "age: expected a number"),
        ("sibsp", "0.5", "sibsp: expected an integer of at least 0; got 0.5"),
        ("parch", "", "parch: expected an integer of at least 0"),
    ],
)
def test_a_mistake_is_told_beside_its_field(visitor: Visitor, name: str, typed: str, message: str) -> None:
    """A validation error is shown beside its field, is linked to the control, and disappears after a correction."""
    visitor.type(name, typed)
    told = visitor.field(name).locator(".error")
    expect(told).to_contain_text(message)
    control = visitor.page.get_by_label(name, exact=True)
    expect(control).to_have_attribute("aria-invalid", "true")
    assert told.get_attribute("id") in (control.get_attribute("aria-describedby") or "").split()
    expect(visitor.page.locator("#said")).to_contain_text(message)
    expect(visitor.verdict).to_have_count(0)
    visitor.type(name, "2")
    expect(told).to_be_hidden()
    expect(visitor.verdict).to_be_visible()
    expect(control).not_to_have_attribute("aria-invalid", "true")


def test_an_older_answer_never_takes_the_place_of_a_newer_one(visitor: Visitor, site: httpx.Client) -> None:
    """A late response for earlier values of the form does not replace the current prediction."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        if '"age":1,' in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    visitor.page.route("**/api/predict", hold)
    with visitor.page.expect_request(lambda each: '"age":1,' in (each.post_data or "")):
        visitor.type("age", "1")
    visitor.choose("sex", "male")
    visitor.type("age", "60")
    newest = shown(asked(site, **PASSENGER | {"sex": "male", "age": 60}))
    expect(visitor.verdict).to_have_text(newest)
    assert held
    for route in held:
        with contextlib.suppress(Error):  # the client has disconnected
            route.fulfill(json={"label": "stale", "probability": 1, "probabilities": {"stale": 1}})
    visitor.settled()
    expect(visitor.verdict).to_have_text(newest)


def test_the_keyboard_is_enough(visitor: Visitor, site: httpx.Client) -> None:
    """The keyboard alone can skip the header, select a radio button, edit a field and get a prediction."""
    keyboard = visitor.page.keyboard
    keyboard.press("Tab")
    expect(visitor.page.get_by_text("Skip to the form")).to_be_focused()
    keyboard.press("Enter")
    keyboard.press("Tab")
    expect(visitor.page.get_by_role("radio", name="1", exact=True)).to_be_focused()
    keyboard.press("ArrowRight")
    keyboard.press("Tab")
    keyboard.press("ArrowRight")
    keyboard.press("Tab")
    expect(visitor.page.get_by_label("age", exact=True)).to_be_focused()
    keyboard.press("ControlOrMeta+a")
    keyboard.type("8")
    expect(visitor.verdict).to_have_text(shown(asked(site, **PASSENGER | {"pclass": 2, "sex": "male", "age": 8})))


def test_the_form_works_without_scripts(visit: Visit, site: httpx.Client) -> None:
    """Without JavaScript the form submits a GET query, with empty fields, and the browser shows the JSON response."""
    visitor = visit(java_script_enabled=False)
    visitor.page.get_by_label("age", exact=True).fill("")
    visitor.page.locator("#f6-3").check(force=True)
    visitor.page.get_by_role("button", name="Predict").click()
    visitor.page.wait_for_url("**/api/predict?**")
    assert "age=&" in urlsplit(visitor.page.url).query
    told = json.loads(visitor.page.locator("body").inner_text())
    assert told == asked(site, **PASSENGER | {"age": None, "embarked": None})


def test_several_classes_and_a_regression(visit: Visit, site: httpx.Client) -> None:
    """Links lead to the pages of a multiclass model and a regression, which show their predictions."""
    visitor = visit()
    visitor.page.get_by_role("link", name="signs", exact=True).click()
    expect(visitor.verdict).to_have_text(shown(asked(site, "signs", x=1)))
    expect(visitor.page.locator(".shares dt")).to_have_text(small_classes(site))
    visitor.type("x", "-3")
    expect(visitor.verdict).to_have_text(shown(asked(site, "signs", x=-3)))
    visitor.page.get_by_role("link", name="small", exact=True).click()
    visitor.type("int64", "0")
    visitor.type("int32", "")
    value = asked(site, "small", **example(site) | {"int64": 0, "int32": None})["value"]
    expect(visitor.verdict).to_have_text(f"{value:,.0f}")
    assert not visitor.refused


def test_the_likeliest_of_many_classes_come_first(visit: Visit) -> None:
    """Six of twenty classes are shown, the most likely first; the list of the others stays open once opened."""
    visitor = visit("/?model=shades")
    shares = visitor.page.locator(".shares").first.locator("dt")
    expect(shares).to_have_count(6)
    expect(shares.first).to_contain_text("shade 1 ")
    expect(visitor.page.get_by_text("The model predicts one of 20 classes")).to_be_visible()
    visitor.page.get_by_text("14 less likely").click()
    visitor.type("x", "7")
    expect(shares.first).to_contain_text("shade 7 ")
    expect(visitor.page.locator(".shares").last).to_be_visible()


def test_a_large_value_and_none(visit: Visit) -> None:
    """A large value is shown with all integer digits, and a null prediction as `not a number`."""
    visitor = visit("/?model=price_of_a_house")
    visitor.type("x", "3")
    expect(visitor.verdict).to_have_text("496,920")
    visitor.type("x", "-1")
    expect(visitor.verdict).to_have_text("not a number")
    expect(visitor.page.locator("figure").get_by_role("img")).to_have_attribute(
        "aria-label", re.compile("now -1, not a number")
    )


def small_classes(site: httpx.Client) -> list[str]:
    """Return the classes of the multiclass model, in its order."""
    classes: list[str] = site.get("/api/models/signs").json()["classes"]
    return classes


def example(site: httpx.Client) -> dict[str, Any]:
    """Return the example record of the model with a feature of every datatype."""
    record: dict[str, Any] = site.get("/api/models/small").json()["example"]
    return record


def test_every_digit_of_an_integer_is_sent(visit: Visit) -> None:
    """An integer above the range of exact JavaScript numbers is sent with every digit."""
    visitor = visit("/?model=small")
    with visitor.page.expect_request(lambda each: '"uint64":9007199254740993' in (each.post_data or "")):
        visitor.type("uint64", "9007199254740993")


def test_a_page_of_an_older_version_is_renewed(visit: Visit, site: httpx.Client) -> None:
    """A page of another version than the served one, as from the edge, loads the current form from the service."""
    visitor = visit("/api/openapi.json")
    digest = site.get("/api/models/titanic").json()["sha256"]

    def older(route: Route) -> None:
        page = route.fetch()
        route.fulfill(
            response=page,
            body=page.text().replace(digest, "0" * 64).replace("Predict Titanic", "Older: predict Titanic"),
        )

    visitor.page.route("**/", older)
    visitor.page.goto(visitor.url + "/")
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text(
        "Predict Titanic passenger survival from data known at departure."
    )
    assert visitor.page.locator("main").get_attribute("data-sha256") == digest
    visitor.type("age", "0")
    expect(visitor.verdict).to_have_text(shown(asked(site, **PASSENGER | {"age": 0})))


def test_a_page_of_another_model_is_renewed(visit: Visit, site: httpx.Client) -> None:
    """A page of another model than the URL names, as from the edge, loads the named model's form from the service."""
    visitor = visit("/api/openapi.json")
    default = site.get("/").text
    visitor.page.route("**/?model=signs", lambda route: route.fulfill(response=route.fetch(), body=default))
    visitor.page.goto(visitor.url + "/?model=signs")
    expect(visitor.verdict).to_have_text(shown(asked(site, "signs", x=1)))
    expect(visitor.page.get_by_role("link", name="signs")).to_have_attribute("aria-current", "page")
    expect(visitor.page.get_by_role("link", name="titanic")).not_to_have_attribute("aria-current", "page")
    expect(visitor.page).to_have_title("signs: value · Lifeboat")


def test_a_key_is_asked_for_where_one_is_needed(visit: Visit, site: httpx.Client) -> None:
    """If the service requires an API key, the page requests it, sends it, and stores it only in sessionStorage."""
    visitor = visit("/api/openapi.json")
    refusal = json.dumps({"error": "a key is needed", "code": "unauthenticated"})

    def guard(route: Route) -> None:
        if route.request.headers.get("x-api-key") == "sesame":
            route.continue_()
        else:
            route.fulfill(status=401, content_type="application/json", body=refusal)

    visitor.page.route("**/api/**", guard)
    visitor.page.goto(visitor.url + "/")
    key = visitor.page.get_by_label("API key")
    for given in ("wrong", "sesame"):
        expect(key).to_be_visible()
        key.fill(given)
        key.press("Enter")
    expect(visitor.verdict).to_have_text(shown(asked(site, **PASSENGER)))
    expect(key).to_be_hidden()
    expect(visitor.page.get_by_label("curl call", exact=True)).to_contain_text("$LIFEBOAT_KEY")
    assert visitor.page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 1, ""]

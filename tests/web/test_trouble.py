"""The page with a slow network, an overloaded or unreachable service, or invalid values."""

import json
from typing import Any

from playwright.sync_api import Route, expect

from tests.web.visitor import Visitor


def _refused(route: Route, status: int, message: str, **headers: str) -> None:
    body = json.dumps({"error": message, "code": "unavailable"})
    route.fulfill(status=status, headers=headers, content_type="application/json", body=body)


def test_a_slow_answer_is_waited_for(visitor: Visitor) -> None:
    """While a response is slow, the page says that it waits, and marks the earlier prediction as outdated."""

    def hold(_: Route) -> None:
        """Send no response."""

    visitor.page.route("**/api/predict", hold)
    with visitor.page.expect_request("**/api/predict"):
        visitor.type("age", "3")
    expect(visitor.page.locator("#said")).to_have_text("Waiting for the prediction.")
    expect(visitor.page.locator("#answer.old")).to_have_count(1)
    visitor.page.unroute("**/api/predict", hold)  # releases the held request
    expect(visitor.page.locator("#said")).to_contain_text("likely")
    expect(visitor.page.locator("#answer.old")).to_have_count(0)


def test_a_busy_service_is_asked_again(visitor: Visitor) -> None:
    """After 503 the page retries when Retry-After has passed, and hides earlier results until then."""
    asked: list[Route] = []

    def busy(route: Route) -> None:
        asked.append(route)
        if len(asked) > 1:
            route.continue_()
        else:
            _refused(route, 503, "no instance is ready", **{"retry-after": "2"})

    visitor.page.route("**/api/predict", busy)
    visitor.type("age", "3")
    expect(visitor.page.locator(".refused")).to_have_text("no instance is ready")
    expect(visitor.page.locator("#answer")).to_contain_text("The request is retried automatically.")
    for part in ("#moved", "#curves"):
        expect(visitor.page.locator(part)).to_be_hidden()
    expect(visitor.verdict).to_be_visible()
    expect(visitor.page.locator("#curves")).to_be_visible()


def test_nobody_asks_again_where_nobody_looks(visitor: Visitor) -> None:
    """A background tab does not retry until it is visible."""
    page = visitor.page
    page.clock.install()
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true, writable: true })")
    page.route("**/api/predict", lambda route: _refused(route, 503, "no instance is ready", **{"retry-after": "2"}))
    with page.expect_response("**/api/predict"):
        visitor.type("age", "3")
        page.clock.run_for(200)
    expect(page.locator(".refused")).to_have_text("no instance is ready")
    page.unroute("**/api/predict")
    visitor.requests.clear()
    page.clock.run_for(10_000)
    assert not visitor.requests
    page.evaluate("document.hidden = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(visitor.verdict).to_be_visible()


def test_a_service_that_is_gone_is_tried_again(visitor: Visitor) -> None:
    """The button retries after a network error, and the keyboard focus stays in place."""
    visitor.page.route("**/api/predict", lambda route: route.abort())
    visitor.type("age", "3")
    expect(visitor.page.locator("#said")).to_have_text("No prediction. The service can\u2019t be reached.")
    again = visitor.page.get_by_role("button", name="Try again")
    again.press("Enter")
    expect(again).to_be_focused()
    visitor.page.unroute("**/api/predict")
    again.press("Enter")
    expect(visitor.verdict).to_be_visible()
    expect(visitor.page.locator("#answer")).to_be_focused()


def test_another_than_the_service_answers(visitor: Visitor) -> None:
    """The page reports an HTML response that is not from the service, for example of a captive portal."""
    visitor.page.route("**/api/predict", lambda route: route.fulfill(body="<h1>Welcome</h1>", content_type="text/html"))
    visitor.type("age", "3")
    expect(visitor.page.locator(".refused")).to_have_text("The response is not from this service.")


def test_another_version_answers_meanwhile(visitor: Visitor) -> None:
    """If a label moves while the page is open, the page says so, and links to the new version's page."""

    def moved(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('"version":"1"', '"version":"2"'))

    visitor.page.route("**/api/predict", moved)
    visitor.type("age", "3")
    expect(visitor.page.locator("#answer")).to_contain_text("from version 2; this page is for version 1")
    visitor.page.unroute("**/api/predict")
    visitor.page.get_by_role("link", name="Reload the page").click()
    expect(visitor.verdict).to_be_visible()
    expect(visitor.page.locator("#answer")).not_to_contain_text("This prediction is from")


def test_a_mistake_has_the_focus_once_it_is_sent(visitor: Visitor) -> None:
    """Predict moves the focus to the invalid field; typing does not."""
    visitor.type("age", "-3")
    expect(visitor.field("age").locator(".error")).to_be_visible()
    sibsp = visitor.page.get_by_label("sibsp", exact=True)
    sibsp.focus()
    visitor.type("sibsp", "1")
    expect(visitor.field("age").locator(".error")).to_be_visible()
    expect(sibsp).to_be_focused()
    visitor.page.get_by_role("button", name="Predict").click()
    expect(visitor.page.get_by_label("age", exact=True)).to_be_focused()


def test_what_is_dropped_elsewhere_is_not_opened(visitor: Visitor) -> None:
    """The browser does not open a file that is dropped outside the drop zone."""
    is_prevented: Any = visitor.page.evaluate(
        "!document.querySelector('footer').dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true }))"
    )
    assert is_prevented

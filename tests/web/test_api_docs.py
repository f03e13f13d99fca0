"""GET /api/docs: the API reference, with a form to try each operation."""

import json
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from server.web.page import DOCS as PAGE
from server.web.page import TYPES, WEB

DOCS: Final = "/api/docs"
PREDICT: Final = "#post_api_predict"
SIZES: Final = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 800}}
VIOLATIONS: Final = """() => axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) =>
  violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]))"""
OPEN_EACH_KIND: Final = """async () => {
  const first = [...document.querySelectorAll("main section")].map((section) => section.querySelector(".operation"));
  for (const operation of first) operation.open = true;
  await new Promise(requestAnimationFrame);
  for (const operation of first) {
    for (const inner of operation.querySelectorAll("details")) inner.open = true;
  }
}"""
"""Opens the first operation of each tag with all its details; an operation is rendered when it opens."""


@pytest.fixture
def context(browser: Browser, server: httpx.Client) -> Iterator[BrowserContext]:
    """Yield a browser context; fail on console messages, page errors and requests to other origins."""
    context = browser.new_context(base_url=str(server.base_url))
    complaints: list[str] = []
    context.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
    context.on("weberror", lambda failed: complaints.append(str(failed.error)))
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    yield context
    context.close()
    refusals = "Failed to load resource: the server responded with a status of 4"  # expected
    assert [each for each in complaints if not each.startswith(refusals)] == []
    assert asked
    assert [each for each in asked if not each.startswith((str(server.base_url), "data:", "blob:"))] == []


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """Return the page after it has loaded openapi.json."""
    page = context.new_page()
    page.goto(DOCS)
    page.locator(".operation").first.wait_for()
    return page


@pytest.fixture
def predict(page: Page) -> Locator:
    """Return the prediction operation, opened by a click."""
    operation = page.locator(PREDICT)
    operation.locator("> summary").click()
    return operation


def sent(operation: Locator) -> str:
    """Click Send, wait for the response and return its body."""
    operation.get_by_role("button", name="Send").click()
    body = operation.get_by_role("group", name="Response body")
    body.wait_for()
    return body.inner_text()


def test_every_operation_is_listed(page: Page, server: httpx.Client) -> None:
    """The page and its contents list each operation of the document with its method and path."""
    paths = server.get("/api/openapi.json").json()["paths"]
    expected = sorted(f"{method.upper()} {path}" for path, methods in paths.items() for method in methods)
    listed = [
        f"{each.locator('> summary .method').inner_text()} {each.locator('> summary code').inner_text()}"
        for each in page.locator(".operation").all()
    ]
    assert sorted(listed) == expected
    assert sorted(" ".join(text.split()) for text in page.locator("nav li").all_inner_texts()) == expected


def test_a_prediction_is_tried(predict: Locator, server: httpx.Client) -> None:
    """Send submits the example unchanged, and the page shows the response with its status and headers."""
    shown = json.loads(sent(predict))
    example = predict.get_by_label("body", exact=True).input_value()
    assert shown == server.post("/api/predict", json=json.loads(example)).json()
    expect(predict.get_by_role("status")).to_contain_text("200 OK")
    predict.get_by_text("Headers", exact=True).click()
    expect(predict.get_by_role("group", name="Response headers")).to_contain_text("content-type: application/json")


def test_what_is_edited_is_sent(predict: Locator, server: httpx.Client) -> None:
    """Another example can be selected and edited, and an edited large integer is sent with every digit."""
    predict.get_by_label("example fills the body").select_option("records")
    assert len(json.loads(sent(predict))["predictions"]) == 2
    predict.get_by_label("body", exact=True).fill('{"pclass":3,"sex":"male","sibsp":9223372036854775807,"parch":0}')
    expect(predict.get_by_role("group", name="curl")).to_contain_text('"sibsp":9223372036854775807')
    answer = server.post("/api/predict", json={"pclass": 3, "sex": "male", "sibsp": 2**63 - 1, "parch": 0}).json()
    predict.get_by_role("button", name="Send").click()
    expect(predict.get_by_role("group", name="Response body")).to_contain_text(str(answer["probability"]))


def test_an_error_is_shown(predict: Locator) -> None:
    """An error response is shown unchanged, with its status."""
    predict.get_by_label("body", exact=True).fill('{"pclass":9}')
    refused = json.loads(sent(predict))
    assert (refused["code"], refused["field"]) == ("invalid_argument", "pclass")
    expect(predict.get_by_role("status")).to_contain_text("400 Bad Request")


def test_a_browser_that_lets_no_page_copy(page: Page, predict: Locator) -> None:
    """If the browser does not allow copying, for example without TLS, the button says so."""
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    copy = predict.get_by_role("button", name="Copy")
    copy.click()
    expect(predict.get_by_role("button", name="Not copied: select the text")).to_be_visible()


def test_a_query_a_file_and_a_call_are_tried(page: Page) -> None:
    """The examples of queries, files, RPCs, infer requests and explanations get a successful response."""
    for name, expected in (
        ("get_api_predict", '"label": "survived"'),
        ("put_api_batch", "predicted_survived"),
        ("post_lifeboat_titanic_v1_TitanicService_Predict", '"label": "survived"'),
        ("post_v2_models_titanic_infer", '"model_name": "titanic"'),
        ("post_api_explain", '"contributions": {'),
    ):
        page.goto(f"{DOCS}#{name}")
        assert expected in sent(page.locator(f"#{name}")), name


def test_a_file_of_the_readers_is_tried(page: Page) -> None:
    """A chosen file is sent instead of the body."""
    page.goto(f"{DOCS}#post_api_batch")
    batch = page.locator("#post_api_batch")
    rows = b"pclass,sex,sibsp,parch\n3,male,0,0\n"
    batch.get_by_label("file").set_input_files({"name": "rows.csv", "mimeType": "text/csv", "buffer": rows})
    expect(batch.get_by_role("group", name="curl")).to_contain_text("@rows.csv")
    assert sent(batch).splitlines()[1].startswith("3,male,0,0,died,")


def test_a_request_is_canceled(predict: Locator, page: Page) -> None:
    """A pending request can be canceled and sent again."""
    page.route("**/api/predict", lambda _: None)
    predict.get_by_role("button", name="Send").click()
    expect(predict.get_by_role("button", name="Send")).to_be_disabled()
    predict.get_by_role("button", name="Cancel").click()
    expect(predict.get_by_role("status")).to_have_text("Canceled")
    page.unroute("**/api/predict")
    assert json.loads(sent(predict))["model"] == "titanic"


def test_keys_are_sent_and_not_shown(page: Page) -> None:
    """Model control gets the token and every request the API key; the curl command contains neither."""
    seen: list[dict[str, Any]] = []
    page.on("request", lambda request: seen.append(request.headers))
    page.get_by_text("Keys", exact=True).click()
    page.get_by_label("API key").fill("key-1")
    page.get_by_label("Operator's token").fill("token-1")
    for name in ("post_v2_repository_models_titanic_load", "post_api_predict"):
        page.evaluate("(name) => { location.hash = name; }", name)
        operation = page.locator(f"#{name}")
        sent(operation)
        assert seen[-1]["x-api-key"] == "key-1"
        assert ("authorization" in seen[-1]) == ("load" in name)
        curl = operation.get_by_role("group", name="curl").inner_text()
        assert "$API_KEY" in curl
        assert "-1" not in curl


def test_the_operations_are_filtered(page: Page) -> None:
    """The filter shows only operations whose path or summary contains the text."""
    page.get_by_label("Filter").fill("service.proto")
    expect(page.locator(".operation:visible")).to_have_count(1)
    expect(page.locator("nav li:visible")).to_have_count(1)
    page.get_by_label("Filter").fill("")
    assert page.locator(".operation:visible").count() > 50


def test_by_keyboard_alone(page: Page) -> None:
    """The keyboard alone can open an operation, send it and reach the response."""
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the operations")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("#get_api_predict > summary")).to_be_focused()
    page.keyboard.press("Enter")
    operation = page.locator("#get_api_predict")
    send = operation.get_by_role("button", name="Send")
    for _ in range(30):
        if send.evaluate("(button) => button === document.activeElement"):
            break
        page.keyboard.press("Tab")
    expect(send).to_be_focused()
    page.keyboard.press("Enter")
    expect(operation.get_by_role("status")).to_contain_text("200 OK")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_in_the_way(page: Page, axe: str, size: str, scheme: Any) -> None:  # noqa: ANN401 # a literal
    """With an operation of each tag open, axe-core finds no violation, and nothing is wider than the window."""
    page.set_viewport_size(SIZES[size])  # type: ignore[arg-type] # it is a ViewportSize
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{DOCS}{PREDICT}")
    sent(page.locator(PREDICT))
    page.evaluate(OPEN_EACH_KIND)
    expect(page.locator(".operation:has(.response)")).to_have_count(9)
    page.context.new_cdp_session(page).send("Runtime.evaluate", {"expression": f"{axe};0"})
    assert page.evaluate(VIOLATIONS) == []
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size]["width"]


def test_a_key_is_asked_for_where_one_is_needed(context: BrowserContext) -> None:
    """If openapi.json requires an API key, the page requests the key and loads the document with it."""

    def guard(route: Route) -> None:
        if route.request.headers.get("x-api-key") == "sesame":
            route.continue_()
        else:
            route.fulfill(status=401, json={"error": "a key is needed", "code": "unauthenticated"})

    page = context.new_page()
    page.route("**/api/openapi.json", guard)
    page.goto(DOCS)
    key = page.get_by_label("API key")
    for given in ("wrong", "sesame"):
        expect(key).to_be_visible()
        expect(page.locator("#state")).to_contain_text("requires an API key")
        key.fill(given)
        key.press("Tab")
    page.locator(".operation").first.wait_for()


def test_the_files_are_kept_and_locked(server: httpx.Client) -> None:
    """Each file has its media type, a strict content security policy, and an ETag that gets 304."""
    files = {f"/web/{path.name}": TYPES.get(path.suffix) for path in WEB.glob("docs*") if path.name != PAGE}
    assert len(files) > 1
    for path, media_type in ({DOCS: "text/html"} | files).items():
        answer = server.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, f"{media_type}; charset=utf-8")
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; ")
        assert "unsafe" not in policy
        again = server.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    for name in ("docs.html", "style.css", "../server/app.py", "..%2fapp.py", "docs.js/"):
        assert server.get(f"{DOCS}/{name}").status_code == 404
    assert server.get(f"/web/{PAGE}").status_code == 404

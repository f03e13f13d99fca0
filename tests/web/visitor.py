"""One tab of a real browser, which records its console messages, requests and error responses."""

from typing import Any, Final
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request, Response, expect

WAIT_MS: Final = 10_000
"""Timeout of Playwright's actions and expectations."""
_NOT_FETCHED: Final = "Failed to load resource"
"""Prefix of the console's messages about error responses; `refused` records these by status instead."""
_BLOCKED: Final = "csp"
"""Failure of a script's request when scripts are off; the console reports violations of the page's own policy."""
_CHANGED: Final = "ERR_NETWORK_CHANGED"
"""Failure of requests when the machine gets or loses a network interface, for example when containers start."""

expect.set_options(timeout=WAIT_MS)


class Visitor:
    """A page of the service, and the actions of its user."""

    def __init__(self, context: BrowserContext, url: str, path: str = "/") -> None:
        """Open the page."""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.refused: list[tuple[str, int]] = []
        self.url = url
        context.set_default_timeout(WAIT_MS)
        self.page: Page = context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)
        self.page.goto(url + path)
        if any(_CHANGED in each for each in self.complaints):
            self.complaints.clear()
            self.page.reload()

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(_NOT_FETCHED):
            self.complaints.append(message.text)

    def _asked(self, request: Request) -> None:
        self.requests.append(f"{request.method} {request.url}")

    def _failed(self, request: Request) -> None:
        if request.resource_type in {"script", "stylesheet"} and request.failure != _BLOCKED:
            self.complaints.append(f"{request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.refused.append((urlsplit(response.url).path, response.status))

    @property
    def verdict(self) -> Locator:
        """The prediction, in large letters."""
        return self.page.locator(".verdict")

    def field(self, name: str) -> Locator:
        """Return a feature's field: its label, its control and its messages."""
        return self.page.locator(f'[data-feature="{name}"]')

    def type(self, name: str, text: str) -> None:
        """Replace a field's value, key by key."""
        control = self.page.get_by_label(name, exact=True)
        control.press("ControlOrMeta+a")
        if text:
            control.press_sequentially(text)
        else:
            control.press("Delete")

    def choose(self, name: str, value: str) -> None:
        """Select a radio button."""
        self.field(name).get_by_role("radio", name=value, exact=True).check()

    def settled(self) -> None:
        """Wait for the prediction and the curves, which come last."""
        expect(self.verdict).to_be_visible()
        expect(self.page.locator("#curves-drawn figure").first).to_be_visible()

    def strangers(self) -> list[str]:
        """Return the requests to other origins than the service."""
        return [each for each in self.requests if not each.partition(" ")[2].startswith((self.url, "blob:", "data:"))]


def shown(answer: dict[str, Any]) -> str:
    """Return the text in large letters for a classifier's response."""
    return f"{answer['label']} {answer['probabilities'][answer['label']]:.1%}"

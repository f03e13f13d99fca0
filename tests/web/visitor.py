"""A visitor of the page: one tab of a real browser, which keeps what a person would not see."""

from typing import Any, Final
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request, Response, expect

WAIT_MS: Final = 10_000
"""After this what is waited for in vain fails."""
_NOT_FETCHED: Final = "Failed to load resource"
"""How the browser's console begins to tell of a rejection, which is looked at by its status instead."""
_BLOCKED: Final = "csp"
"""Why a script isn't fetched where scripts are off; what the page's own policy forbids, the console tells."""
_CHANGED: Final = "ERR_NETWORK_CHANGED"
"""What the browser ends its requests with where the machine gets or loses an interface, as when containers start."""

expect.set_options(timeout=WAIT_MS)


class Visitor:
    """A page of the service, as somebody uses it."""

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
        """The answer, in large letters."""
        return self.page.locator(".verdict")

    def field(self, name: str) -> Locator:
        """Return a feature's field: its label, its control and what is told beside it."""
        return self.page.locator(f'[data-feature="{name}"]')

    def type(self, name: str, text: str) -> None:
        """Type a value in the place of the one that is there, key by key."""
        control = self.page.get_by_label(name, exact=True)
        control.press("ControlOrMeta+a")
        if text:
            control.press_sequentially(text)
        else:
            control.press("Delete")

    def choose(self, name: str, value: str) -> None:
        """Choose one of a few values."""
        self.field(name).get_by_role("radio", name=value, exact=True).check()

    def settled(self) -> None:
        """Wait until everything that follows an answer is there, curves last of all."""
        expect(self.verdict).to_be_visible()
        expect(self.page.locator("#curves-drawn figure").first).to_be_visible()

    def strangers(self) -> list[str]:
        """Return the requests that went anywhere else than to the service."""
        return [each for each in self.requests if not each.partition(" ")[2].startswith((self.url, "blob:", "data:"))]


def shown(answer: dict[str, Any]) -> str:
    """Return what the page says in large letters of an answer of a classifier."""
    return f"{answer['label']} {answer['probabilities'][answer['label']]:.1%}"

"""Fixtures: a browser, and a server with models of every kind."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.server.support import every, small
from tests.server.support.process import ROOT, serving
from tests.web.visitor import Visitor

Visit = Callable[..., Visitor]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Serve models of every kind, by HTTP and gRPC.

    The models: Titanic, two with few and with many classes, regressions of prices and of every datatype.
    """
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "models", folder, dirs_exist_ok=True)
    small.signs(folder, name="signs")
    small.shades(folder)
    small.price(folder)
    every.load(folder)
    with serving(LIFEBOAT_MODELS=str(folder), LIFEBOAT_DEFAULT_MODEL="titanic", LIFEBOAT_HTTP2="1") as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run Debian's Chromium.

    The scope is not the session: while Playwright runs, its event loop occupies this thread, and no other test can run
    an event loop.
    """
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is missing (Debian: chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the source of axe-core."""
    path = ROOT / "node_modules" / "axe-core" / "axe.min.js"
    if not path.exists():
        pytest.skip("axe-core is not installed; `make test` does it")
    return path.read_text()


@pytest.fixture
def visit(browser: Browser, site: httpx.Client) -> Iterator[Visit]:
    """Yield a function that opens the page in a new profile; fail on console errors and requests to other origins."""
    visitors: list[Visitor] = []

    def opened(path: str = "/", **options: Any) -> Visitor:  # noqa: ANN401 # Playwright's own options
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        visitors.append(Visitor(context, str(site.base_url).rstrip("/"), path))
        return visitors[-1]

    yield opened
    for visitor in visitors:
        visitor.page.context.close()
        assert not visitor.complaints
        assert not visitor.strangers()


@pytest.fixture
def visitor(visit: Visit) -> Visitor:
    """Open the page of the default model, and wait until it is complete."""
    visitor = visit()
    visitor.settled()
    return visitor


@pytest.fixture(scope="session")
def passengers_csv() -> Path:
    """Return the path of the CSV file of all passengers."""
    return ROOT / "export" / "data" / "titanic.csv"

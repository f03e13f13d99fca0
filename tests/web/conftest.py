"""A browser, and a server of models of every kind that it visits."""

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
    """Serve Titanic's model, two of few and of many classes, regressions of every datatype and of prices; gRPC too."""
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

    Not for the session: as long as Playwright runs its event loop is this thread's, and no other test can run one.
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
    """Return axe-core's script."""
    path = ROOT / "node_modules" / "axe-core" / "axe.min.js"
    if not path.exists():
        pytest.skip("axe-core is not installed; `make test` does it")
    return path.read_text()


@pytest.fixture
def visit(browser: Browser, site: httpx.Client) -> Iterator[Visit]:
    """Return what opens the page in a fresh profile; afterwards nothing may have gone wrong where nobody looks."""
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
    """Open the page of the default model, and wait until all of it is there."""
    visitor = visit()
    visitor.settled()
    return visitor


@pytest.fixture(scope="session")
def passengers_csv() -> Path:
    """Return the file of all passengers."""
    return ROOT / "export" / "data" / "titanic.csv"

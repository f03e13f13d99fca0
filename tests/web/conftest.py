"""What tests of pages use: a browser that nobody here wrote, and the rules of accessibility that it is held to."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, sync_playwright

AXE: Final = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield Debian's Chromium, without a window.

    Not for the session: as long as Playwright runs its event loop is this thread's, and no other test can run one.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium here; apt-get install chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])


@pytest.fixture(scope="session")
def axe() -> str:
    """Return axe-core's script."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed; `make test` does it")
    return AXE.read_text()

"""Write docs/page.png, the screenshot in README.md: `python -m tests.web.picture`."""

import io
import shutil
from typing import Final

from PIL import Image
from playwright.sync_api import ViewportSize, sync_playwright

from tests.server.support.process import ROOT, serving
from tests.web.visitor import Visitor

PICTURE: Final = ROOT / "docs" / "page.png"
SIZE: Final = ViewportSize(width=1280, height=1200)


def main() -> None:
    """Open the page of the model in `models/`, and save a screenshot with a reduced palette."""
    with serving() as service, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
        visitor = Visitor(context, str(service.base_url).rstrip("/"))
        visitor.settled()
        visitor.page.locator("#moved table").wait_for()
        visitor.page.evaluate("document.activeElement.blur()")
        taken = Image.open(io.BytesIO(visitor.page.screenshot()))
        few = taken.convert("RGB").quantize(200, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(PICTURE, optimize=True)
        browser.close()


if __name__ == "__main__":
    main()

"""The example code on the page, copied with its button and executed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import expect

from tests.passenger import PASSENGER
from tests.server.support.process import HUNG_S, ROOT
from tests.web.conftest import Visit
from tests.web.visitor import Visitor

GRPCURL: Final = ROOT / ".build" / "go" / "grpcurl"
QUOTED: Final = 'it\'s "so" $HOME \\ `x`'


@pytest.fixture
def copying(visit: Visit) -> Visitor:
    """Open the page with clipboard access, for a passenger with unknown age and port."""
    visitor = visit(permissions=["clipboard-read", "clipboard-write"])
    visitor.settled()
    visitor.type("age", "")
    visitor.choose("embarked", "unknown")
    return visitor


def copied(visitor: Visitor, language: str) -> str:
    """Select a language, click Copy, and return the clipboard's text."""
    visitor.page.get_by_role("tab", name=language, exact=True).click()
    panel = visitor.page.get_by_role("tabpanel", name=language, exact=True)
    panel.get_by_role("button", name="Copy").click()
    expect(panel.get_by_role("status")).to_have_text("Copied.")
    text: str = visitor.page.evaluate("navigator.clipboard.readText()")
    return text


def run(*command: str) -> str:
    """Run a command that must succeed, and return its output."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=HUNG_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wanted(site: httpx.Client) -> dict[str, Any]:
    """Return the service's response for the passenger of `copying`."""
    answer: dict[str, Any] = site.post("/api/predict", json=PASSENGER | {"age": None, "embarked": None}).json()
    return answer


def test_curl(copying: Visitor, site: httpx.Client) -> None:
    """The curl command gets the same response as a direct request."""
    if shutil.which("curl") is None:
        pytest.skip("curl is missing (Debian: curl)")
    assert json.loads(run("sh", "-c", copied(copying, "curl"))) == wanted(site)


def test_a_file_by_curl(visitor: Visitor, site: httpx.Client, tmp_path: Path) -> None:
    """The curl command for files scores a file in the current folder."""
    if shutil.which("curl") is None:
        pytest.skip("curl is missing (Debian: curl)")
    text = "pclass,sex,sibsp,parch\n1,female,0,0\n"
    (tmp_path / "file.csv").write_text(text)
    line = visitor.page.locator("#snippets code", has_text="file.csv").inner_text()
    subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True, timeout=HUNG_S)
    expected = site.put("/api/batch", content=text, headers={"content-type": "text/csv"})
    assert (tmp_path / "scored.csv").read_bytes() == expected.content
    expect(visitor.page.locator("#snippets")).to_contain_text(f"{visitor.url}/api/explain accepts the same record")


def test_python(copying: Visitor, site: httpx.Client, tmp_path: Path) -> None:
    """The Python code gets the same response with the standard library only."""
    script = tmp_path / "call.py"
    script.write_text(copied(copying, "Python"))
    assert run(sys.executable, "-I", str(script)).strip() == str(wanted(site))


def test_typescript(copying: Visitor, site: httpx.Client, tmp_path: Path) -> None:
    """The TypeScript code gets the same response and passes the strict type check."""
    script = tmp_path / "call.mts"
    script.write_text(copied(copying, "TypeScript"))
    node = ("scripts/node", "node", "--experimental-strip-types", "--no-warnings")
    assert json.loads(run(*node, str(script))) == wanted(site)
    strict = ("--noEmit", "--strict", "--target", "es2024", "--module", "esnext", "--lib", "es2024,dom", "--types", "")
    run("scripts/node", "npx", "tsc", "--ignoreConfig", *strict, str(script))


def test_grpcurl(copying: Visitor, site: httpx.Client) -> None:
    """The grpcurl command gets the same response from the typed service."""
    if not GRPCURL.exists():
        pytest.skip("grpcurl is not installed; `make test` builds it where there is a go")
    command = copied(copying, "grpcurl")
    assert json.loads(run("sh", "-c", f'PATH="{GRPCURL.parent}:$PATH"; {command}')) == wanted(site)


def test_what_needs_quotes_is_quoted(visit: Visit, site: httpx.Client, tmp_path: Path) -> None:
    """Each language preserves quotes, dollar signs, backslashes and integers that a double cannot hold."""
    visitor = visit("/?model=small", permissions=["clipboard-read", "clipboard-write"])
    visitor.type("bytes", QUOTED)
    visitor.type("int64", "9007199254740993")
    shown = visitor.page.get_by_label("curl call", exact=True)
    expect(shown).to_contain_text("9007199254740993")
    record = site.get("/api/models/small").json()["example"] | {"bytes": QUOTED, "int64": 2**53 + 1}
    answer = site.post("/api/models/small/predict", json=record).raise_for_status().json()
    assert json.loads(run("sh", "-c", copied(visitor, "curl"))) == answer
    script = tmp_path / "call.py"
    script.write_text(copied(visitor, "Python"))
    assert run(sys.executable, "-I", str(script)).strip() == str(answer)
    script = tmp_path / "call.mts"
    script.write_text(copied(visitor, "TypeScript"))
    assert '\\"int64\\":9007199254740993,' in script.read_text()  # in a string, because no JavaScript number holds it
    assert json.loads(run("scripts/node", "node", "--experimental-strip-types", "--no-warnings", str(script))) == answer
    assert urlsplit(visitor.url).netloc in copied(visitor, "grpcurl")


def test_tabs_are_moved_among_by_arrows(visitor: Visitor) -> None:
    """Arrow keys select a language and wrap around; the Tab key moves to the code."""
    page = visitor.page
    page.get_by_role("tab", name="curl", exact=True).focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="grpcurl")).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tabpanel")).to_contain_text("urlopen")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Python call")).to_be_focused()

"""What README and docs show is what happens."""

import re
import shlex
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Final

import httpx
import pytest

from bench.report import replaced, tables
from bench.results import read as read_results
from server.errors import CODES
from server.manifest import read
from server.settings import Settings, variable

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_SHOWN = re.compile(r"```sh\n(?P<call>curl -s '?127\.0\.0\.1:8080[^\n]*)\n```\n\n```json\n(?P<answer>[^\n]*)\n```")
SHOWN: Final = [
    (page.name, match["call"], match["answer"]) for page in PAGES for match in _SHOWN.finditer(page.read_text())
]


_PIPED = re.compile(
    r"```sh\n(?P<command>printf [^\n]* \| curl [^\n]*)\n```\n\n```(?:csv|json)\n(?P<answer>.*?)\n```", re.DOTALL
)
PIPED: Final = [
    (page.name, match["command"], match["answer"]) for page in PAGES for match in _PIPED.finditer(page.read_text())
]


def test_pages_show_files() -> None:
    """The page on files shows some with their answers."""
    assert len([page for page, _, _ in PIPED if page == "batch.md"]) >= 3


@pytest.mark.parametrize(("page", "command", "answer"), PIPED)
def test_a_shown_file_has_the_shown_answer(server: httpx.Client, page: str, command: str, answer: str) -> None:
    """What a page pipes into curl is answered to the letter as the page says."""
    if shutil.which("curl") is None:
        pytest.skip("curl is missing (Debian: curl)")
    here = command.replace("http://127.0.0.1:8080", str(server.base_url).rstrip("/"))
    done = subprocess.run(["sh", "-c", here], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip("\n") == answer, page


def test_pages_show_calls() -> None:
    """README and the page on the interfaces show calls with their answers: the test below has something to run."""
    assert {"README.md", "api.md", "rpc.md"} <= {page for page, _, _ in SHOWN}


@pytest.mark.parametrize(("page", "call", "answer"), SHOWN)
def test_a_shown_call_has_the_shown_answer(server: httpx.Client, page: str, call: str, answer: str) -> None:
    """A curl call that a page shows is answered to the letter as the page says."""
    _, _, address, *options = shlex.split(call)
    path = address.removeprefix("127.0.0.1:8080")
    given = dict(zip(options[::2], options[1::2], strict=True))
    name, _, value = given.get("-H", "content-type: application/x-www-form-urlencoded").partition(": ")
    body = given.get("-d")
    response = server.request("POST" if body else "GET", path, content=body, headers={name: value})
    assert response.text == answer, page


def test_every_setting_is_documented() -> None:
    """The page on settings names every environment variable, with its default."""
    page = (ROOT / "docs" / "settings.md").read_text()
    defaults = Settings()
    for field in fields(Settings):
        default = getattr(defaults, field.name)
        shown = f"`{int(default) if isinstance(default, bool) else default}`" if str(default) else ""
        assert f"| `{variable(field.name)}` | {shown} |".replace("  ", " ") in page


def test_every_error_is_documented() -> None:
    """The table of errors has every code, with its HTTP and gRPC status."""
    page = (ROOT / "docs" / "api.md").read_text()
    for code, status in CODES.items():
        assert f"| `{code}` | {status.http} | {status.grpc} |" in page


def test_every_worker_variable_is_documented() -> None:
    """The page on settings names every variable of wrangler.toml, with its default."""
    page = (ROOT / "docs" / "settings.md").read_text()
    section = (ROOT / "wrangler.toml").read_text().partition("[vars]\n")[2].partition("\n[[")[0]
    variables = re.findall(r"^(\w+) = (.+)$", section, re.MULTILINE)
    assert variables
    for name, default in variables:
        assert f"| `{name}` | `{default}` |" in page


def test_the_readme_states_the_published_scores() -> None:
    """The scores in the README are those of the published model's manifest."""
    page = (ROOT / "README.md").read_text()
    metrics = read(ROOT / "models" / "titanic" / "1" / "manifest.json").metrics
    assert metrics is not None
    for once, mean, spread in (
        (metrics.held_out, metrics.over_seeds.mean, metrics.over_seeds.deviation),
        (metrics.baseline, metrics.baseline_over_seeds.mean, metrics.baseline_over_seeds.deviation),
    ):
        accuracy = f"accuracy {mean['accuracy']:.3f} ± {spread['accuracy']:.3f}"
        area = f"ROC AUC {mean['roc_auc']:.3f} ± {spread['roc_auc']:.3f}"
        assert f"| accuracy {once['accuracy']:.3f}, ROC AUC {once['roc_auc']:.3f} | {accuracy}, {area} |" in page


def test_every_make_target_is_in_the_readme() -> None:
    """The README names every target that `make help` lists."""
    page = (ROOT / "README.md").read_text()
    for target in re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE):
        assert f"make {target}" in page or f"`{target}`" in page


def test_the_speed_shown_is_the_speed_measured() -> None:
    """README's table and the page on cost are what the results file of the last `make bench` says."""
    results = read_results()
    for path, name, text in tables(results):
        assert replaced(path.read_text(), name, text) == path.read_text()

"""Tests of facts in README and docs. test_snippets.py runs their commands."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Final

from bench.report import replaced, tables
from bench.results import read as read_results
from server.errors import CODES
from server.models.manifest import read
from server.settings import Settings, variable

ROOT: Final = Path(__file__).parents[2]


def test_every_setting_is_documented() -> None:
    """The page on settings has every environment variable with its default."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    defaults = Settings()
    for field in fields(Settings):
        default = getattr(defaults, field.name)
        shown = f"`{int(default) if isinstance(default, bool) else default}`" if str(default) else ""
        assert f"| `{variable(field.name)}` | {shown} |".replace("  ", " ") in page


def test_every_error_is_documented() -> None:
    """The table of errors has every code with its HTTP and gRPC status."""
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    for code, status in CODES.items():
        assert f"| `{code}` | {status.http} | {status.grpc} |" in page


def test_every_worker_variable_is_documented() -> None:
    """The page on settings has every variable of wrangler.toml with its default."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    section = (ROOT / "wrangler.toml").read_text().partition("[vars]\n")[2].partition("\n[[")[0]
    variables = re.findall(r"^(\w+) = (.+)$", section, re.MULTILINE)
    assert variables
    for name, default in variables:
        assert f"| `{name}` | `{default}` |" in page


def test_the_readme_states_the_published_scores() -> None:
    """The README's scores are those in the published model's manifest."""
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
    """The README names every target of `make help`."""
    page = (ROOT / "README.md").read_text()
    for target in re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE):
        assert f"make {target}" in page or f"`{target}`" in page


def test_the_speed_shown_is_the_speed_measured() -> None:
    """The README's table and the page on cost match the results file of the last `make bench`."""
    results = read_results()
    for path, name, text in tables(results):
        assert replaced(path.read_text(), name, text) == path.read_text()

"""Tests of the deployed Prometheus rules and Grafana dashboard with a real Prometheus."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.contract.busy import busy
from tests.contract.metrics_page import unknown
from tests.contract.prometheus import DEPLOY, Prometheus, program, scraping
from tests.server.support.process import ROOT

DASHBOARD: Final[dict[str, Any]] = json.loads((DEPLOY / "grafana" / "lifeboat.json").read_text())
QUERIES: Final = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
VARIABLES: Final = {"$__rate_interval": "1m", "$instance": ".*", "$model": ".*", "$of": "requests"}
ALERTS: Final = (DEPLOY / "prometheus" / "alerts.yml").read_text()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, passengers: list[dict[str, Any]]) -> Iterator[Prometheus]:
    """Yield a Prometheus that has scraped a server with samples of every metric."""
    program("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    with busy(folder, passengers) as server, scraping(server, folder) as started:
        started.until(
            lambda: bool(started.query("count_over_time(lifeboat_build_info[1m]) >= 3")), "the server isn't scraped"
        )
        yield started


@pytest.mark.parametrize(
    "arguments",
    [["check", "config", "deploy/prometheus/prometheus.yml"], ["test", "rules", "deploy/prometheus/alerts.test.yml"]],
    ids=["configuration", "rules"],
)
def test_promtool(arguments: list[str]) -> None:
    """Configuration and rules are valid, and each rule fires exactly when it should."""
    done = subprocess.run([program("promtool"), *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_is_tested_and_documented() -> None:
    """Each alert has a unit test that fires it, a documented row, and existing metrics."""
    names = re.findall(r"- alert: (\w+)", ALERTS)
    tests = (DEPLOY / "prometheus" / "alerts.test.yml").read_text()
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    assert len(names) >= 8
    for name in names:
        assert re.search(rf"- alertname: {name}\n", tests), name
    assert re.findall(r"^\| `(Lifeboat\w+)` \|", page, re.MULTILINE) == names
    assert not unknown(ALERTS)


def test_the_rules_are_loaded(prometheus: Prometheus) -> None:
    """Prometheus evaluates every rule without an error, and reports the server's broken model folder."""
    names = re.findall(r"- alert: (\w+)", ALERTS)
    prometheus.until(lambda: {rule["health"] for rule in prometheus.rules()} == {"ok"}, "a rule fails")
    assert [rule["name"] for rule in prometheus.rules()] == names
    prometheus.until(lambda: bool(prometheus.query("ALERTS")), "no alert is pending")
    pending = {each["metric"]["alertname"] for each in prometheus.query("ALERTS")}
    assert pending == {"LifeboatModelFault"}  # no other alert, since another version serves requests


@pytest.mark.parametrize("expression", QUERIES)
def test_a_panel_has_something_to_show(prometheus: Prometheus, expression: str) -> None:
    """Each query of the dashboard uses existing metrics and has samples."""
    assert not unknown(expression)
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    assert prometheus.query(expression)


def test_the_dashboard_is_one() -> None:
    """Panels have unique ids, don't overlap, and query the selected data source."""
    panels = DASHBOARD["panels"]
    numbers = [panel["id"] for panel in panels]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["title"]
        assert panel["description"]
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(panels)))
    assert used <= variables
    for each in DASHBOARD["templating"]["list"]:
        assert not unknown(str(each["query"]))
    assert not unknown(DASHBOARD["annotations"]["list"][0]["expr"])

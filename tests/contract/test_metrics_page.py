"""The page on metrics names every metric that there is, and no other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.server.process import ROOT, serving
from tests.server.repositories import TOKEN, load

PAGE: Final = ROOT / "docs" / "metrics.md"
_ROW: Final = re.compile(r"^\| `((?:nv|lifeboat|process)_\w+)` \| (\w+) \|([\w, ]*)\|", re.MULTILINE)


class Told(NamedTuple):
    """A metric, as a page or a server has it."""

    kind: str
    labels: frozenset[str]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory, passengers: list[dict[str, Any]]) -> Iterator[dict[str, Told]]:
    """Yield every metric of a server that did some of everything."""
    models = _copy(tmp_path_factory.mktemp("metrics") / "models")
    with serving(LIFEBOAT_MODELS=str(models), LIFEBOAT_ADMIN_TOKEN=TOKEN) as client:
        for start in range(0, 1000, 250):
            assert client.post("/api/predict", json={"records": passengers[start : start + 250]}).status_code == 200
        assert client.post("/api/predict", json={}).status_code == 400
        file = (ROOT / "export" / "data" / "titanic.csv").read_bytes()
        assert client.put("/api/batch?columns=pclass", content=file).status_code == 200
        (models / "titanic" / "2").mkdir()
        (models / "titanic" / "2" / "manifest.json").write_text("{")
        load(client, "titanic")
        yield _metrics(client)


def _copy(models: Path) -> Path:
    for path in (ROOT / "models").rglob("*"):
        if path.is_file():
            to = models / path.relative_to(ROOT / "models")
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(path.read_bytes())
    return models


def _metrics(client: httpx.Client) -> dict[str, Told]:
    text = client.get("/metrics").text
    return {_name(text, each): _told(each) for each in text_string_to_metric_families(text)}


def _name(text: str, family: Metric) -> str:
    """Return the name as the text has it: the reader takes `_total` off a counter's."""
    total = f"{family.name}_total"
    return total if f"# TYPE {total} " in text else family.name


def _told(family: Metric) -> Told:
    return Told(family.type, frozenset(name for sample in family.samples for name in sample.labels))


def _documented() -> dict[str, Told]:
    rows = _ROW.findall(PAGE.read_text())
    return {name: Told(kind, frozenset(labels.replace(",", " ").split())) for name, kind, labels in rows}


def test_every_metric_is_documented(scraped: dict[str, Told]) -> None:
    """Each metric of the server stands on the page, with its type and its labels, and the page has no other."""
    documented = _documented()
    assert len(documented) > 30
    assert scraped == documented

"""Tests that the page on metrics has exactly the server's metrics."""

from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.contract.busy import busy
from tests.contract.metrics_page import Told, documented


def test_every_metric_is_documented(tmp_path: Path, passengers: list[dict[str, Any]]) -> None:
    """The page has each of the server's metrics, with type and labels, and no other."""
    with busy(tmp_path, passengers) as client:
        text = client.get("/metrics").text
    scraped = {_name(text, each): _told(each) for each in text_string_to_metric_families(text)}
    assert len(scraped) > 30
    assert scraped == documented()


def _name(text: str, family: Metric) -> str:
    """Return a metric's name as exposed: the parser strips `_total` from counters."""
    total = f"{family.name}_total"
    return total if f"# TYPE {total} " in text else family.name


def _told(family: Metric) -> Told:
    return Told(family.type, frozenset(name for sample in family.samples for name in sample.labels))

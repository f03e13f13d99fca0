"""The page on metrics names every metric that there is, and no other."""

from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.contract.busy import busy
from tests.contract.metrics_page import Told, documented


def test_every_metric_is_documented(tmp_path: Path, passengers: list[dict[str, Any]]) -> None:
    """Each metric of the server stands on the page, with its type and its labels, and the page has no other."""
    with busy(tmp_path, passengers) as client:
        text = client.get("/metrics").text
    scraped = {_name(text, each): _told(each) for each in text_string_to_metric_families(text)}
    assert len(scraped) > 30
    assert scraped == documented()


def _name(text: str, family: Metric) -> str:
    """Return the name as the text has it: the reader takes `_total` off a counter's."""
    total = f"{family.name}_total"
    return total if f"# TYPE {total} " in text else family.name


def _told(family: Metric) -> Told:
    return Told(family.type, frozenset(name for sample in family.samples for name in sample.labels))

"""Drift on the page."""

from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.passenger import PASSENGER
from tests.server.support.process import serving
from tests.web.visitor import Visitor

DRIFT = "/api/models/titanic/drift"


def test_drift_is_told_once_there_are_rows(browser: Browser) -> None:
    """The page shows the required number of rows, and above it each feature's index from the service."""
    with serving() as service, browser.new_context() as context:
        url = str(service.base_url).rstrip("/")
        visitor = Visitor(context, url)
        expect(visitor.page.locator("#drift-said")).to_contain_text(
            "in the last day so far; a comparison with the training data needs at least 300"
        )
        visitor.settled()
        assert service.get(DRIFT).json()["rows"] == 1  # hypothetical rows do not count
        told = _drifted(service)
        page = Visitor(context, url).page
        rows = page.get_by_role("table", name="Drift by feature").locator("tbody tr")
        expect(rows).to_have_count(len(told["features"]) + 1)
        indices = [each["psi"] for each in told["features"].values()]
        assert [float(each) for each in rows.locator("td:nth-of-type(1)").all_inner_texts()[:-1]] == pytest.approx(
            indices, abs=0.2
        )
        expect(rows.filter(has_text="pclass")).to_contain_text("strong drift")


def _drifted(service: httpx.Client) -> dict[str, Any]:
    """Send 2000 copies of one first-class passenger, and return the drift from the service."""
    service.post("/api/predict", json={"records": [PASSENGER] * 1000})
    service.post("/api/predict", json={"records": [PASSENGER] * 1000})
    told: dict[str, Any] = service.get(DRIFT).json()
    return told

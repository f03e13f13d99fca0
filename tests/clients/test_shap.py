"""Tests of explanations against the shap package, with the same model and background."""

from typing import Any

import httpx
import numpy as np

from server.models.manifest import read
from tests.clients.client import ROOT, told


def test_shap_finds_the_same(server: httpx.Client, records: list[dict[str, Any]]) -> None:
    """The exact explainer of shap, with /api/predict as the model, finds the same contributions."""
    records = records[::5] + records[-2:]
    assert any(None in record.values() for record in records)
    background = read(ROOT / "models" / "titanic" / "1" / "manifest.json").background
    theirs = told("shap", "calls.py", server, given={"records": records, "background": background})
    ours = server.post("/api/explain", json={"records": records}).json()["explanations"]
    assert len(ours) == len(theirs["contributions"]) == len(records) > 5
    for explanation, base, contributions in zip(ours, theirs["base"], theirs["contributions"], strict=True):
        assert list(explanation["contributions"]) == list(background[0])
        np.testing.assert_allclose(explanation["base"], base, rtol=0, atol=1e-6)
        np.testing.assert_allclose([*explanation["contributions"].values()], contributions, rtol=0, atol=1e-6)

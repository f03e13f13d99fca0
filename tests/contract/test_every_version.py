"""Tests that every version in models/ is served and predicts as it did at export."""

from pathlib import Path
from typing import Final

import httpx
import pytest

from server.models import manifest as manifests

MODELS: Final = Path(__file__).parents[2] / "models"
VERSIONS: Final = sorted(path.parent for path in MODELS.glob("*/[0-9]*/manifest.json"))


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: f"{version.parent.name} {version.name}")
def test_golden_rows_of_the_version_are_served(server: httpx.Client, version: Path) -> None:
    """Each golden row, sent to its version, gets the exported label and probabilities."""
    golden = manifests.read(version / "manifest.json").golden
    path = f"/api/models/{version.parent.name}/versions/{version.name}/predict"
    answers = server.post(path, json={"records": golden.records}).json()["predictions"]
    for answer, label, expected in zip(answers, *golden.outputs.values(), strict=True):
        assert answer["label"] == label
        assert list(answer["probabilities"].values()) == pytest.approx(expected, abs=1e-5)

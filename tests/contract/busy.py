"""A server with at least one sample of every metric."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.server.support.process import ROOT, serving
from tests.server.support.repositories import TOKEN, load


@contextmanager
def busy(folder: Path, passengers: list[dict[str, Any]]) -> Iterator[httpx.Client]:
    """Serve a copy of the committed models, after predictions, failures, a file and a reload."""
    models = Path(shutil.copytree(ROOT / "models", folder / "models"))
    with serving(LIFEBOAT_MODELS=str(models), LIFEBOAT_ADMIN_TOKEN=TOKEN) as client:
        for start in range(0, 1000, 250):
            assert client.post("/api/predict", json={"records": passengers[start : start + 250]}).status_code == 200
        assert client.post("/api/predict", json={}).status_code == 400
        assert client.post("/api/explain", json=passengers[0]).status_code == 200
        assert client.post("/api/explain", json={}).status_code == 400
        file = (ROOT / "export" / "data" / "titanic.csv").read_bytes()
        assert client.put("/api/batch?columns=pclass", content=file).status_code == 200
        broken = models / "titanic" / "2"
        broken.mkdir()
        (broken / "manifest.json").write_text("{")
        load(client, "titanic")
        yield client

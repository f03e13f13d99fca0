"""Memory of unloaded versions is freed."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.server.support import small
from tests.server.support.process import HUNG_S, ServerProcess
from tests.server.support.repositories import TOKEN, label, load

WARM_UP: Final = 100
"""Reloads until bounded caches are full; `typing` caches the last 128 types."""
RELOADS: Final = 200
BOUND_MB: Final = 1.0
"""docs/decisions/0010-following.md has the measurements: at most 0.2 MB, and 1.6 MB without garbage collection."""


def _republish(root: Path, version: int) -> None:
    """Publish the committed model as another version, and delete the previous one."""
    aside = root / ".aside"
    shutil.copytree(root / "1", aside)
    path = aside / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": version}))
    small.digest(aside)
    aside.rename(root / str(version))
    if version > 2:
        shutil.rmtree(root / str(version - 1))


def _memory_mb(pid: int) -> float:
    """Return a process's memory in MB, with its proportional share of shared memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (size,) = [line.split()[1] for line in lines if line.startswith("Pss:")]
    return int(size) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="memory of another process, as Linux tells it")
def test_memory_returns(models: Path, passenger: dict[str, Any]) -> None:
    """After 200 reloads, each with one session opened and one closed, memory is as before."""
    root = models / "titanic"
    with ServerProcess(LIFEBOAT_MODELS=str(models), LIFEBOAT_ADMIN_TOKEN=TOKEN) as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S, trust_env=False) as client:
            held: list[float] = []
            for version in range(2, 2 + WARM_UP + RELOADS):
                _republish(root, version)
                label(models, "titanic", stable=version if version % 2 else 1)
                assert load(client, "titanic").status_code == 200
                process.read_until("loaded titanic")
                _use(client, passenger, str(version if version % 2 else 1))
                held.append(_memory_mb(process.pid))
    grown = held[-1] - held[WARM_UP - 1]
    assert grown < BOUND_MB, [round(held[at - 1], 1) for at in (1, 10, 100, 200, 300)]


def _use(client: httpx.Client, passenger: dict[str, Any], version: str) -> None:
    """Send a small and a large prediction, an RPC and a file; check the versions."""
    assert client.post("/api/predict", json=passenger).json()["version"] == version
    assert client.post("/api/predict", json={"records": [passenger] * 400}).json()["version"] == version
    called = client.post("/lifeboat.titanic.v1.TitanicService/Predict", json=passenger)
    assert called.json()["version"] == version
    content = json.dumps(passenger) + "\n"
    file = client.put("/api/batch", content=content, headers={"content-type": "application/x-ndjson"})
    assert file.headers["lifeboat-version"] == version

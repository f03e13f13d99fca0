"""Changes to a model repository while it is served, and waits for their effects."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx

from tests.server.support import small
from tests.server.support.process import HUNG_S

TOKEN: Final = "let me in"  # noqa: S105 # the tests' own
BEARER: Final = {"authorization": f"Bearer {TOKEN}"}
TRIPLE: Final = "g (float[N, 1] x) => (float[N, 1] value) { twice = Add(x, x)  value = Add(twice, x) }"
"""A model that computes 3x."""
GRAPHS: Final = {2: small.DOUBLE, 3: TRIPLE}
"""The graph for each factor of x."""


def publish(
    root: Path,
    version: int,
    factor: int = 2,
    name: str = "small",
    *,
    is_broken: bool = False,
    **members: Any,  # noqa: ANN401 # of any type
) -> Path:
    """Publish a version that computes `factor` times x, and return its folder.

    The version is written to a hidden folder and then renamed.
    """
    model = small.onnx_bytes(GRAPHS[factor])
    described = small.manifest(model, answers=((1.0, float(factor)),), name=name, version=version, **members)
    aside = small.write(root / name / ".aside", model, described)
    if is_broken:
        (aside / "model.onnx").write_bytes(b"half a file")
    folder = root / name / str(version)
    aside.rename(folder)
    shutil.rmtree(root / name / ".aside")
    return folder


def label(root: Path, name: str = "small", **labels: int) -> None:
    """Replace a model's labels as the exporter does: write a hidden file, then rename it."""
    aside = root / name / ".labels.json"
    aside.write_text(json.dumps(labels))
    aside.rename(root / name / "labels.json")


def load(client: httpx.Client, name: str = "small") -> httpx.Response:
    """Reload a model through model control."""
    return client.post(f"/v2/repository/models/{name}/load", headers=BEARER)


def index(client: httpx.Client) -> list[dict[str, Any]]:
    """Return the repository's index."""
    entries: list[dict[str, Any]] = client.post("/v2/repository/index", json={}).json()
    return entries


def until(client: httpx.Client, path: str, holds: Callable[[httpx.Response], bool]) -> httpx.Response:
    """Repeat a GET, or a POST of the index, until `holds` is true.

    Returns the response. Fails after HUNG_S.
    """
    end_s = time.monotonic() + HUNG_S
    while time.monotonic() < end_s:
        answer = client.post(path, json={}) if path.endswith("/index") else client.get(path)
        if holds(answer):
            return answer
    raise AssertionError(f"{path} never became what was waited for; at last {answer.status_code}: {answer.text[:2000]}")

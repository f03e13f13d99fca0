"""Class and feature names that spreadsheets read as formulas.

They are unchanged in JSON, and escaped in the CSV cells that the server adds.
"""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any, Final

import httpx
import onnx
import pytest
from msgspec import structs

from server.models.manifest import Golden, Output
from tests.server.support import small
from tests.server.support.process import serving

CLASSES: Final = ["@home", "-1", "=1+1"]
FEATURE: Final = "@x"
ROWS: Final = f"{FEATURE},note\n-1,=2+2\n0,b\n1,\nwrong,d\n".encode()
BATCH: Final = "/api/batch?on_error=null"


def _onnx() -> bytes:
    """Return a model of three classes with the names in CLASSES."""
    graph = small.SIGNS
    for before, name in zip(small.CLASSES, CLASSES, strict=True):
        graph = graph.replace(f'"{before}"', f'"{name}"')
    model = onnx.load_from_string(small.onnx_bytes(graph))
    model.graph.input[0].name = model.graph.node[0].input[0] = FEATURE
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Serve the model."""
    root = tmp_path_factory.mktemp("models")
    model = _onnx()
    outputs = [
        Output(name="label", datatype="BYTES", shape=[-1], role="label"),
        Output(name="probabilities", datatype="FP32", shape=[-1, 3], role="probabilities"),
    ]
    golden = Golden(records=[{FEATURE: 0.2}], outputs={"label": ["-1"]}, tolerance=1e-5)
    feature = structs.replace(small.X, name=FEATURE)
    members: dict[str, Any] = {"kind": "multiclass", "classes": CLASSES, "outputs": outputs, "golden": golden}
    small.write(root, model, small.manifest(model, feature, **members))
    with serving(LIFEBOAT_MODELS=str(root)) as client:
        yield client


@pytest.mark.parametrize(("kind", "delimiter"), [("text/csv", ","), ("text/tab-separated-values", "\t")])
def test_a_spreadsheet_runs_no_answer(server: httpx.Client, kind: str, delimiter: str) -> None:
    """An added CSV cell that would be a formula starts with an apostrophe.

    Numbers and the client's own cells are unchanged.
    """
    body = ROWS.replace(b",", delimiter.encode())
    answered = server.put(BATCH, content=body, headers={"content-type": kind})
    header, *rows = csv.reader(io.StringIO(answered.text), delimiter=delimiter)
    assert header[:3] == [FEATURE, "note", "predicted_value"]
    assert [row[0] for row in rows] == ["-1", "0", "1", "wrong"]
    assert [row[1] for row in rows] == ["=2+2", "b", "", "d"]
    assert [row[2] for row in rows] == ["'@home", "-1", "'=1+1", ""]
    assert rows[3][-1].startswith(f"'{FEATURE}: expected ")


def test_other_formats_have_the_names_as_they_are(server: httpx.Client) -> None:
    """NDJSON and JSON responses have the manifest's names unchanged."""
    answered = server.put(BATCH, content=ROWS, headers={"content-type": "text/csv", "accept": "application/x-ndjson"})
    rows: list[dict[str, Any]] = [json.loads(line) for line in answered.text.splitlines()]
    assert [row["predicted_value"] for row in rows] == [*CLASSES, None]
    assert rows[3]["error"].startswith(f"{FEATURE}: expected ")
    labels = [server.post("/api/predict", json={FEATURE: value}).json()["label"] for value in (-1, 0, 1)]
    assert labels == CLASSES

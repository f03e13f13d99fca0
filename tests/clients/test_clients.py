"""Public clients that nobody here wrote, in environments of their own: every call works, with onnxruntime's numbers."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import pytest

from tests.passenger import DATATYPES
from tests.server.process import serving

ROOT: Final = Path(__file__).parents[2]
TOKEN: Final = "let me in"  # noqa: S105 # the test's own
NULLS: Final = {"age": np.nan, "fare": np.nan, "embarked": ""}
DTYPES: Final = {"INT64": np.int64, "FP32": np.float32, "BYTES": object}


@pytest.fixture(scope="session")
def records(passengers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return some passengers, of whom some miss a value."""
    return passengers[::40] + [each for each in passengers if each["embarked"] is None or each["fare"] is None]


@pytest.fixture(scope="session")
def expected(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what onnxruntime itself gives for them."""
    session = onnxruntime.InferenceSession(ROOT / "models" / "titanic" / "1" / "model.onnx")
    feed = {}
    for name, datatype in DATATYPES.items():
        values = [NULLS[name] if record[name] is None else record[name] for record in records]
        feed[name] = np.array(values, dtype=DTYPES[datatype]).reshape(-1, 1)
    label, probabilities = session.run(["label", "probabilities"], feed)
    return {"label": label.tolist(), "probabilities": probabilities.astype(np.float64).tolist()}


def said(client: str, records: list[dict[str, Any]], *arguments: str) -> Any:  # noqa: ANN401 # JSON
    """Return what a client's script printed of a server of its own."""
    python = ROOT / ".build" / "clients" / client / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{client} is not installed; `make test` does it")
    with serving(LIFEBOAT_ADMIN_TOKEN=TOKEN) as server:
        address = f"{server.base_url.host}:{server.base_url.port}"
        command = [str(python), str(Path(__file__).parent / client / "calls.py"), address, *arguments]
        done = subprocess.run(command, input=json.dumps(records), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_tritonclient(records: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    """Every method of tritonclient.http, sync and asyncio, JSON and binary, compressed and not."""
    told = said("triton", records, TOKEN)
    for kind in ("sync", "aio"):
        answers = told[kind]
        assert answers["live"] is answers["ready"] is answers["model ready"] is True
        assert answers["server metadata"]["name"] == "lifeboat"
        assert "binary_tensor_data" in answers["server metadata"]["extensions"]
        assert [each["name"] for each in answers["model metadata"]["inputs"]] == list(DATATYPES)
        assert answers["model config"]["backend"] == "onnxruntime"
        assert answers["index"] == [{"name": "titanic", "version": "1", "state": "READY", "reason": ""}]
        assert answers["statistics"]["model_stats"][0]["name"] == "titanic"
        assert len(answers["infer"]) == 18
        for answer in answers["infer"]:
            assert answer == expected
    answers = told["sync"]
    assert (answers["other ready"], answers["ready after unload"]) == (False, False)
    assert (answers["id"], answers["version"]) == ("abc", "1")
    assert answers["async infer"] == answers["raw body"] == expected
    assert [each.split(":")[2] for each in answers["classification"]] == expected["label"]
    for name, message in answers["refused"].items():
        assert message, name
    assert answers["refused"]["control without the token"] == "model control takes a bearer token"


def test_kserve(records: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    """Every method of kserve's InferenceRESTClient, JSON and binary."""
    told = said("kserve", records)
    assert (told["live"], told["ready"], told["model ready"], told["other ready"]) == (True, True, True, False)
    assert len(told["infer"]) == 6
    for answer in told["infer"]:
        assert answer == expected
    assert "inputs: expected at least one" in told["refused"]

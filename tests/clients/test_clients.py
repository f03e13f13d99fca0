"""Tests with public HTTP clients: every method, compared with onnxruntime's outputs."""

from typing import Any

from tests.clients.client import TOKEN, said
from tests.passenger import DATATYPES


def test_tritonclient(records: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    """Every method of tritonclient.http works: sync and asyncio, JSON and binary, compressed and uncompressed."""
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
    assert answers["refused"]["control without the token"] == "model control requires a bearer token"


def test_kserve(records: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    """Every method of kserve's InferenceRESTClient works, with JSON and binary tensors."""
    told = said("kserve", records)
    assert (told["live"], told["ready"], told["model ready"], told["other ready"]) == (True, True, True, False)
    assert len(told["infer"]) == 6
    for answer in told["infer"]:
        assert answer == expected
    assert "inputs: expected at least one" in told["refused"]

"""Tests with public gRPC clients of the Open Inference Protocol: every method, compared with onnxruntime's outputs."""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from tests.clients.client import TOKEN, said
from tests.passenger import DATATYPES

REFUSED: Final[Mapping[str, tuple[str, str]]] = {
    "unknown model": ("NOT_FOUND", "model 'other'"),
    "unknown version": ("NOT_FOUND", "version '7'"),
    "no version": ("NOT_FOUND", "version 'first'"),
    "missing input": ("INVALID_ARGUMENT", "pclass: expected one of 1, 2, 3"),
    "no input": ("INVALID_ARGUMENT", "inputs: expected at least one"),
    "same input twice": ("INVALID_ARGUMENT", "sex: expected once; it is given more than once"),
    "category": ("INVALID_ARGUMENT", 'sex: row 0: expected one of "female", "male"; got "she"'),
    "range": ("INVALID_ARGUMENT", "age: row 0: expected a number from 0 to 120 or null; got 200.0"),
    "datatype": ("INVALID_ARGUMENT", 'age: expected datatype FP32; got "FP64"'),
    "rows": ("INVALID_ARGUMENT", "age: expected 1 rows"),
    "shape": ("INVALID_ARGUMENT", "age: expected the shape [rows, 1] or [rows]; got [1, 2]"),
    "unknown output": ("INVALID_ARGUMENT", 'got "colour"'),
    "deadline": ("DEADLINE_EXCEEDED", ""),
    "metadata of an unknown model": ("NOT_FOUND", "model 'other'"),
    "configuration of an unknown version": ("NOT_FOUND", "version '7'"),
    "statistics of an unknown model": ("NOT_FOUND", "model 'other'"),
    "load without the token": ("UNAUTHENTICATED", "model control requires a bearer token"),
    "unload without the token": ("UNAUTHENTICATED", "model control requires a bearer token"),
    "another token": ("PERMISSION_DENIED", "the bearer token is wrong"),
    "load of an unknown model": ("INVALID_ARGUMENT", "load: other"),
    "load with a configuration": ("UNIMPLEMENTED", "config and files in the request are not supported"),
    "unload of an unknown model": ("NOT_FOUND", "model 'other'"),
}
"""Wrong calls, with the expected code and words of the message."""

TRITONS_OWN: Final = [
    *(f"{verb}_{what}_settings" for verb in ("get", "update") for what in ("trace", "log")),
    *(f"{verb}_{kind}_shared_memory" for verb in ("register", "unregister") for kind in ("system", "cuda")),
    *(f"get_{kind}_shared_memory_status" for kind in ("system", "cuda")),
]


@pytest.fixture(scope="module")
def both(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the results of tritonclient's sync and asyncio gRPC clients on one server."""
    told: dict[str, dict[str, Any]] = said("triton", records, TOKEN, script="grpc_calls.py", LIFEBOAT_HTTP2="1")
    return told


@pytest.fixture(scope="module", params=["sync", "aio"])
def triton(both: dict[str, dict[str, Any]], request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the results of one of the clients."""
    return both[request.param]


def one_row(expected: dict[str, Any], place: int) -> dict[str, Any]:
    """Return the expected outputs of one record."""
    return {name: [values[place]] for name, values in expected.items()}


def test_triton_inference(triton: dict[str, Any], expected: dict[str, Any]) -> None:
    """Inference returns onnxruntime's outputs for any requested outputs, with and without compression."""
    assert triton["infer"] == [expected] * 6
    assert triton["one by one"] == [one_row(expected, place) for place in range(len(expected["label"]))]
    assert (triton["identity"], triton["no id"]) == (["titanic", "1", "abc"], ["titanic", "1", None])


def test_triton_asynchronous_inference(both: dict[str, dict[str, Any]], expected: dict[str, Any]) -> None:
    """The sync client's callbacks get the same outputs or the error; a classification names the likelier class."""
    assert both["sync"]["callbacks"] == [expected] * 6
    assert both["sync"]["failed callback"] == "StatusCode.NOT_FOUND"
    assert [each.split(":")[2] for each in both["sync"]["classification"]] == expected["label"]


def test_triton_streams(both: dict[str, dict[str, Any]], expected: dict[str, Any]) -> None:
    """A stream's responses come in the order of the requests; a failed request doesn't end the stream."""
    stream = both["sync"]["stream"]
    assert stream["infer"] == [expected] * 19
    assert stream["ids"] == [str(number) for number in range(20) if number != 1]
    assert [message.partition(":")[0] for message in stream["failed"]] == [
        "model 'other' is not served; there is titanic",
        "pclass",
    ]
    stream = both["aio"]["stream"]
    assert stream["infer"] == [expected] * 19
    assert stream["ids"] == [str(number) for number in range(20) if number != 7]
    assert stream["failed"] == ["model 'other' is not served; there is titanic"]


def test_triton_cancels(both: dict[str, dict[str, Any]]) -> None:
    """A stream that the client cancels ends as cancelled, and the connection serves later calls."""
    assert both["sync"]["cancelled stream"] == "StatusCode.CANCELLED"
    assert both["aio"]["cancelled stream"] == "CancelledError"
    assert both["sync"]["refused"]
    assert both["aio"]["refused"]


def test_triton_health_and_descriptions(triton: dict[str, Any]) -> None:
    """Health, metadata and configuration of server and model are the same in every form."""
    assert triton["live"] is triton["ready"] is triton["model ready"] is True
    assert triton["other ready"] is False
    assert triton["server metadata"]["name"] == "lifeboat"
    assert {"statistics", "model_repository"} <= set(triton["server metadata"]["extensions"])
    described = {each["name"]: each["datatype"] for each in triton["model metadata"]["inputs"]}
    assert described == DATATYPES
    assert [each["name"] for each in triton["model metadata"]["outputs"]] == ["label", "probabilities"]
    configured = triton["model config"]["config"]
    assert (configured["name"], configured["backend"]) == ("titanic", "onnxruntime")
    assert [each["name"] for each in configured["input"]] == list(DATATYPES)
    assert triton["messages"] == ["lifeboat", "titanic", "titanic", "titanic"]


def test_triton_statistics(triton: dict[str, Any], expected: dict[str, Any]) -> None:
    """The statistics of all models, one model and one version agree and count every row."""
    rows = len(expected["label"])
    assert triton["every statistics"] == triton["statistics"] == triton["version's statistics"]
    (counted,) = triton["statistics"]["model_stats"]
    assert (counted["name"], counted["version"]) == ("titanic", "1")
    assert int(counted["inference_count"]) == 6 * rows + 2 * rows + rows
    assert int(counted["inference_stats"]["success"]["count"]) == 6 + 2 + rows
    assert 0 < triton["runs"] == int(counted["execution_count"]) <= 6 + 2 + rows


def test_triton_model_control(triton: dict[str, Any]) -> None:
    """With the token a model is unloaded, which rejects its inferences, and loaded again."""
    assert triton["index"]["models"] == [{"name": "titanic", "version": "1", "state": "READY"}]
    assert triton["ready after unload"] is False
    assert triton["unloaded"] == ["NOT_FOUND", "model 'titanic' is not served; there is none"]


def test_what_is_tritons_alone(triton: dict[str, Any]) -> None:
    """Triton's own methods for shared memory, traces and logs are rejected as unimplemented."""
    assert set(triton["unimplemented"]) == set(TRITONS_OWN)
    for name, told in triton["unimplemented"].items():
        code, message = told
        assert code == "UNIMPLEMENTED", name
        assert message.startswith("there is no method /inference."), name


@pytest.mark.parametrize("what", ["one input", "every input", "output"])
def test_tensors_in_shared_memory(triton: dict[str, Any], what: str) -> None:
    """An inference with a tensor in shared memory is rejected for that reason."""
    code, message = triton["shared memory"][what]
    assert code == "UNIMPLEMENTED"
    assert "shared memory" in message


@pytest.mark.parametrize("what", REFUSED)
def test_triton_is_refused(triton: dict[str, Any], what: str) -> None:
    """A wrong call gets the right code, and its message names the error."""
    code, message = triton["refused"][what]
    assert code == REFUSED[what][0]
    assert REFUSED[what][1] in message


def test_every_refusal_is_tried(triton: dict[str, Any]) -> None:
    """Each wrong call has an expected result."""
    assert set(triton["refused"]) == set(REFUSED)


def test_kserve(records: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    """Every method of kserve's InferenceGRPCClient works: typed and raw contents, one row and many."""
    told = said("kserve", records, script="grpc_calls.py", LIFEBOAT_HTTP2="1")
    assert (told["live"], told["ready"], told["model ready"], told["other ready"]) == (True, True, True, False)
    for kind in ("typed", "raw"):
        assert told[kind]["infer"] == [expected] * 2
        assert told[kind]["one by one"] == [one_row(expected, place) for place in range(len(records))]
        assert told[kind]["response"] == ["titanic", "1", "abc"]
        assert told[kind]["is raw"] is (kind == "raw")
    for what, (code, message) in told["refused"].items():
        assert code == REFUSED[what][0]
        assert REFUSED[what][1] in message

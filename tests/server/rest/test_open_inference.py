"""/v2: health, metadata and inference of the Open Inference Protocol."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest

import server as server_package
from server.inference.metadata import EXTENSIONS
from tests.passenger import DATATYPES

MODEL = "/v2/models/titanic"
Request = dict[str, Any]


@pytest.fixture
def request_body(server: httpx.Client, passenger: dict[str, Any]) -> Request:
    """Return a valid inference request of one row with flat data."""
    return _request(server, [passenger])


def _request(server: httpx.Client, records: list[dict[str, Any]]) -> Request:
    """Return an inference request for the records, made from the server's model metadata."""
    described = server.get(MODEL).json()["inputs"]
    return {
        "inputs": [
            {
                "name": each["name"],
                "shape": [len(records), 1],
                "datatype": each["datatype"],
                "data": [record[each["name"]] for record in records],
            }
            for each in described
        ]
    }


def _infer(server: httpx.Client, body: Request) -> dict[str, Any]:
    response = server.post(f"{MODEL}/infer", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        (f"{MODEL}/ready", {"name": "titanic", "ready": True}),
        (f"{MODEL}/versions/1/ready", {"name": "titanic", "ready": True}),
    ],
)
def test_health(server: httpx.Client, path: str, body: dict[str, Any]) -> None:
    """A server that listens is live and ready, and so is each model it serves."""
    response = server.get(path)
    assert (response.status_code, response.json()) == (200, body)


@pytest.mark.parametrize("path", ["/v2/models/nobody", f"{MODEL}/versions/2", f"{MODEL}/versions/x"])
@pytest.mark.parametrize("tail", ["", "/ready"])
def test_unknown_model_or_version(server: httpx.Client, path: str, tail: str) -> None:
    """Metadata and readiness of a model or version that isn't served are rejected with 404."""
    response = server.get(path + tail)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_infer_of_an_unknown_model(server: httpx.Client, request_body: Request) -> None:
    """Inference on a model that isn't served is rejected with 404."""
    assert server.post("/v2/models/nobody/infer", json=request_body).status_code == 404


def test_server_metadata(server: httpx.Client) -> None:
    """The server metadata has the name, version and extensions."""
    assert server.get("/v2").json() == {
        "name": "lifeboat",
        "version": server_package.VERSION,
        "extensions": list(EXTENSIONS),
    }


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/1"])
def test_model_metadata(server: httpx.Client, path: str) -> None:
    """The model metadata names every input and output with its datatype and shape."""
    assert server.get(path).json() == {
        "name": "titanic",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": name, "datatype": DATATYPES[name], "shape": [-1, 1]} for name in DATATYPES],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
        ],
    }


def test_infer(server: httpx.Client, request_body: Request) -> None:
    """The response has the model, its version, and all outputs with flat data."""
    answer = _infer(server, request_body)
    assert list(answer) == ["model_name", "model_version", "outputs"]
    assert (answer["model_name"], answer["model_version"]) == ("titanic", "1")
    label, probabilities = answer["outputs"]
    assert label == {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["survived"]}
    assert (probabilities["name"], probabilities["datatype"], probabilities["shape"]) == (
        "probabilities",
        "FP32",
        [1, 2],
    )
    assert probabilities["data"] == pytest.approx([0.1013368, 0.8986632], abs=1e-5)


def test_nested_data_is_flat_data(server: httpx.Client, passengers: list[dict[str, Any]]) -> None:
    """Data nested as the shape says gives the same response as flat data."""
    flat = _request(server, passengers[:3])
    nested = {"inputs": [each | {"data": [[value] for value in each["data"]]} for each in flat["inputs"]]}
    assert _infer(server, nested) == _infer(server, flat)


def test_infer_by_version(server: httpx.Client, request_body: Request) -> None:
    """A version named in the path responds."""
    response = server.post(f"{MODEL}/versions/1/infer", json=request_body)
    assert response.json() == _infer(server, request_body)


def test_id_is_echoed(server: httpx.Client, request_body: Request) -> None:
    """The response has the request's id if the request has one."""
    assert _infer(server, request_body | {"id": "row 7 \u00e9"})["id"] == "row 7 \u00e9"
    assert "id" not in _infer(server, request_body)


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (["label"], ["label"]),
        (["probabilities"], ["probabilities"]),
        (["probabilities", "label"], ["probabilities", "label"]),
        (["label", "probabilities"], ["label", "probabilities"]),
        (["label", "label"], ["label"]),
        ([], ["label", "probabilities"]),
    ],
)
def test_outputs_are_those_asked_for(
    server: httpx.Client, request_body: Request, wanted: list[str], given: list[str]
) -> None:
    """The response has only the requested outputs, in request order.

    Each output comes once; an empty list means all outputs.
    """
    every = {output["name"]: output for output in _infer(server, request_body)["outputs"]}
    answer = _infer(server, request_body | {"outputs": [{"name": name} for name in wanted]})
    assert answer["outputs"] == [every[name] for name in given]


def test_order_of_the_inputs_does_not_matter(server: httpx.Client, request_body: Request) -> None:
    """The order of the inputs doesn't matter."""
    assert _infer(server, {"inputs": request_body["inputs"][::-1]}) == _infer(server, request_body)


@pytest.mark.parametrize("name", ["age", "fare", "embarked"])
def test_nullable_input_left_out_is_null(server: httpx.Client, passengers: list[dict[str, Any]], name: str) -> None:
    """A nullable input that is left out counts as null in every row."""
    null = _request(server, [record | {name: None} for record in passengers[:4]])
    omitted = {"inputs": [each for each in null["inputs"] if each["name"] != name]}
    assert _infer(server, omitted) == _infer(server, null)


def test_parameters_are_read_over(server: httpx.Client, request_body: Request) -> None:
    """Parameters that the server doesn't know are ignored."""
    inputs = [each | {"parameters": {"unit": "x"}} for each in request_body["inputs"]]
    outputs = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probabilities"}]
    answer = _infer(server, {"inputs": inputs, "outputs": outputs, "parameters": {"priority": 1}})
    assert answer == _infer(server, request_body)


def test_every_row_is_answered_as_onnxruntime_alone_answers(
    server: httpx.Client, passengers: list[dict[str, Any]]
) -> None:
    """All 1,309 rows get results on both interfaces that are bit-identical to a plain session's."""
    labels, probabilities = _session_answers(passengers)
    assert len(passengers) == 1309
    outputs = _infer(server, _request(server, passengers))["outputs"]
    assert [outputs[0]["data"], outputs[1]["data"]] == [labels, probabilities.reshape(-1).tolist()]
    answers = server.post("/api/predict", json={"records": passengers}).json()["predictions"]
    assert [each["label"] for each in answers] == labels
    assert [list(each["probabilities"].values()) for each in answers] == probabilities.tolist()


def _session_answers(records: list[dict[str, Any]]) -> tuple[list[str], Any]:
    """Return the labels and probabilities of an onnxruntime session opened without the server's code."""
    path = Path(__file__).parents[3] / "models" / "titanic" / "1"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path / "model.onnx", options)
    nulls = {
        feature["name"]: feature.get("null_value")
        for feature in json.loads((path / "manifest.json").read_text())["features"]
    }
    dtypes = {"tensor(int64)": np.int64, "tensor(float)": np.float32, "tensor(string)": object}
    feed = {}
    for each in session.get_inputs():
        values = [record[each.name] for record in records]
        filled = [nulls[each.name] if value is None else value for value in values]
        feed[each.name] = np.array(filled).astype(dtypes[each.type]).reshape(-1, 1)
    labels, probabilities = session.run(["label", "probabilities"], feed)
    return labels.tolist(), probabilities

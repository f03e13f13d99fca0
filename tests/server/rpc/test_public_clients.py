"""Requests in the style of Triton's and MLServer's clients: one-dimensional shapes, no rows, content types."""

import gzip
import json
from base64 import b64encode
from typing import Any, Final

import httpx
import pytest

from server.rpc.proto import inference_pb2 as pb
from tests.passenger import DATATYPES, PASSENGER
from tests.server.support import blobs
from tests.server.support.rpc import enveloped, envelopes, http1, tensors
from tests.server.support.wire import Wire

INFER: Final = "/v2/models/titanic/infer"
SERVICE: Final = "/inference.GRPCInferenceService"


def _inputs(rows: int, shape: list[int]) -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": shape, "datatype": datatype, "data": [PASSENGER[name]] * rows}
        for name, datatype in DATATYPES.items()
    ]


def _outputs(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {output["name"]: (output["shape"], output["data"]) for output in response.json()["outputs"]}


def test_shapes_of_one_dimension(server: httpx.Client) -> None:
    """The shape [rows] means [rows, 1], also if both are mixed."""
    right = _outputs(server.post(INFER, json={"inputs": _inputs(3, [3, 1])}))
    assert _outputs(server.post(INFER, json={"inputs": _inputs(3, [3])})) == right
    mixed = [*_inputs(3, [3])[:2], *_inputs(3, [3, 1])[2:]]
    assert _outputs(server.post(INFER, json={"inputs": mixed})) == right


@pytest.mark.parametrize("shape", [[0], [0, 1]])
def test_no_rows(server: httpx.Client, shape: list[int]) -> None:
    """A request without rows gets a response without rows, in JSON and in binary."""
    assert _outputs(server.post(INFER, json={"inputs": _inputs(0, shape)})) == {
        "label": ([0], []),
        "probabilities": ([0, 2], []),
    }
    likeliest = {"outputs": [{"name": "probabilities", "parameters": {"classification": 2}}]}
    classes = _outputs(server.post(INFER, json={"inputs": _inputs(0, shape), **likeliest}))
    assert classes == {"probabilities": ([0, 2], [])}
    binary = [
        {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": 0}}
        for name, datatype in DATATYPES.items()
    ]
    document = json.dumps({"inputs": binary}).encode()
    response = server.post(INFER, content=document, headers={blobs.LENGTH: str(len(document))})
    assert _outputs(response)["probabilities"] == ([0, 2], [])
    wrong = server.post(INFER, json={"inputs": [*_inputs(0, shape)[:-1], *_inputs(1, [1])[-1:]]})
    assert wrong.json()["error"] == "embarked: expected 0 rows as in pclass; got 1"


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("rows", [0, 3])
def test_shapes_of_one_dimension_by_rpc(served: Wire, rows: int, *, raw: bool) -> None:
    """RPC accepts the same shapes, with raw and typed contents."""
    asked = tensors(max(rows, 1), raw=raw)
    for place, tensor in enumerate(asked.inputs):
        tensor.ClearField("shape")
        tensor.shape.append(rows)
        if not rows and raw:
            asked.raw_input_contents[place] = b""
        elif not rows:
            tensor.ClearField("contents")
    for _ in range(2):  # the second call uses the cached layout of the first
        answer = http1(served, f"{SERVICE}/ModelInfer", asked.SerializeToString(), "content-type: application/proto")
        response = pb.ModelInferResponse.FromString(answer.body)
        assert {each.name: [*each.shape] for each in response.outputs} == {"label": [rows], "probabilities": [rows, 2]}


@pytest.mark.parametrize("content_type", ["np", "pd", "str", "base64"])
def test_content_types_of_mlserver(server: httpx.Client, content_type: str) -> None:
    """MLServer's content types are accepted: base64 strings are decoded, and the others change nothing."""
    inputs = _inputs(2, [2, 1])
    right = _outputs(server.post(INFER, json={"inputs": inputs}))
    for tensor in inputs:
        is_packed = content_type == "base64" and tensor["datatype"] == "BYTES"
        tensor["parameters"] = {"content_type": content_type if is_packed or content_type != "base64" else "np"}
        if is_packed:
            tensor["data"] = [b64encode(text.encode()).decode() for text in tensor["data"]]
    assert _outputs(server.post(INFER, json={"inputs": inputs, "parameters": {"content_type": "pd"}})) == right
    inputs[1] |= {"parameters": {"content_type": "base64"}, "data": ["ZmVtYWxl", "no base64 "]}
    words = 'sex: row 1: expected base64 of UTF-8, as content_type states; got "no base64 "'
    assert server.post(INFER, json={"inputs": inputs}).json()["error"] == words


def test_responses_of_a_stream_are_final(served: Wire) -> None:
    """Each response of a stream is marked as final, as clients of decoupled models expect."""
    asked = tensors(1, raw=True)
    asked.parameters["triton_enable_empty_final_response"].bool_param = True
    wrong = tensors(1, raw=True)
    wrong.inputs[0].datatype = "FP32"
    body = b"".join(enveloped(each.SerializeToString()) for each in (asked, wrong, asked))
    answer = http1(served, f"{SERVICE}/ModelStreamInfer", body, "content-type: application/connect+proto")
    found = [pb.ModelStreamInferResponse.FromString(data) for flags, data in envelopes(answer.body) if not flags & 2]
    assert [bool(each.error_message) for each in found] == [False, True, False]
    assert all(each.infer_response.parameters["triton_final_response"].bool_param for each in found)


def test_zeros_behind_gzip(server: httpx.Client) -> None:
    """Zero bytes after a gzip stream are ignored; any other bytes are rejected."""
    body = gzip.compress(json.dumps(PASSENGER).encode())
    headers = {"content-encoding": "gzip"}
    alone = server.post("/api/predict", content=body, headers=headers)
    padded = server.post("/api/predict", content=body + b"\0" * 500, headers=headers)
    assert (padded.status_code, padded.content) == (200, alone.content)
    assert server.post("/api/predict", content=body + b"\0x", headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("asked", "header"),
    [("x%2Cy,sex", '"x,y",sex'), ("x%2Cy%2Csex", '"x,y",sex'), ("sex,%20z%25", "sex, z%"), ("a+b", "a b")],
)
def test_columns_by_encoded_names(server: httpx.Client, asked: str, header: str) -> None:
    """A column name in the query is percent-encoded, so that it can contain a comma."""
    table = b'pclass,sex,sibsp,parch,"x,y", z%,a b\n1,male,0,0,3,4,5\n'
    response = server.post(f"/api/batch?columns={asked}", content=table)
    assert (
        response.text.splitlines()[0].removesuffix(",predicted_survived,probability_died,probability_survived")
        == header
    )
    wrong = server.post("/api/batch?columns=x%2Cz", content=table)
    assert wrong.json()["error"].startswith('columns: there is no "x"; expected all, none, or some of "pclass",')

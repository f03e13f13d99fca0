"""/v2 inference: rejected requests and their messages."""

from typing import Any

import httpx
import pytest

from tests.passenger import DATATYPES

INFER = "/v2/models/titanic/infer"
NAMES = ", ".join(f'"{name}"' for name in DATATYPES)
SIBSP = "expected an integer of at least 0"
AGE = "expected a number from 0 to 120 or null"
FARE_FP32 = "expected a number from 0 to 3.40282346638529e+38 or null"
SIBSP_INT64 = "expected an integer from 0 to 9223372036854775807"

WRONG_TENSORS: list[tuple[str, dict[str, Any], str]] = [
    ("age", {"datatype": "FP64"}, 'expected datatype FP32; got "FP64"'),
    ("age", {"datatype": "x" * 99}, f'expected datatype FP32; got "{"x" * 16}"...'),
    ("sex", {"datatype": "INT64", "data": [1, 1]}, 'expected datatype BYTES; got "INT64"'),
    ("age", {"shape": []}, "expected the shape [rows, 1] or [rows]; got []"),
    ("age", {"shape": [1, 2]}, "expected the shape [rows, 1] or [rows]; got [1, 2]"),
    ("age", {"shape": [2, 1, 1]}, "expected the shape [rows, 1] or [rows]; got [2, 1, 1]"),
    ("age", {"shape": [-1, 1]}, "expected the shape [rows, 1] or [rows]; got [-1, 1]"),
    ("age", {"shape": [2, -1]}, "expected the shape [rows, 1] or [rows]; got [2, -1]"),
    ("age", {"shape": [0, 1]}, "expected 2 rows as in pclass; got 0"),
    ("age", {"shape": [3]}, "expected 2 rows as in pclass; got 3"),
    ("age", {"shape": [2, 0]}, "expected the shape [rows, 1] or [rows]; got [2, 0]"),
    ("age", {"shape": [3, 1], "data": [1, 2, 3]}, "expected 2 rows as in pclass; got 3"),
    ("age", {"data": [1]}, "expected 2 elements as in its shape; got 1"),
    ("age", {"data": []}, "expected 2 elements as in its shape; got 0"),
    ("age", {"data": [[1, 2], [3]]}, "expected 2 elements as in its shape; got 3"),
    ("age", {"data": [[1], 2]}, f"row 0: {AGE}; got [1]"),
    ("age", {"data": [[[1]], [[2]]]}, f"row 0: {AGE}; got [1]"),
    ("age", {"data": [1, "2"]}, f'row 1: {AGE}; got "2"'),
    ("age", {"data": [1, True]}, f"row 1: {AGE}; got true"),
    ("age", {"data": [1, 120.5]}, f"row 1: {AGE}; got 120.5"),
    ("age", {"data": [None, -1]}, f"row 1: {AGE}; got -1"),
    ("fare", {"data": [0, 1e39]}, f"row 1: {FARE_FP32}; got 1e+39"),
    ("sibsp", {"data": [0, None]}, f"row 1: {SIBSP}; got null"),
    ("sibsp", {"data": [0, 1.5]}, f"row 1: {SIBSP}; got 1.5"),
    ("sibsp", {"data": [0, False]}, f"row 1: {SIBSP}; got false"),
    ("age", {"data": 1}, "data: expected an array; got 1"),
    ("sibsp", {"data": [0, -1]}, f"row 1: {SIBSP}; got -1"),
    ("sibsp", {"data": [0, 2**63]}, f"row 1: {SIBSP_INT64}; got {2**63}"),
    ("sibsp", {"data": [0, 10**30]}, f"row 1: {SIBSP_INT64}; got {10**30}"),
    ("pclass", {"data": [1, 4]}, "row 1: expected one of 1, 2, 3; got 4"),
    ("sex", {"data": ["male", "Male"]}, 'row 1: expected one of "female", "male"; got "Male"'),
    ("sex", {"data": ["y" * 99, "male"]}, f'row 0: expected one of "female", "male"; got "{"y" * 40}"...'),
    ("sex", {"data": ["male", None]}, 'row 1: expected one of "female", "male"; got null'),
    ("embarked", {"data": [None, "X"]}, 'row 1: expected one of "C", "Q", "S" or null; got "X"'),
]
"""Name of the invalid tensor, a change to it, and the message after its name."""

WRONG_BODIES: list[tuple[bytes, str]] = [
    (b"", "it is empty"),
    (b'{"inputs": [', "truncated"),
    (b"{}", "`inputs`"),
    (b"[]", "Expected `object`"),
    (b"\xff", "malformed"),
    (b'{"id": "\xff"}', "it is not UTF-8 (byte 8)"),
    (b'{"inputs": []} x', "malformed"),
    (b'{"inputs": 3}', "$.inputs"),
    (b'{"inputs": [{"name": "age"}]}', "`shape`"),
    (b'{"inputs": [{"name": "age", "shape": [true, 1], "datatype": "FP32"}]}', "$.inputs[0].shape[0]"),
    (
        b'{"inputs": [{"name": "sex", "shape": [1], "datatype": "BYTES", "data": ["male"]}], "id": "\\ud800"}',
        '$.id: got "\\ud800": a lone surrogate',
    ),
    (b'{"inputs": [], "id": 7}', "$.id"),
]
"""Bytes that are no inference request, and part of the message."""


@pytest.fixture
def inputs(passenger: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return valid input tensors of two rows, by name."""
    return {
        name: {"name": name, "shape": [2, 1], "datatype": datatype, "data": [passenger[name]] * 2}
        for name, datatype in DATATYPES.items()
    }


def _refuse(server: httpx.Client, body: dict[str, Any], error: str, field: str) -> None:
    """Assert that `body` is rejected with 400 and exactly this envelope."""
    response = server.post(INFER, json=body)
    assert (response.status_code, response.json()) == (
        400,
        {"error": error, "code": "invalid_argument", "field": field},
    )


@pytest.mark.parametrize(("name", "change", "words"), WRONG_TENSORS)
def test_wrong_tensor(
    server: httpx.Client, inputs: dict[str, dict[str, Any]], name: str, change: dict[str, Any], words: str
) -> None:
    """A wrong datatype, shape or value is rejected with its tensor, row and expectation."""
    wrong = inputs | {name: inputs[name] | change}
    _refuse(server, {"inputs": list(wrong.values())}, f"{name}: {words}", name)
    assert server.post(INFER, json={"inputs": list(inputs.values())}).status_code == 200


@pytest.mark.parametrize(("body", "words"), WRONG_BODIES, ids=lambda value: repr(value[:40]))
def test_wrong_body(server: httpx.Client, body: bytes, words: str) -> None:
    """Bytes that are no inference request are rejected with the place of the error."""
    response = server.post(INFER, content=body)
    answer = response.json()
    assert (response.status_code, answer["code"]) == (400, "invalid_argument")
    assert answer["error"].startswith("body: expected an inference request: ")
    assert words in answer["error"]


def test_no_inputs(server: httpx.Client) -> None:
    """A request without inputs is rejected."""
    _refuse(server, {"inputs": []}, "inputs: expected at least one", "inputs")


def test_unknown_input(server: httpx.Client, inputs: dict[str, dict[str, Any]]) -> None:
    """An unknown input is rejected with the names of the model's inputs."""
    cabin = inputs["sex"] | {"name": "cabin"}
    _refuse(server, {"inputs": [*inputs.values(), cabin]}, f"cabin: no such input; expected {NAMES}", "cabin")


def test_input_given_twice(server: httpx.Client, inputs: dict[str, dict[str, Any]]) -> None:
    """A duplicate input is rejected."""
    _refuse(
        server,
        {"inputs": [*inputs.values(), inputs["sex"]]},
        "sex: expected once; it is given more than once",
        "sex",
    )


@pytest.mark.parametrize(("name", "words"), [("sex", 'expected one of "female", "male"'), ("sibsp", SIBSP)])
def test_input_left_out(server: httpx.Client, inputs: dict[str, dict[str, Any]], name: str, words: str) -> None:
    """A request without an input that isn't nullable is rejected."""
    rest = [tensor for key, tensor in inputs.items() if key != name]
    _refuse(server, {"inputs": rest}, f"{name}: {words}; there is no such input", name)


def test_input_without_data(server: httpx.Client, inputs: dict[str, dict[str, Any]]) -> None:
    """A tensor without data is rejected."""
    del inputs["age"]["data"]
    _refuse(server, {"inputs": list(inputs.values())}, "age: expected data", "age")


def test_unknown_output(server: httpx.Client, inputs: dict[str, dict[str, Any]]) -> None:
    """An unknown output is rejected with the names of the model's outputs."""
    body = {"inputs": list(inputs.values()), "outputs": [{"name": "label"}, {"name": "boat"}]}
    _refuse(server, body, 'outputs: no such output; expected "label", "probabilities"; got "boat"', "outputs")


def test_a_body_nested_too_deep(server: httpx.Client) -> None:
    """A body nested deeper than the limit is rejected; brackets within strings don't count."""
    response = server.post(INFER, content=b'{"inputs": ' + b"[" * 10_000)
    words = "body: expected JSON nested at most 32 deep"
    assert (response.status_code, response.json()) == (400, {"error": words, "code": "invalid_argument"})
    quoted = server.post(INFER, content=b'{"id": "\\"' + b"[" * 99 + b'", "inputs": []}')
    assert quoted.json()["error"] == "inputs: expected at least one"


def test_a_shape_of_many_dimensions(server: httpx.Client, inputs: dict[str, dict[str, Any]]) -> None:
    """The message for a shape with far too many dimensions is short."""
    inputs["age"]["shape"] = [1] * 100_000
    response = server.post(INFER, json={"inputs": list(inputs.values())})
    assert (response.status_code, response.json()["field"]) == (400, "age")
    assert len(response.content) < 200

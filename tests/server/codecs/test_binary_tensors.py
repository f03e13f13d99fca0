"""The binary tensor extension: the same numbers as in JSON, and its errors."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.models.manifest import Feature
from server.models.repository import Repository
from tests.passenger import DATATYPES, PASSENGER
from tests.server.support import blobs, small
from tests.server.support.in_process import InProcess

INFER: Final = "/v2/models/titanic/infer"
RECORDS: Final[list[dict[str, Any]]] = [
    PASSENGER,
    {"pclass": 3, "sex": "male", "age": None, "sibsp": 1, "parch": 2, "fare": 7.25, "embarked": "Q"},
    {"pclass": 2, "sex": "female", "age": 0.1666, "sibsp": 0, "parch": 0, "fare": None, "embarked": None},
]
Post = Callable[..., httpx.Response]
brief = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture
def infer(server: httpx.Client) -> Post:
    """Return a function that sends an inference request."""

    def post(body: bytes, headers: dict[str, str]) -> httpx.Response:
        return server.post(INFER, content=body, headers=headers)

    return post


@brief
@given(
    st.lists(st.sampled_from(RECORDS), min_size=1, max_size=300),
    st.sets(st.sampled_from(sorted(DATATYPES))),
    st.sets(st.sampled_from(["label", "probabilities"])),
    st.booleans(),
)
def test_every_form_has_the_same_numbers(
    server: httpx.Client, records: list[dict[str, Any]], binary: set[str], outputs: set[str], default: bool
) -> None:
    """For any binary inputs and outputs the numbers equal those of JSON, bit for bit."""
    expected = blobs.read(server.post(INFER, content=blobs.request(records, ())[0]))
    asked = [{"name": name, "parameters": {"binary_data": name in outputs}} for name in ("label", "probabilities")]
    members: dict[str, Any] = {"parameters": {"binary_data_output": True}} if default else {"outputs": asked}
    body, headers = blobs.request(records, binary, **members)
    response = server.post(INFER, content=body, headers=headers)
    assert blobs.read(response) == expected
    is_binary = default or bool(outputs)
    assert response.headers["content-type"] == ("application/octet-stream" if is_binary else "application/json")


def test_inputs_in_any_order(infer: Post) -> None:
    """Binary data follow the order of the request's inputs, not of the signature."""
    body, headers = blobs.request(RECORDS)
    document, rest = json.loads(body[: int(headers[blobs.LENGTH])]), body[int(headers[blobs.LENGTH]) :]
    pieces = []
    for tensor in document["inputs"]:
        size = tensor["parameters"]["binary_data_size"]
        pieces.append((tensor, rest[:size]))
        rest = rest[size:]
    pieces.reverse()
    turned = json.dumps({"inputs": [tensor for tensor, _ in pieces]}).encode()
    response = infer(turned + b"".join(each for _, each in pieces), {blobs.LENGTH: str(len(turned))})
    assert blobs.read(response) == blobs.read(infer(body, headers))


def test_what_is_left_out_is_null(infer: Post) -> None:
    """A nullable input left out of a binary request is null in every row."""
    record = PASSENGER | {"age": None}
    body, headers = blobs.request([record])
    document = json.loads(body[: int(headers[blobs.LENGTH])])
    rest = body[int(headers[blobs.LENGTH]) :]
    at = sum(each["parameters"]["binary_data_size"] for each in document["inputs"][:2])
    del document["inputs"][2]
    without = json.dumps(document).encode()
    response = infer(without + rest[:at] + rest[at + 4 :], {blobs.LENGTH: str(len(without))})
    assert blobs.read(response) == blobs.read(infer(body, headers))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda body, head: (body + b"x", head), "body: 1 bytes are left over after the last tensor"),
        (lambda body, head: (body[:-1], head), "embarked: binary data: the body ends before it"),
        (lambda body, _: (body, str(len(body) + 1)), "inference-header-content-length: the body has "),
        (lambda body, _: (body, "-1"), "inference-header-content-length: expected a whole number of at most 18 digits"),
        (lambda body, _: (body, "9" * 18), "inference-header-content-length: the body has "),
        (lambda body, _: (body, "0"), "inference-header-content-length: 0 is only for models of one input"),
        (lambda body, _: (body, "1"), "body: expected an inference request: "),
    ],
)
def test_lengths_that_do_not_fit(infer: Post, change: Callable[[bytes, str], tuple[bytes, str]], words: str) -> None:
    """Lengths that don't fit the body are rejected by name."""
    body, headers = blobs.request([PASSENGER])
    changed, length = change(body, headers[blobs.LENGTH])
    response = infer(changed, {blobs.LENGTH: length})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_argument")
    assert response.json()["error"].startswith(words)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("age", struct.pack("<f", -1), "age: row 0: expected a number from 0 to 120 or null; got -1.0"),
        ("age", b"\0" * 8, "age: binary data: expected 4 bytes for 1 rows; got 8"),
        ("pclass", struct.pack("<q", 4), "pclass: row 0: expected one of 1, 2, 3; got 4"),
        ("sibsp", struct.pack("<q", -1), "sibsp: row 0: expected an integer of at least 0; got -1"),
        ("sex", blobs.blob("BYTES", ["x"]), 'sex: row 0: expected one of "female", "male"; got "x"'),
        ("sex", b"\x04\0\0\0mal", "sex: binary data: element 0 is cut off: expected 4 bytes, got 3"),
        ("sex", b"\xff\xff\xff\xffmale", "sex: binary data: element 0 is cut off: expected 4294967295 bytes, got 4"),
        ("sex", b"\x04\0", "sex: binary data: element 0 is cut off"),
        ("sex", b"", "sex: binary data: expected 1 elements; got 0 and 0 more bytes"),
        ("sex", blobs.blob("BYTES", ["male"] * 2), "sex: binary data: expected 1 elements; got 1 and 8 more bytes"),
        ("sex", blobs.blob("BYTES", ["male"]) + b"x", "sex: binary data: expected 1 elements; got 1 and 1 more bytes"),
        ("sex", struct.pack("<I", 1) + b"\xff", 'sex: binary data: expected UTF-8; got "\\\\xff"'),
    ],
)
def test_values_that_do_not_fit(infer: Post, name: str, data: bytes, words: str) -> None:
    """A binary tensor's values are checked like JSON values; the error names the tensor."""
    tensors: list[dict[str, Any]] = [
        {"name": each, "shape": [1, 1], "datatype": DATATYPES[each], "data": [value]}
        for each, value in PASSENGER.items()
    ]
    for tensor in tensors:
        if tensor["name"] == name:
            del tensor["data"]
            tensor["parameters"] = {"binary_data_size": len(data)}
    document = json.dumps({"inputs": tensors}).encode()
    response = infer(document + data, {blobs.LENGTH: str(len(document))})
    assert response.json() == {"error": words, "code": "invalid_argument", "field": name}


@brief
@given(st.data())
def test_a_mutated_request_is_answered_or_refused(server: httpx.Client, data: st.DataObject) -> None:
    """A request with damaged bytes gets 200 or 4xx, and the next request succeeds."""
    body, headers = blobs.request(RECORDS, parameters={"binary_data_output": True})
    mutated = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        kind = data.draw(st.sampled_from(["change", "cut", "add"]))
        if kind == "change":
            mutated[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del mutated[at : at + data.draw(st.integers(1, 9))]
        else:
            mutated[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    response = server.post(INFER, content=bytes(mutated), headers=headers)
    assert response.status_code in {200, 400, 413}
    if response.status_code != 200:
        assert set(response.json()) <= {"error", "code", "field"}
    assert blobs.read(server.post(INFER, content=body, headers=headers))["label"][0] == "survived"


@pytest.mark.parametrize("classes", [1, 2, 9])
def test_classification(infer: Post, classes: int) -> None:
    """Classification returns the likeliest classes as strings of score, index and label."""
    for binary in (False, True):
        asked = {"name": "probabilities", "parameters": {"classification": classes, "binary_data": binary}}
        body, headers = blobs.request(RECORDS[:2], outputs=[asked])
        likeliest = blobs.read(infer(body, headers))["probabilities"]
        assert likeliest[0][0] == "0.898663:1:survived"
        assert [row[0].split(":")[2] for row in likeliest] == ["survived", "died"]
        assert {len(row) for row in likeliest} == {min(classes, 2)}


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (
            {"outputs": [{"name": "label", "parameters": {"classification": 1}}]},
            "label: classification: expected an output",
        ),
        (
            {"outputs": [{"name": "probabilities", "parameters": {"classification": -1}}]},
            "probabilities: classification:",
        ),
        ({"outputs": [{"name": "label", "parameters": {"binary_data": 1}}]}, "binary_data: expected true or false"),
        ({"parameters": {"binary_data_output": "yes"}}, "binary_data_output: expected true or false"),
        ({"parameters": {"timeout": -1}}, "timeout: expected a whole number from 0 to 2^64 - 1; got -1"),
        ({"parameters": {"priority": "high"}}, 'priority: expected a whole number from 0 to 2^64 - 1; got "high"'),
    ],
)
def test_parameters_that_can_not_be_kept(infer: Post, member: dict[str, Any], words: str) -> None:
    """A known parameter with an invalid value is rejected by name."""
    response = infer(*blobs.request([PASSENGER], **member))
    assert (response.status_code, response.json()["code"]) == (400, "invalid_argument")
    assert response.json()["error"].startswith(words)


def test_priority_is_taken_and_a_timeout_kept(infer: Post) -> None:
    """A priority and a long timeout change nothing."""
    body, headers = blobs.request([PASSENGER], parameters={"priority": 3, "timeout": 60_000_000})
    assert blobs.read(infer(body, headers))["label"] == ["survived"]


TWICE: Final = "g ({kind}[N, 1] x) => (float[N, 1] value) {{ one = Cast<to = 1>(x) value = Add(one, one) }}"


@pytest.mark.parametrize(
    ("datatype", "kind", "values"),
    [
        ("BOOL", "bool", [True, False, True]),
        ("INT8", "int8", [-128, 0, 127]),
        ("INT16", "int16", [-32768, 0, 32767]),
        ("INT32", "int32", [-(2**20), 0, 2**20]),
        ("INT64", "int64", [-(2**20), 0, 2**20]),
        ("UINT8", "uint8", [0, 1, 255]),
        ("UINT16", "uint16", [0, 1, 65535]),
        ("UINT32", "uint32", [0, 1, 2**20]),
        ("UINT64", "uint64", [0, 1, 2**20]),
        ("FP16", "float16", [0.5, -2.0, 65504.0]),
        ("FP32", "float", [0.5, -2.0, 1e30]),
        ("FP64", "double", [0.5, -2.0, 1e30]),
    ],
)
def test_every_datatype(tmp_path: Path, datatype: Any, kind: str, values: list[float]) -> None:  # noqa: ANN401 # a literal
    """Each datatype works in JSON, as a binary tensor and as a raw body."""
    model = small.onnx_bytes(TWICE.format(kind=kind))
    feature = Feature(name="x", datatype=datatype, description="A number.", example=values[0], field_number=1)
    small.write(tmp_path, model, small.manifest(model, feature, answers=[(values[0], 2.0 * values[0])]))
    with InProcess(Repository.load(tmp_path)) as app:
        for rows in (values, values[:1]):
            expected = [[pytest.approx(2.0 * value)] for value in rows]
            data = blobs.blob(datatype, rows)
            tensor = {"name": "x", "shape": [len(rows), 1], "datatype": datatype}
            plain = app.post("/v2/models/small/infer", {"inputs": [tensor | {"data": rows}]})
            assert blobs.read(plain)["value"] == expected
            document = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": len(data)}}]}).encode()
            binary = app.post_bytes("/v2/models/small/infer", document + data, {blobs.LENGTH: str(len(document))})
            assert blobs.read(binary)["value"] == expected
            raw = app.post_bytes("/v2/models/small/infer", data, {blobs.LENGTH: "0"})
            assert blobs.read(raw)["value"] == expected
            assert raw.headers["content-type"] == "application/octet-stream"


def test_a_raw_string(tmp_path: Path) -> None:
    """A raw body for a string input is one string without a length prefix."""
    model = small.onnx_bytes(small.YES, opset=19)
    small.write(tmp_path, model, small.manifest(model, small.WORD, answers=[("yes", 1.0), ("no", 0.0)]))
    with InProcess(Repository.load(tmp_path)) as app:
        for word, answer in (("yes", 1.0), ("no", 0.0)):
            raw = app.post_bytes("/v2/models/small/infer", word.encode(), {blobs.LENGTH: "0"})
            assert blobs.read(raw)["value"] == [[answer]]
        long = app.post_bytes("/v2/models/small/infer", b"x" * 65_537, {blobs.LENGTH: "0"})
        assert (long.status_code, long.json()["field"]) == (413, "x")


def test_a_raw_body_that_is_no_rows(tmp_path: Path) -> None:
    """A raw body that is empty or has an incomplete row is rejected by name."""
    small.double(tmp_path)
    with InProcess(Repository.load(tmp_path)) as app:
        for body in (b"", b"\0" * 5):
            response = app.post_bytes("/v2/models/small/infer", body, {blobs.LENGTH: "0"})
            words = f"x: expected rows of 4 bytes; got {len(body)} bytes"
            assert response.json() == {"error": words, "code": "invalid_argument", "field": "x"}

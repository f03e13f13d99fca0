"""ModelInfer in every protocol: raw and typed contents, cached request layouts, and rejections."""

import struct
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format

from server.rpc.proto import inference_pb2
from tests.passenger import PASSENGER
from tests.server.support.rpc import (
    INFER,
    PROTO,
    Spoken,
    encoded,
    every_wire,
    rest,
    tensors,
)
from tests.server.support.wire import Wire


@every_wire
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("rows", [1, 300])
def test_model_infer(served: Wire, spoken: Spoken, rows: int, raw: bool) -> None:
    """Tensors give REST's numbers, raw for raw contents and typed for typed ones, repeatedly."""
    expected = rest(served, PASSENGER)
    asked = encoded(spoken, tensors(rows, raw=raw))
    for _ in range(2):
        status, message, words = spoken.call(served, INFER, asked)
        assert (status, words) == (0, "")
        response = inference_pb2.ModelInferResponse()
        if spoken.is_json:
            json_format.Parse(message, response)
        else:
            response.ParseFromString(message)
        label, probabilities = response.outputs
        assert (response.model_name, response.model_version) == ("titanic", "1")
        assert (list(label.shape), list(probabilities.shape)) == ([rows], [rows, 2])
        if raw:
            assert response.raw_output_contents[0] == (b"\x08\0\0\0survived") * rows
            numbers = np.frombuffer(response.raw_output_contents[1], "<f4").tolist()
        else:
            assert list(label.contents.bytes_contents) == [b"survived"] * rows
            numbers = list(probabilities.contents.fp32_contents)
        assert numbers == [expected["probabilities"]["died"], expected["probabilities"]["survived"]] * rows


def test_model_infer_follows_the_values(served: Wire) -> None:
    """The cached layout of a request never replaces its values: another passenger gets another prediction."""
    answers = []
    for pclass in (1, 3, 1):
        asked = tensors(raw=True)
        asked.raw_input_contents[0] = struct.pack("<q", pclass)
        status, message, _ = PROTO.call(served, INFER, asked.SerializeToString())
        response = inference_pb2.ModelInferResponse.FromString(message)
        answers.append((status, response.raw_output_contents[1]))
    assert answers[0] == answers[2] != answers[1]


def _without(asked: inference_pb2.ModelInferRequest, name: str) -> inference_pb2.ModelInferRequest:
    for place, tensor in enumerate(asked.inputs):
        if tensor.name == name:
            del asked.inputs[place]
            if asked.raw_input_contents:
                del asked.raw_input_contents[place]
            return asked
    raise AssertionError(name)


def test_model_infer_selects_and_echoes(served: Wire) -> None:
    """The response has the request's id and the requested outputs; a missing input is null."""
    asked = _without(tensors(raw=True), "age")
    asked.id = "seven"
    asked.outputs.add(name="probabilities").parameters["classification"].int64_param = 1
    _, message, words = PROTO.call(served, INFER, asked.SerializeToString())
    response = inference_pb2.ModelInferResponse.FromString(message)
    assert (words, response.id, [each.name for each in response.outputs]) == ("", "seven", ["probabilities"])
    assert response.raw_output_contents[0].endswith(b":1:survived")
    expected = rest(served, PASSENGER | {"age": None})["probability"]
    assert float(response.raw_output_contents[0][4:].split(b":")[0]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda asked: setattr(asked, "model_name", "nobody"), 5, "model 'nobody' is not served"),
        (lambda asked: setattr(asked, "model_version", "9"), 5, "has no version '9'"),
        (lambda asked: setattr(asked.inputs[0], "name", "class"), 3, "class: no such input"),
        (lambda asked: setattr(asked.inputs[0], "name", "sex"), 3, "sex: expected once; it is given more than once"),
        (lambda asked: setattr(asked.inputs[0], "datatype", "FP32"), 3, 'pclass: expected datatype INT64; got "FP32"'),
        (
            lambda asked: asked.inputs[0].shape.append(1),
            3,
            "pclass: expected the shape [rows, 1] or [rows]; got [1, 1, 1]",
        ),
        (
            lambda asked: asked.inputs[0].ClearField("shape"),
            3,
            "pclass: expected the shape [rows, 1] or [rows]; got []",
        ),
        (lambda asked: asked.inputs[1].shape.__setitem__(0, 2), 3, "sex: expected 1 rows as in pclass; got 2"),
        (lambda asked: _without(asked, "sex"), 3, "sex: expected one of"),
        (lambda asked: asked.outputs.add(name="nothing"), 3, 'outputs: no such output; expected "label",'),
        (
            lambda asked: asked.parameters["timeout"].CopyFrom(inference_pb2.InferParameter(string_param="soon")),
            3,
            "timeout: expected a whole number",
        ),
    ],
)
def test_model_infer_refused(served: Wire, raw: bool, change: Any, code: int, words: str) -> None:  # noqa: ANN401
    """A request that doesn't match the signature is rejected with the tensor's name."""
    asked = tensors(raw=raw)
    change(asked)
    status, _, message = PROTO.call(served, INFER, asked.SerializeToString())
    assert (status, words in message) == (code, True), message
    assert PROTO.call(served, INFER, tensors(raw=raw).SerializeToString())[0] == 0


@pytest.mark.parametrize(
    ("place", "blob", "words"),
    [
        (0, b"\x09" + bytes(7), "pclass: row 0: expected one of 1, 2, 3; got 9"),
        (0, bytes(4), "pclass: binary data: expected 8 bytes for 1 rows; got 4"),
        (1, b"\x05\0\0\0other", "sex: row 0: expected one of"),
        (1, b"\xff\xff\xff\xff", "sex: binary data: element 0 is cut off"),
        (2, struct.pack("<f", 121), "age: row 0: expected a number from 0 to 120"),
    ],
)
def test_model_infer_refuses_raw_values(served: Wire, place: int, blob: bytes, words: str) -> None:
    """Raw contents are validated, with a new and with a cached request layout."""
    for _ in range(2):
        asked = tensors(raw=True)
        asked.raw_input_contents[place] = blob
        status, _, message = PROTO.call(served, INFER, asked.SerializeToString())
        assert (status, words in message) == (3, True), message


@pytest.mark.parametrize("raw", [1, 6, 8])
def test_model_infer_counts_raw_contents(served: Wire, raw: int) -> None:
    """Raw contents must be as many as the inputs, without typed contents beside them."""
    asked = tensors(raw=True)
    contents = [*asked.raw_input_contents, b"more"]
    del asked.raw_input_contents[:]
    asked.raw_input_contents.extend(contents[:raw])
    status, _, words = PROTO.call(served, INFER, asked.SerializeToString())
    assert (status, words) == (3, f"raw_input_contents: expected 7, one for each input; got {raw}")
    both = tensors(raw=True)
    both.inputs[0].contents.int64_contents.append(1)
    assert PROTO.call(served, INFER, both.SerializeToString())[0] == 3


def test_each_request_has_its_own_form(served: Wire) -> None:
    """Cached layouts are separate: id and selected outputs of one request never appear in another."""
    named, chosen = tensors(raw=True), tensors(raw=True)
    named.id = "seven"
    chosen.outputs.add(name="probabilities")
    for _ in range(2):
        for asked, id_, outputs in ((tensors(raw=True), "", 2), (named, "seven", 2), (chosen, "", 1)):
            _, message, _ = PROTO.call(served, INFER, asked.SerializeToString())
            response = inference_pb2.ModelInferResponse.FromString(message)
            told = (response.id, len(response.outputs), len(response.raw_output_contents))
            assert told == (id_, outputs, outputs)

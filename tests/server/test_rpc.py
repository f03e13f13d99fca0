"""Calls on every wire: the same numbers as REST's, the same refusals, by the short way and by the router."""

import base64
import gzip
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
import numpy as np
import pytest
from google.protobuf import json_format

from server.counters import Counters
from server.hot import RestPrediction
from server.model import Model
from server.repository import Repository
from server.rpc.proto import error_details_pb2, health_pb2, inference_pb2, status_pb2
from tests.passenger import DATATYPES, PASSENGER
from tests.server.rpc import (
    BATCH,
    INFER,
    KINDS,
    MODELS,
    PREDICT,
    STREAM,
    WIRES,
    Http2,
    Spoken,
    enveloped,
    envelopes,
    get,
    http1,
    request,
    wire_name,
)
from tests.server.wire import Wire, post, wire

JSON: Final = Spoken("application/json")
PROTO: Final = Spoken("application/proto")
every_wire = pytest.mark.parametrize("spoken", WIRES, ids=wire_name)


@pytest.fixture(scope="module")
def served() -> Iterator[Wire]:
    """Serve the committed models on HTTP/1.1 and HTTP/2."""
    with wire(Repository.load(MODELS), http2=True) as opened:
        yield opened


def counted(served: Wire) -> Counters:
    """Return what the Titanic model has done."""
    prediction = served.app.hot["/api/predict"]
    assert isinstance(prediction, RestPrediction)
    return prediction.runner.counters


def rest(served: Wire, document: object, path: str = "/api/predict") -> Any:  # noqa: ANN401 # JSON
    """Return what REST answers."""
    with served.connect() as connection:
        connection.sendall(post(path, document))
        [(_, _, body)] = served.read(connection)
    return msgspec.json.decode(body)


def encoded(spoken: Spoken, message: Any) -> bytes:  # noqa: ANN401 # a protobuf message
    """Return a message in the codec of a wire."""
    return json_format.MessageToJson(message).encode() if spoken.is_json else message.SerializeToString()


def decoded(spoken: Spoken, kind: str, data: bytes) -> Any:  # noqa: ANN401 # JSON
    """Return an answer as REST's JSON has it."""
    if spoken.is_json:
        return msgspec.json.decode(data)
    return json_format.MessageToDict(KINDS[kind].FromString(data), always_print_fields_with_no_presence=True)


@every_wire
def test_predict(served: Wire, spoken: Spoken) -> None:
    """A passenger gets REST's answer on every wire, to the last bit, by the short way and by the router."""
    expected = rest(served, PASSENGER)
    body = encoded(spoken, request(**PASSENGER))
    for headers in ({}, {"expect": "nothing"}):
        status, message, words = spoken.call(served, PREDICT, body, **headers)
        assert (status, words) == (0, "")
        assert decoded(spoken, "PredictResponse", message) == expected


@every_wire
def test_predict_batch(served: Wire, spoken: Spoken) -> None:
    """Several records get REST's answers, in their order."""
    records = [PASSENGER, PASSENGER | {"age": None, "pclass": 3}, PASSENGER | {"sex": "male", "embarked": None}]
    batch = KINDS["PredictBatchRequest"](records=[request(**record) for record in records])
    status, message, _ = spoken.call(served, BATCH, encoded(spoken, batch))
    assert status == 0
    assert decoded(spoken, "PredictBatchResponse", message) == rest(served, {"records": records})


@pytest.mark.parametrize("media_type", ["application/connect+proto", "application/connect+json"])
def test_predict_stream(served: Wire, media_type: str) -> None:
    """Records are answered in messages of their own, in their order, more of them than one run takes."""
    records = [PASSENGER | {"age": age % 100} for age in range(300)]
    batch = KINDS["PredictBatchRequest"](records=[request(**record) for record in records])
    spoken = Spoken(media_type)
    answer = http1(served, STREAM, enveloped(encoded(spoken, batch)), f"content-type: {media_type}")
    *messages, (flags, end) = envelopes(answer.body)
    assert (answer.status, flags, end) == (200, 2, b"{}")
    expected = rest(served, {"records": records})
    answers = [decoded(spoken, "PredictResponse", message) for _, message in messages]
    served_by = {name: expected[name] for name in ("model", "version")}
    assert answers == [served_by | prediction for prediction in expected["predictions"]]


def test_json_as_the_protobuf_mapping_has_it(served: Wire) -> None:
    """Numbers as strings, NaN by its name, null for what is left out, whole numbers with a point: all are taken."""
    document: dict[str, Any] = {name: value for name, value in PASSENGER.items() if name not in {"sibsp", "parch"}}
    expected = rest(served, PASSENGER | {"age": None})
    for spelled in ({"age": "NaN"}, {"age": None}, {"age": None, "pclass": "1"}, {"age": None, "fare": "211.3375"}):
        status, message, words = JSON.call(served, PREDICT, json.dumps(document | spelled).encode())
        assert (status, words, msgspec.json.decode(message)) == (0, "", expected)


@every_wire
@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"sex": "other"}, "sex", 'sex: expected one of "female", "male"; got'),
        ({"sex": None}, "sex", 'sex: expected one of "female", "male"'),
        ({"age": 121.0}, "age", "age: expected a number from 0 to 120 or null; got 121"),
        ({"fare": float("inf")}, "fare", "fare: expected a number of at least 0 or null; got "),
        ({"sibsp": -1}, "sibsp", "sibsp: expected an integer of at least 0; got -1"),
        ({"embarked": ""}, "embarked", 'embarked: expected one of "C", "Q", "S" or null; got ""'),
    ],
)
def test_a_wrong_value_names_its_field(
    served: Wire, spoken: Spoken, change: dict[str, Any], field: str, words: str
) -> None:
    """A value that a feature may not have is refused with invalid_argument, and the server goes on answering."""
    body = encoded(spoken, request(**(PASSENGER | change)))
    status, _, message = spoken.call(served, PREDICT, body)
    assert (status, message.startswith(words)) == (3, True), message
    batch = KINDS["PredictBatchRequest"](records=[request(**PASSENGER), request(**(PASSENGER | change))])
    status, _, message = spoken.call(served, BATCH, encoded(spoken, batch))
    assert (status, message.startswith(f"records[1].{field}: expected")) == (3, True), message
    assert spoken.call(served, PREDICT, encoded(spoken, request(**PASSENGER)))[0] == 0


def test_error_details(served: Wire) -> None:
    """The field at fault stands in a google.rpc.BadRequest, on Connect and on gRPC."""
    body = request(**(PASSENGER | {"sex": "other"})).SerializeToString()
    answer = http1(served, PREDICT, body, "content-type: application/proto")
    assert answer.status == 400
    [detail] = msgspec.json.decode(answer.body)["details"]
    assert detail["type"] == "google.rpc.BadRequest"
    with Http2(served) as connection:
        fields = (("content-type", "application/grpc"), ("te", "trailers"))
        trailers = connection.post(PREDICT, enveloped(body), *fields).trailers
    status = status_pb2.Status.FromString(_unpadded(trailers["grpc-status-details-bin"]))
    [packed] = status.details
    bad = error_details_pb2.BadRequest()
    assert packed.Unpack(bad)
    assert packed.value == _unpadded(detail["value"])
    assert [violation.field for violation in bad.field_violations] == ["sex"]


def _unpadded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (PREDICT, b'{"pclass":1,"sx":"female"}', "sx: no such feature; expected pclass, sex"),
        (PREDICT, b'{"pclass":1', "body: expected a JSON object"),
        (PREDICT, b'{"pclass":"first","sex":"male"}', "pclass: expected one of 1, 2, 3"),
        (PREDICT, b"[]", "body: expected a JSON object"),
        (PREDICT, b"\xff", "body: expected a JSON object"),
        (PREDICT, b'{"records":[]}', "records"),
        (BATCH, b'{"records":[]}', "records: expected at least one"),
        (BATCH, b"{}", "records: expected at least one"),
        (BATCH, b'{"pclass":1,"sex":"male"}', "records"),
        (BATCH, b'{"records":[{"pclass":1,"sex":1}]}', "records[0].sex"),
    ],
)
def test_json_that_is_no_request(served: Wire, path: str, body: bytes, words: str) -> None:
    """JSON that isn't the message is refused in words that name what is at fault."""
    status, _, message = JSON.call(served, path, body)
    assert status == 3
    assert words.split(":", maxsplit=1)[0] in message


def test_bytes_that_are_no_message(served: Wire) -> None:
    """Bytes that aren't protobuf's are refused; a field that isn't known is passed over, as protobuf has it."""
    assert PROTO.call(served, PREDICT, b"\xff\xff")[::2] == (
        3,
        "message: expected lifeboat.titanic.v1.PredictRequest in binary",
    )
    known = request(**PASSENGER).SerializeToString()
    assert PROTO.call(served, PREDICT, known + b"\xfa\x01\x01x")[0] == 0


def test_too_many_records() -> None:
    """More records than a request may have are refused with resource_exhausted."""
    with wire(Repository.load(MODELS), max_rows=2) as small:
        batch = KINDS["PredictBatchRequest"](records=[request(**PASSENGER)] * 3)
        for spoken in (PROTO, JSON):
            status, _, words = spoken.call(small, BATCH, encoded(spoken, batch))
            assert (status, words) == (8, "records: expected at most 2, got 3")


def test_too_large_a_message() -> None:
    """A message over the limit is refused with resource_exhausted, also where it is small before it is unpacked."""
    with wire(Repository.load(MODELS), max_body_bytes=1000) as small:
        assert PROTO.call(small, PREDICT, bytes(1001))[0] == 8
        assert PROTO.call(small, PREDICT, gzip.compress(bytes(100_000)), content_encoding="gzip")[0] == 8
        spoken = Spoken("application/grpc-web")
        assert spoken.call(small, PREDICT, bytes(1001))[0] == 8


def test_compression(served: Wire) -> None:
    """A request in gzip is taken; an answer is compressed where that is asked for and worth it."""
    record = request(**PASSENGER)
    assert PROTO.call(served, PREDICT, gzip.compress(record.SerializeToString()), content_encoding="gzip")[0] == 0
    batch = KINDS["PredictBatchRequest"](records=[record] * 100).SerializeToString()
    plain = http1(served, BATCH, batch, "content-type: application/proto")
    packed = http1(served, BATCH, batch, "content-type: application/proto", "accept-encoding: br, gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    small = http1(
        served, PREDICT, record.SerializeToString(), "content-type: application/proto", "accept-encoding: gzip"
    )
    assert "content-encoding" not in small.headers
    web = http1(served, BATCH, enveloped(batch), "content-type: application/grpc-web", "grpc-accept-encoding: gzip")
    assert web.headers["grpc-encoding"] == "gzip"
    flags, message = envelopes(web.body)[0]
    assert (flags, gzip.decompress(message)) == (1, plain.body)


def test_get(served: Wire) -> None:
    """A call without side effects is answered by GET, in JSON and in binary; other calls are not."""
    expected = rest(served, PASSENGER)
    asked = get(served, f"{PREDICT}?connect=v1&encoding=json&message={quote(json.dumps(PASSENGER))}")
    assert (asked.status, msgspec.json.decode(asked.body)) == (200, expected)
    binary = base64.urlsafe_b64encode(request(**PASSENGER).SerializeToString()).decode().rstrip("=")
    asked = get(served, f"{PREDICT}?connect=v1&encoding=proto&base64=1&message={binary}")
    assert decoded(PROTO, "PredictResponse", asked.body) == expected
    refused = get(served, f"{PREDICT}?connect=v1&encoding=proto&base64=1&message=%21")
    assert (refused.status, msgspec.json.decode(refused.body)["code"]) == (400, "invalid_argument")
    assert get(served, f"{PREDICT}?encoding=xml&message=1").status == 415
    control = get(served, "/inference.GRPCInferenceService/RepositoryModelUnload?encoding=json&message=%7B%7D")
    assert (control.status, control.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("path", "media_type", "status"),
    [
        (PREDICT, "image/jpeg", 415),
        (PREDICT, "application/connect+proto", 415),
        (STREAM, "application/proto", 415),
        (PREDICT, "application/grpc", 415),
        ("/lifeboat.titanic.v1.TitanicService/Nothing", "application/proto", 404),
        ("/nobody.v1.Service/Predict", "application/json", 404),
    ],
)
def test_what_no_wire_speaks(served: Wire, path: str, media_type: str, status: int) -> None:
    """A type that the method isn't called by, gRPC on HTTP/1.1 among them, and a method that isn't there."""
    assert http1(served, path, b"", f"content-type: {media_type}").status == status


@pytest.mark.parametrize("media_type", ["application/grpc-web", "application/grpc"])
def test_unknown_method_on_grpc(served: Wire, media_type: str) -> None:
    """GRPC is told in its own way that there is no such method."""
    spoken = Spoken(media_type, http2=True)
    assert spoken.call(served, "/nobody.v1.Service/Predict", b"")[0] == 12


@every_wire
def test_deadline_while_queued(spoken: Spoken) -> None:
    """A deadline that passes in the queue answers deadline_exceeded, and the row is never run."""
    header = "grpc_timeout" if spoken.has_envelopes else "connect_timeout_ms"
    value = "1m" if spoken.has_envelopes else "1"
    with wire(Repository.load(MODELS), http2=True, queue_delay_us=1_000_000) as slow:
        body = encoded(spoken, request(**PASSENGER))
        for headers in ({}, {"expect": "nothing"}):
            status, _, words = spoken.call(slow, PREDICT, body, **{header: value}, **headers)
            assert (status, words) == (4, "the deadline passed before the answer")
        assert counted(slow).runs == 0


@pytest.mark.parametrize("value", ["1", "x", "123456789S", "-1S", ""])
def test_a_deadline_that_is_none(served: Wire, value: str) -> None:
    """A malformed deadline is refused, not ignored."""
    body = request(**PASSENGER).SerializeToString()
    status, _, words = Spoken("application/grpc-web").call(served, PREDICT, body, grpc_timeout=value or "S")
    assert (status, words.startswith("grpc-timeout: expected")) == (3, True)
    status, _, words = PROTO.call(served, PREDICT, body, connect_timeout_ms="12345678901")
    assert (status, words.startswith("connect-timeout-ms: expected")) == (3, True)


def test_a_caller_that_leaves_is_dropped() -> None:
    """A stream that is reset while it waits is never run; the one beside it on the connection is answered."""
    with wire(Repository.load(MODELS), http2=True, queue_delay_us=50_000) as slow, Http2(slow) as connection:
        fields = (("content-type", "application/grpc"), ("te", "trailers"))
        body = enveloped(request(**PASSENGER).SerializeToString())
        leaver, stayer = connection.send(PREDICT, body, *fields), connection.send(PREDICT, body, *fields)
        slow.turn()
        connection.reset(leaver)
        assert connection.answer(stayer).trailers["grpc-status"] == "0"
        assert (counted(slow).rows, counted(slow).failures) == (1, {"canceled": 1})


@every_wire
def test_what_nobody_foresaw_is_opaque(
    spoken: Spoken, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception's text is the log's, under the id that the caller is given; nothing of it reaches the caller."""

    def broken(_model: Model, _tensors: object) -> None:
        raise ZeroDivisionError("a secret")

    with wire(Repository.load(MODELS), http2=True) as served:
        monkeypatch.setattr(Model, "compute", broken)
        status, message, words = spoken.call(
            served, PREDICT, encoded(spoken, request(**PASSENGER)), x_request_id="my-id"
        )
    assert (status, message, words) == (13, b"", "internal error; request id my-id")
    assert "a secret" in caplog.text


def test_queue_full() -> None:
    """What a full queue turns away is resource_exhausted, with how long to wait."""
    with wire(Repository.load(MODELS), http2=True, max_queue_rows=1, queue_delay_us=50_000) as full:
        body = request(**PASSENGER).SerializeToString()
        with Http2(full) as connection:
            fields = (("content-type", "application/proto"),)
            first, second = connection.send(PREDICT, body, *fields), connection.send(PREDICT, body, *fields)
            refused = connection.answer(second)
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            details = msgspec.json.decode(refused.body)["details"]
            assert [detail["type"] for detail in details] == ["google.rpc.RetryInfo"]
            assert connection.answer(first).status == 200


def tensors(rows: int = 1, *, raw: bool) -> inference_pb2.ModelInferRequest:
    """Return a request for so many copies of the passenger."""
    asked = inference_pb2.ModelInferRequest(model_name="titanic")
    for name, datatype in DATATYPES.items():
        tensor = asked.inputs.add(name=name, datatype=datatype, shape=[rows, 1])
        value = PASSENGER[name]
        if datatype == "BYTES":
            blob, kept = struct.pack("<I", len(value)) + value.encode(), value.encode()
        else:
            blob, kept = struct.pack("<q" if datatype == "INT64" else "<f", value), value
        if raw:
            asked.raw_input_contents.append(blob * rows)
        else:
            field = {"INT64": "int64_contents", "FP32": "fp32_contents", "BYTES": "bytes_contents"}[datatype]
            getattr(tensor.contents, field).extend([kept] * rows)
    return asked


@every_wire
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("rows", [1, 300])
def test_model_infer(served: Wire, spoken: Spoken, rows: int, raw: bool) -> None:
    """Tensors get REST's numbers, raw where they are sent raw and typed where they are typed; again and again."""
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
    """What is kept of a request's form never stands in for its values: another passenger, another answer."""
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
    """The id comes back, the outputs that are asked for alone, classes where they are asked for; a null is left out."""
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
        (lambda asked: setattr(asked.inputs[0], "name", "sex"), 3, "sex: the input is given twice"),
        (lambda asked: setattr(asked.inputs[0], "datatype", "FP32"), 3, "pclass: expected datatype INT64; got FP32"),
        (lambda asked: asked.inputs[0].shape.append(1), 3, "pclass: expected the shape [rows, 1]; got [1, 1, 1]"),
        (lambda asked: asked.inputs[0].ClearField("shape"), 3, "pclass: expected the shape [rows, 1]; got []"),
        (lambda asked: asked.inputs[1].shape.__setitem__(0, 2), 3, "sex: expected 1 rows as in pclass; got 2"),
        (lambda asked: _without(asked, "sex"), 3, "sex: expected one of"),
        (lambda asked: asked.outputs.add(name="nothing"), 3, "outputs: 'nothing' is not among label, probabilities"),
        (
            lambda asked: asked.parameters["timeout"].CopyFrom(inference_pb2.InferParameter(string_param="soon")),
            3,
            "timeout: expected a whole number",
        ),
    ],
)
def test_model_infer_refused(served: Wire, raw: bool, change: Any, code: int, words: str) -> None:  # noqa: ANN401
    """What isn't the model's signature is refused in words that name the tensor, and the next request is answered."""
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
    """Raw contents are held to their feature's rules, the first time and when the request's form is known."""
    for _ in range(2):
        asked = tensors(raw=True)
        asked.raw_input_contents[place] = blob
        status, _, message = PROTO.call(served, INFER, asked.SerializeToString())
        assert (status, words in message) == (3, True), message


@pytest.mark.parametrize("raw", [1, 6, 8])
def test_model_infer_counts_raw_contents(served: Wire, raw: int) -> None:
    """There is one raw content for each input: fewer and more are refused, and typed contents beside them too."""
    asked = tensors(raw=True)
    contents = [*asked.raw_input_contents, b"more"]
    del asked.raw_input_contents[:]
    asked.raw_input_contents.extend(contents[:raw])
    status, _, words = PROTO.call(served, INFER, asked.SerializeToString())
    assert (status, words) == (3, f"raw_input_contents: expected 7, one for each input; got {raw}")
    both = tensors(raw=True)
    both.inputs[0].contents.int64_contents.append(1)
    assert PROTO.call(served, INFER, both.SerializeToString())[0] == 3


def test_health_and_readiness(served: Wire) -> None:
    """Health answers for the server and for each service, and says what it doesn't know."""
    check = "/grpc.health.v1.Health/Check"
    for name in ("", "inference.GRPCInferenceService", "lifeboat.titanic.v1.TitanicService"):
        body = health_pb2.HealthCheckRequest(service=name).SerializeToString()
        status, message, _ = PROTO.call(served, check, body)
        assert (status, health_pb2.HealthCheckResponse.FromString(message).status) == (0, 1)
    assert PROTO.call(served, check, health_pb2.HealthCheckRequest(service="nobody").SerializeToString())[0] == 5


def test_a_connection_is_replaced_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before HTTP/2's library would break a connection, its caller is told which request is the last one answered."""
    monkeypatch.setattr("server.http2._MAX_STREAMS", 3)
    with wire(Repository.load(MODELS), http2=True) as served, Http2(served) as connection:
        body, fields = request(**PASSENGER).SerializeToString(), (("content-type", "application/proto"),)
        streams = [connection.send(PREDICT, body, *fields) for _ in range(5)]
        assert [connection.answer(stream).status for stream in streams[:3]] == [200] * 3
        assert connection.goaway == streams[2]
        assert not set(streams[3:]) & set(connection.answers)


def test_a_reload_is_followed(models: Path) -> None:
    """A version that is loaded while calls go on is the one that answers, typed and by tensors."""
    repository = Repository.load(models)
    with wire(repository, http2=True, admin_token="let me in") as served:  # noqa: S106 # the test's own
        assert PROTO.call(served, INFER, tensors(raw=True).SerializeToString())[0] == 0
        second = models / "titanic" / "2"
        (models / "titanic" / "1").rename(second)
        described = json.loads((second / "manifest.json").read_bytes())
        (second / "manifest.json").write_text(json.dumps(described | {"version": 2}))
        (models / "titanic" / "labels.json").write_text('{"stable": 2}')
        load = inference_pb2.RepositoryModelLoadRequest(model_name="titanic").SerializeToString()
        path = "/inference.GRPCInferenceService/RepositoryModelLoad"
        assert PROTO.call(served, path, load)[0] == 16
        assert PROTO.call(served, path, load, authorization="Bearer let me in")[0] == 0
        _, message, _ = PROTO.call(served, INFER, tensors(raw=True).SerializeToString())
        assert inference_pb2.ModelInferResponse.FromString(message).model_version == "2"
        _, message, _ = PROTO.call(served, PREDICT, request(**PASSENGER).SerializeToString())
        assert decoded(PROTO, "PredictResponse", message)["version"] == "2"

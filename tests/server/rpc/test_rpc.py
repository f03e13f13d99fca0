"""RPC in every protocol: REST's numbers and rejections, on the fast path and the router."""

import base64
import gzip
import json
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from server.models.repository import Repository
from server.models.session import Model
from server.rpc.proto import error_details_pb2, status_pb2
from tests.passenger import PASSENGER
from tests.server.support.rpc import (
    BATCH,
    JSON,
    KINDS,
    MODELS,
    PREDICT,
    PROTO,
    STREAM,
    Http2,
    Spoken,
    counted,
    decoded,
    encoded,
    enveloped,
    envelopes,
    every_wire,
    get,
    http1,
    request,
    rest,
)
from tests.server.support.wire import Wire, wire


@every_wire
def test_predict(served: Wire, spoken: Spoken) -> None:
    """Predict gives REST's prediction in every protocol, bit for bit, on both paths."""
    expected = rest(served, PASSENGER)
    body = encoded(spoken, request(**PASSENGER))
    for headers in ({}, {"expect": "nothing"}):
        status, message, words = spoken.call(served, PREDICT, body, **headers)
        assert (status, words) == (0, "")
        assert decoded(spoken, "PredictResponse", message) == expected


@every_wire
def test_predict_batch(served: Wire, spoken: Spoken) -> None:
    """PredictBatch gives REST's predictions in order."""
    records = [PASSENGER, PASSENGER | {"age": None, "pclass": 3}, PASSENGER | {"sex": "male", "embarked": None}]
    batch = KINDS["PredictBatchRequest"](records=[request(**record) for record in records])
    status, message, _ = spoken.call(served, BATCH, encoded(spoken, batch))
    assert status == 0
    assert decoded(spoken, "PredictBatchResponse", message) == rest(served, {"records": records})


@pytest.mark.parametrize("media_type", ["application/connect+proto", "application/connect+json"])
def test_predict_stream(served: Wire, media_type: str) -> None:
    """PredictStream gives one message for each record, in order, for more records than one batch."""
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
    """JSON follows the protobuf mapping: numbers as strings, "NaN", and null for missing fields."""
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
        ({"fare": float("inf")}, "fare", "fare: expected a number from 0 to 3.40282346638529e+38 or null; got "),
        ({"sibsp": -1}, "sibsp", "sibsp: expected an integer of at least 0; got -1"),
        ({"embarked": ""}, "embarked", 'embarked: expected one of "C", "Q", "S" or null; got ""'),
    ],
)
def test_a_wrong_value_names_its_field(
    served: Wire, spoken: Spoken, change: dict[str, Any], field: str, words: str
) -> None:
    """An invalid value is rejected with its field's name, and the next call succeeds."""
    body = encoded(spoken, request(**(PASSENGER | change)))
    status, _, message = spoken.call(served, PREDICT, body)
    assert (status, message.startswith(words)) == (3, True), message
    batch = KINDS["PredictBatchRequest"](records=[request(**PASSENGER), request(**(PASSENGER | change))])
    status, _, message = spoken.call(served, BATCH, encoded(spoken, batch))
    assert (status, message.startswith(f"records[1].{field}: expected")) == (3, True), message
    assert spoken.call(served, PREDICT, encoded(spoken, request(**PASSENGER)))[0] == 0


def test_error_details(served: Wire) -> None:
    """The invalid field is in a google.rpc.BadRequest, in Connect and in gRPC."""
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
        (PREDICT, b'{"pclass":1,"sx":"female"}', 'sx: no such feature; expected "pclass", "sex"'),
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
    """JSON that doesn't match the message is rejected with the invalid field's name."""
    status, _, message = JSON.call(served, path, body)
    assert status == 3
    assert words.split(":", maxsplit=1)[0] in message


def test_bytes_that_are_no_message(served: Wire) -> None:
    """Invalid protobuf is rejected; an unknown field is ignored, as in protobuf."""
    assert PROTO.call(served, PREDICT, b"\xff\xff")[::2] == (
        3,
        "message: expected lifeboat.titanic.v1.PredictRequest in binary",
    )
    known = request(**PASSENGER).SerializeToString()
    assert PROTO.call(served, PREDICT, known + b"\xfa\x01\x01x")[0] == 0


def test_too_many_records() -> None:
    """More records than the limit are rejected with resource_exhausted."""
    with wire(Repository.load(MODELS), max_rows=2) as small:
        batch = KINDS["PredictBatchRequest"](records=[request(**PASSENGER)] * 3)
        for spoken in (PROTO, JSON):
            status, _, words = spoken.call(small, BATCH, encoded(spoken, batch))
            assert (status, words) == (8, "records: expected at most 2, got 3")


def test_too_large_a_message() -> None:
    """A message above the limit is rejected with resource_exhausted, also when compressed."""
    with wire(Repository.load(MODELS), max_body_bytes=1000) as small:
        assert PROTO.call(small, PREDICT, bytes(1001))[0] == 8
        assert PROTO.call(small, PREDICT, gzip.compress(bytes(100_000)), content_encoding="gzip")[0] == 8
        spoken = Spoken("application/grpc-web")
        assert spoken.call(small, PREDICT, bytes(1001))[0] == 8


def test_compression(served: Wire) -> None:
    """A gzip request is accepted; a large response is compressed if the client accepts it."""
    record = request(**PASSENGER)
    assert PROTO.call(served, PREDICT, gzip.compress(record.SerializeToString()), content_encoding="gzip")[0] == 0
    batch = KINDS["PredictBatchRequest"](records=[record] * 100).SerializeToString()
    plain = http1(served, BATCH, batch, "content-type: application/proto")
    packed = http1(served, BATCH, batch, "content-type: application/proto", "accept-encoding: br, gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    little = http1(
        served, PREDICT, record.SerializeToString(), "content-type: application/proto", "accept-encoding: gzip"
    )
    assert "content-encoding" not in little.headers
    web = http1(served, BATCH, enveloped(batch), "content-type: application/grpc-web", "grpc-accept-encoding: gzip")
    assert web.headers["grpc-encoding"] == "gzip"
    flags, message = envelopes(web.body)[0]
    assert (flags, gzip.decompress(message)) == (1, plain.body)


def test_get(served: Wire) -> None:
    """Methods without side effects accept GET, in JSON and in binary; other methods reject it."""
    expected = rest(served, PASSENGER)
    asked = get(served, f"{PREDICT}?connect=v1&encoding=json&message={quote(json.dumps(PASSENGER))}")
    assert (asked.status, msgspec.json.decode(asked.body)) == (200, expected)
    binary = base64.urlsafe_b64encode(request(**PASSENGER).SerializeToString()).decode().rstrip("=")
    asked = get(served, f"{PREDICT}?connect=v1&encoding=proto&base64=1&message={binary}")
    assert decoded(PROTO, "PredictResponse", asked.body) == expected
    refused = get(served, f"{PREDICT}?connect=v1&encoding=proto&base64=1&message=%21")
    assert (refused.status, msgspec.json.decode(refused.body)["code"]) == (400, "invalid_argument")
    assert get(served, f"{PREDICT}?encoding=xml&message=1").status == 415
    assert get(served, f"{PREDICT}?connect=v2&encoding=json&message={quote(json.dumps(PASSENGER))}").status == 400
    assert get(served, f"{PREDICT}?connect=v1&encoding=json").status == 400
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
    """An unsupported content type, such as gRPC on HTTP/1.1, and an unknown method are rejected."""
    assert http1(served, path, b"", f"content-type: {media_type}").status == status


@pytest.mark.parametrize("media_type", ["application/grpc-web", "application/grpc"])
def test_unknown_method_on_grpc(served: Wire, media_type: str) -> None:
    """In gRPC an unknown method gets the gRPC status UNIMPLEMENTED."""
    spoken = Spoken(media_type, http2=True)
    assert spoken.call(served, "/nobody.v1.Service/Predict", b"")[0] == 12


@every_wire
def test_deadline_while_queued(spoken: Spoken) -> None:
    """A deadline that passes in the queue gives deadline_exceeded, and the row is never run."""
    header = "grpc_timeout" if spoken.has_envelopes else "connect_timeout_ms"
    value = "1m" if spoken.has_envelopes else "1"
    with wire(Repository.load(MODELS), http2=True, queue_delay_us=1_000_000) as slow:
        body = encoded(spoken, request(**PASSENGER))
        for headers in ({}, {"expect": "nothing"}):
            status, _, words = spoken.call(slow, PREDICT, body, **{header: value}, **headers)
            assert (status, words) == (4, "the deadline passed before the response")
        assert counted(slow).runs == 0


@pytest.mark.parametrize("value", ["1", "x", "123456789S", "-1S", ""])
def test_a_deadline_that_is_none(served: Wire, value: str) -> None:
    """A malformed deadline is rejected, not ignored."""
    body = request(**PASSENGER).SerializeToString()
    status, _, words = Spoken("application/grpc-web").call(served, PREDICT, body, grpc_timeout=value or "S")
    assert (status, words.startswith("grpc-timeout: expected")) == (3, True)
    status, _, words = PROTO.call(served, PREDICT, body, connect_timeout_ms="12345678901")
    assert (status, words.startswith("connect-timeout-ms: expected")) == (3, True)


def test_a_caller_that_leaves_is_dropped() -> None:
    """A stream reset in the queue is never run; the connection's other stream succeeds."""
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
    """An exception's text goes to the log only; the client gets the request id."""

    def broken(*_given: object) -> None:
        raise ZeroDivisionError("a secret")

    with wire(Repository.load(MODELS), http2=True) as served:
        monkeypatch.setattr(Model, "compute", broken)
        status, message, words = spoken.call(
            served, PREDICT, encoded(spoken, request(**PASSENGER)), x_request_id="my-id"
        )
    assert (status, message, words) == (13, b"", "internal error; request id my-id")
    assert "a secret" in caplog.text


def test_queue_full() -> None:
    """A full queue gives resource_exhausted with a retry delay."""
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


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 12, "request: expected one message; got none"),
        (enveloped(b"") * 2, 12, "request: expected one message; got more"),
        (enveloped(b"")[:4], 3, "envelope: "),
        (enveloped(b"four")[:-1], 3, "envelope: "),
        (enveloped(b"", flags=2), 3, "envelope: expected the flags 0 or 1; got 2"),
        (enveloped(b"x", flags=1), 13, "envelope: the message is flagged as compressed"),
    ],
)
@pytest.mark.parametrize("path", [PREDICT, STREAM])
def test_envelopes(served: Wire, path: str, body: bytes, status: int, words: str) -> None:
    """Truncated envelopes, unknown flags, no message and several messages get different errors."""
    spoken = Spoken("application/grpc-web")
    got = spoken.read(http1(served, path, body, f"content-type: {spoken.media_type}"))
    assert (got[0], got[2].startswith(words)) == (status, True), got


def test_small_messages_are_not_compressed(served: Wire) -> None:
    """The router doesn't compress a message below 1 KiB, even if the client accepts it."""
    body = request(**PASSENGER).SerializeToString()
    for accepts in ("accept-encoding: gzip", "accept-encoding: identity"):
        answer = http1(served, PREDICT, body, "content-type: application/proto", accepts, "expect: nothing")
        assert "content-encoding" not in answer.headers
    fields = ("content-type: application/grpc-web", "grpc-accept-encoding: gzip")
    for more in ((), ("expect: nothing",)):
        web = http1(served, PREDICT, enveloped(body), *fields, *more)
        assert [flags for flags, _ in envelopes(web.body)] == [0, 0x80]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_base64_that_is_cut_off(served: Wire, cut: int) -> None:
    """Truncated base64 is rejected, in unary and in streaming calls."""
    spoken = Spoken("application/grpc-web-text")
    batch = KINDS["PredictBatchRequest"](records=[request(**PASSENGER)])
    for path, message in ((PREDICT, request(**PASSENGER)), (STREAM, batch)):
        body = spoken.wrapped(message.SerializeToString())
        assert spoken.read(http1(served, path, body, f"content-type: {spoken.media_type}"))[0] == 0
        got = spoken.read(http1(served, path, body[:-cut], f"content-type: {spoken.media_type}"))
        assert (got[0], got[2].startswith(("body: expected base64", "envelope: "))) == (3, True)


def test_another_version_of_connect(served: Wire) -> None:
    """An unknown version of Connect is rejected on both paths; version 1 is accepted."""
    body = request(**PASSENGER).SerializeToString()
    assert PROTO.call(served, PREDICT, body, connect_protocol_version="1")[0] == 0
    for headers in ({}, {"expect": "nothing"}):
        status, _, words = PROTO.call(served, PREDICT, body, connect_protocol_version="2", **headers)
        assert (status, words) == (3, 'connect-protocol-version: expected 1; got "2"')

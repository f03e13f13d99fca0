"""Malformed, incomplete and unread RPC requests: each is rejected or dropped, and other requests succeed."""

import json
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from server.models.repository import Repository
from server.rpc.proto import reflection_pb2
from tests.passenger import PASSENGER
from tests.server.support.rpc import (
    BATCH,
    INFER,
    JSON,
    KINDS,
    MODELS,
    PREDICT,
    PROTO,
    STREAM,
    Http2,
    decoded,
    enveloped,
    envelopes,
    get,
    http1,
    raw,
    request,
    rest,
)
from tests.server.support.wire import Wire, wire

GRPC = (("content-type", "application/grpc"), ("te", "trailers"))
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


def test_a_head_without_a_body(served: Wire) -> None:
    """A request that ends with its headers gets a response at once, on both paths."""
    with Http2(served) as connection:
        for path in (PREDICT, "/inference.GRPCInferenceService/ServerLive"):
            answer = connection.answer(connection.send_head(path, *GRPC))
            assert answer.trailers["grpc-status"] == "12"
        connection.answer(connection.send_head("/api/predict", ("content-type", "application/json")))


def test_a_long_call_at_the_end_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long call accepted before GOAWAY still gets its response."""
    monkeypatch.setattr("server.http.http2._MAX_STREAMS", 1)
    batch = KINDS["PredictBatchRequest"](records=[request(**PASSENGER)] * 3000).SerializeToString()
    with wire(Repository.load(MODELS), http2=True) as served, Http2(served) as connection:
        answer = connection.post(BATCH, enveloped(batch), *GRPC)
        assert (answer.status, answer.trailers["grpc-status"]) == (200, "0")


def test_more_messages_than_one(served: Wire) -> None:
    """A second message in a single-message request ends the call before the request ends."""
    body = enveloped(b"") * 2
    lines = [f"POST {STREAM} HTTP/1.1", "host: x", "content-type: application/connect+proto"]
    head = "\r\n".join([*lines, "transfer-encoding: chunked"]).encode() + b"\r\n\r\n"
    answer = raw(served, head + b"%x\r\n%b\r\n" % (len(body), body))
    [(_, end)] = envelopes(answer.body)
    assert msgspec.json.decode(end)["error"]["code"] == "unimplemented"


def test_no_such_method_is_said_before_the_request_ends(served: Wire) -> None:
    """A stream to an unknown method is rejected while its client is still sending."""
    with Http2(served) as connection:
        stream = connection.send("/nobody.v1.Service/Talk", enveloped(b""), *GRPC, ends=False)
        assert connection.answer(stream).trailers["grpc-status"] == "12"


def test_the_deadline_of_a_request_that_is_never_whole(served: Wire) -> None:
    """A deadline includes the upload: an incomplete request gets the deadline error, and others succeed."""
    lines = [f"POST {PREDICT} HTTP/1.1", "host: x", "content-type: application/proto", "content-length: 100"]
    answer = raw(served, "\r\n".join([*lines, "connect-timeout-ms: 1"]).encode() + b"\r\n\r\n")
    assert (answer.status, answer.headers["connection"]) == (504, "close")
    with Http2(served) as connection:
        stream = connection.send(PREDICT, b"", *GRPC, ("grpc-timeout", "1m"), ends=False)
        assert connection.answer(stream).trailers["grpc-status"] == "4"
        body = enveloped(request(**PASSENGER).SerializeToString())
        assert connection.post(PREDICT, body, *GRPC, ("grpc-timeout", "1H")).trailers["grpc-status"] == "0"


def test_a_path_that_is_not_ascii(served: Wire) -> None:
    """A path with non-ASCII characters is rejected, and the connection's other calls succeed."""
    with Http2(served) as connection:
        assert connection.post("/lifeboat.\xe9/Predict", b"", *GRPC).status == 400
        body = request(**PASSENGER).SerializeToString()
        assert connection.post(PREDICT, body, ("content-type", "application/proto")).status == 200


def test_a_window_that_stays_closed(served: Wire) -> None:
    """With a closed window the server buffers little; an open window delivers the rest."""
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService")
    questions = 300
    with Http2(served, no_window=True) as connection:
        stream = connection.send(REFLECT, enveloped(asked.SerializeToString()) * questions, *GRPC)
        for _ in range(50):
            served.turn()
        spoken: list[Any] = [each for each in served.state.connections if hasattr(each, "cycles")]
        size = spoken[0].conn.stream(stream).pending_bytes
        assert size < 2 * 256 * 1024
        connection.open_window(stream)
        answer = connection.answer(stream)
    assert len(envelopes(answer.body)) == questions
    assert len(answer.body) > size


def test_leaving_while_the_server_drains() -> None:
    """A client that disconnects in the middle of its request doesn't delay the drain."""
    with wire(Repository.load(MODELS), http2=True) as served, Http2(served) as connection:
        stream = connection.send(PREDICT, b"half", *GRPC, ends=False)
        served.turn()
        [protocol] = served.state.connections
        served.during(lambda: None)
        served.runner.get_loop().call_soon(protocol.shutdown)
        served.turn()
        assert served.state.tasks
        connection.reset(stream)
        served.turn()
        assert not served.state.tasks


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/inference.GRPCInferenceService/ModelReady", b'{"\\ud800":"x"}'),
        (INFER, b'{"rawInputContents":[5]}'),
        (INFER, b'{"modelName":' + b"9" * 5000 + b"}"),
        (INFER, b'{"inputs":' + b"[" * 3000 + b"]" * 3000 + b"}"),
    ],
)
def test_no_words_of_the_librarys_own(served: Wire, path: str, body: bytes) -> None:
    """JSON that makes the protobuf library fail is rejected with the server's own error message."""
    status, _, words = JSON.call(served, path, body)
    assert status == 3
    for leaked in ("object", "method", "set_int_max_str_digits", "len()", "Error", "recursion"):
        assert leaked not in words


def test_truth_is_no_number(served: Wire) -> None:
    """JSON's true is not the number 1, as in REST."""
    record = {"pclass": 1, "sex": "male", "age": True}
    assert JSON.call(served, PREDICT, json.dumps(record).encode())[0] == 3
    status, _, words = JSON.call(served, BATCH, json.dumps({"records": [record]}).encode())
    assert (status, words.startswith("records[0].age: expected a number")) == (3, True)


def test_gets_of_every_form(served: Wire) -> None:
    """GET accepts a percent-encoded binary message; an unknown compression is rejected as unimplemented."""
    expected = rest(served, PASSENGER)
    message = quote(request(**PASSENGER).SerializeToString(), safe="")
    answer = get(served, f"{PREDICT}?connect=v1&encoding=proto&message={message}")
    assert decoded(PROTO, "PredictResponse", answer.body) == expected
    record = quote(json.dumps(PASSENGER | {"embarked": "é"}))
    answer = get(served, f"{PREDICT}?connect=v1&encoding=json&message={record}")
    assert "é" in msgspec.json.decode(answer.body)["message"]
    answer = get(served, f"{PREDICT}?connect=v1&encoding=json&compression=br&message=%7B%7D")
    assert (answer.status, msgspec.json.decode(answer.body)["code"]) == (501, "unimplemented")


def test_grpc_has_its_trailers(served: Wire) -> None:
    """A gRPC client gets trailers even without `te: trailers`: only they have the status."""
    with Http2(served) as connection:
        path = "/inference.GRPCInferenceService/ServerLive"
        answer = connection.post(path, enveloped(b""), ("content-type", "application/grpc"))
        assert answer.trailers["grpc-status"] == "0"


def test_two_types(served: Wire) -> None:
    """Of two content types the first counts, for the request and for the response."""
    body = json.dumps(PASSENGER).encode()
    answer = http1(served, PREDICT, body, "content-type: application/json", "content-type: application/grpc-web")
    assert (answer.status, msgspec.json.decode(answer.body)) == (200, rest(served, PASSENGER))


def test_a_type_of_no_wire_before_another(served: Wire) -> None:
    """The first content type counts even if unsupported, so that all servers agree."""
    body = json.dumps(PASSENGER).encode()
    answer = http1(served, PREDICT, body, "content-type: text/html", "content-type: application/json")
    assert answer.status == 415


def test_two_deadlines(served: Wire) -> None:
    """Of two deadlines the first counts."""
    body = json.dumps(PASSENGER).encode()
    deadlines = ("connect-timeout-ms: 50000", "connect-timeout-ms: 0")
    answer = http1(served, PREDICT, body, "content-type: application/json", *deadlines)
    assert answer.status == 200
    answer = http1(served, PREDICT, body, "content-type: application/json", *reversed(deadlines))
    assert answer.status == 504

"""Which RPC services and versions are served, connection limits, and arbitrary input."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from hypothesis import given, settings
from hypothesis import strategies as st

from server.models import manifest as manifests
from server.models.repository import Repository
from server.rpc.proto import health_pb2, inference_pb2, reflection_pb2
from tests.passenger import PASSENGER
from tests.server.support import small
from tests.server.support.rpc import (
    BATCH,
    INFER,
    JSON,
    KINDS,
    MODELS,
    PREDICT,
    PROTO,
    STREAM,
    WIRES,
    Http2,
    Spoken,
    decoded,
    encoded,
    enveloped,
    envelopes,
    get,
    http1,
    kinds,
    raw,
    request,
    rest,
    tensors,
)
from tests.server.support.wire import Wire, wire


def test_health_and_readiness(served: Wire) -> None:
    """The health service reports the server and each service, and rejects unknown services."""
    check = "/grpc.health.v1.Health/Check"
    for name in ("", "inference.GRPCInferenceService", "lifeboat.titanic.v1.TitanicService"):
        body = health_pb2.HealthCheckRequest(service=name).SerializeToString()
        status, message, _ = PROTO.call(served, check, body)
        assert (status, health_pb2.HealthCheckResponse.FromString(message).status) == (0, 1)
    assert PROTO.call(served, check, health_pb2.HealthCheckRequest(service="nobody").SerializeToString())[0] == 5


def test_a_connection_is_replaced_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its stream limit a connection gets GOAWAY with the last stream that gets responses."""
    monkeypatch.setattr("server.http.http2._MAX_STREAMS", 3)
    with wire(Repository.load(MODELS), http2=True) as served, Http2(served) as connection:
        body, fields = request(**PASSENGER).SerializeToString(), (("content-type", "application/proto"),)
        streams = [connection.send(PREDICT, body, *fields) for _ in range(5)]
        assert [connection.answer(stream).status for stream in streams[:3]] == [200] * 3
        assert connection.goaway == streams[2]
        assert not set(streams[3:]) & set(connection.answers)


def test_a_reload_is_followed(models: Path) -> None:
    """After a reload, typed calls and ModelInfer use the new version."""
    repository = Repository.load(models)
    with wire(repository, http2=True, admin_token="let me in") as served:  # noqa: S106 # the test's own
        assert PROTO.call(served, INFER, tensors(raw=True).SerializeToString())[0] == 0
        second = models / "titanic" / "2"
        (models / "titanic" / "1").rename(second)
        described = json.loads((second / "manifest.json").read_bytes())
        (second / "manifest.json").write_text(json.dumps(described | {"version": 2}))
        small.digest(second)
        (models / "titanic" / "labels.json").write_text('{"stable": 2}')
        load = inference_pb2.RepositoryModelLoadRequest(model_name="titanic").SerializeToString()
        path = "/inference.GRPCInferenceService/RepositoryModelLoad"
        assert PROTO.call(served, path, load)[0] == 16
        assert PROTO.call(served, path, load, authorization="Bearer let me in")[0] == 0
        _, message, _ = PROTO.call(served, INFER, tensors(raw=True).SerializeToString())
        assert inference_pb2.ModelInferResponse.FromString(message).model_version == "2"
        _, message, _ = PROTO.call(served, PREDICT, request(**PASSENGER).SerializeToString())
        assert decoded(PROTO, "PredictResponse", message)["version"] == "2"


def test_an_incompatible_version_has_a_service_of_its_own(models: Path) -> None:
    """Two API versions are served as two typed services, each with its own default version."""
    shutil.copytree(models / "titanic" / "1", models / "titanic" / "2")
    path = models / "titanic" / "2" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"version": 2, "api_version": 2}))
    small.digest(path.parent)
    with wire(Repository.load(models)) as served:
        body = request(**PASSENGER).SerializeToString()
        for number in ("1", "2"):
            service = f"/lifeboat.titanic.v{number}.TitanicService/Predict"
            status, message, _ = PROTO.call(served, service, body)
            assert (status, decoded(PROTO, "PredictResponse", message)["version"]) == (0, number)
        missing = http1(served, "/lifeboat.titanic.v3.TitanicService/Predict", body, "content-type: application/proto")
        assert missing.status == 404
        assert b"package lifeboat.titanic.v1;" in get(served, "/api/models/titanic/service.proto").body


def test_models_of_one_package(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of two models with one package name, only the first has the typed service."""
    for name in ("a-b", "a_b"):
        small.double(models, name)
    with wire(Repository.load(models, "titanic")) as served:
        answer = JSON.call(served, "/lifeboat.a_b.v1.ABService/Predict", b'{"x": 2}')
        assert (answer[0], msgspec.json.decode(answer[1])) == (0, {"model": "a-b", "version": "1", "value": 4.0})
        assert rest(served, {"x": 2}, "/api/models/a_b/predict")["value"] == 4.0
    assert "model a_b has no typed service: the name lifeboat.a_b.v1 belongs to another model" in caplog.text


def test_without_http2(models: Path) -> None:
    """Without LIFEBOAT_HTTP2 an HTTP/2 preface gets 400, and RPC over HTTP/1.1 still works."""
    with wire(Repository.load(models)) as served:
        refused = raw(served, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert (refused.status, msgspec.json.decode(refused.body)["code"]) == (400, "invalid_argument")
        assert PROTO.call(served, PREDICT, request(**PASSENGER).SerializeToString())[0] == 0


def test_a_head_that_is_too_long() -> None:
    """HTTP/2 has the same header limit as HTTP/1.1."""
    with wire(Repository.load(MODELS), http2=True, max_header_bytes=1000) as served, Http2(served) as connection:
        answer = connection.post(PREDICT, b"", ("content-type", "application/proto"), ("x-long", "x" * 1000))
        error = msgspec.json.decode(answer.body)
        assert (answer.status, error["code"]) == (429, "resource_exhausted")
        assert error["message"] == "headers: expected at most 1000 bytes"
        body = request(**PASSENGER).SerializeToString()
        assert connection.post(PREDICT, body, ("content-type", "application/proto")).status == 200


def test_a_long_message_by_http2(served: Wire) -> None:
    """A message above the fast path's limit gets its response on the same connection."""
    batch = KINDS["PredictBatchRequest"](records=[request(**PASSENGER)] * 5000).SerializeToString()
    assert len(batch) > 64 * 1024
    with Http2(served) as connection:
        fields = (("content-type", "application/proto"),)
        answer = connection.post(BATCH, batch, *fields)
        assert len(KINDS["PredictBatchResponse"].FromString(answer.body).predictions) == 5000  # type: ignore[attr-defined]
        assert connection.post(PREDICT, request(**PASSENGER).SerializeToString(), *fields).status == 200


bodies = st.binary(max_size=80)
mutated = st.tuples(st.integers(0, 400), st.binary(max_size=4)).map(
    lambda change: lambda data: data[: change[0] % (len(data) + 1)] + change[1] + data[change[0] % (len(data) + 1) :]
)


@given(path=st.sampled_from([PREDICT, BATCH, STREAM, INFER]), spoken=st.sampled_from(WIRES), change=mutated, cut=bodies)
@settings(max_examples=150, deadline=None)
def test_whatever_comes_is_answered(served: Wire, path: str, spoken: Spoken, change: Any, cut: bytes) -> None:  # noqa: ANN401
    """Arbitrary bytes and mutated calls never cause a server error, and the next call succeeds."""
    asked = {PREDICT: request(**PASSENGER), INFER: tensors(raw=True)}.get(
        path, KINDS["PredictBatchRequest"](records=[request(**PASSENGER)] * 2)
    )
    for body in (change(spoken.wrapped(encoded(spoken, asked))), cut):
        if spoken.http2:
            with Http2(served) as connection:
                answer = connection.post(path, body, ("content-type", spoken.media_type), ("te", "trailers"))
        else:
            answer = http1(served, path, body, f"content-type: {spoken.media_type}")
        assert answer.status in {200, 400, 404, 413, 415, 429, 501}
        assert answer.trailers.get("grpc-status") not in {"2", "13"}
    assert PROTO.call(served, PREDICT, request(**PASSENGER).SerializeToString())[0] == 0


@given(
    st.fixed_dictionaries(
        {
            "pclass": st.sampled_from([1, 2, 3]),
            "sex": st.sampled_from(["female", "male"]),
            "age": st.none() | st.floats(0, 120, width=32),
            "sibsp": st.integers(0, 2**63 - 1),
            "parch": st.integers(0, 2**31),
            "fare": st.none() | st.floats(0, 2.0**100, width=32),
            "embarked": st.none() | st.sampled_from(["C", "Q", "S"]),
        }
    )
)
@settings(max_examples=100, deadline=None)
def test_every_wire_gives_one_answer(served: Wire, record: dict[str, Any]) -> None:
    """For any passenger, typed calls in binary and JSON give REST's prediction."""
    expected = rest(served, record)
    for spoken in (PROTO, JSON):
        status, message, words = spoken.call(served, PREDICT, encoded(spoken, request(**record)))
        assert (status, words) == (0, "")
        assert decoded(spoken, "PredictResponse", message) == expected


def test_a_body_without_end() -> None:
    """A body is rejected as soon as it exceeds the limit, before its end."""
    with wire(Repository.load(MODELS), max_body_bytes=1000) as served:
        lines = [f"POST {PREDICT} HTTP/1.1", "host: x", "content-type: application/proto", "content-length: 10000000"]
        refused = raw(served, "\r\n".join(lines).encode() + b"\r\n\r\n" + bytes(3000))
        assert msgspec.json.decode(refused.body)["code"] == "resource_exhausted"


def test_long_strings(tmp_path: Path) -> None:
    """A string above the limit gives resource_exhausted, in records and in typed and raw tensors."""
    model = small.onnx_bytes(small.YES, opset=19)
    small.write(tmp_path, model, small.manifest(model, small.WORD, answers=[("yes", 1.0), ("no", 0.0)]))
    kind = kinds(manifests.read(tmp_path / "small" / "1" / "manifest.json"))
    predict = "/lifeboat.small.v1.SmallService/Predict"
    with wire(Repository.load(tmp_path), max_string_bytes=8) as served:
        for word, expected in (("yes", 0), ("é" * 5, 8)):
            record = kind["PredictRequest"](x=word)
            assert PROTO.call(served, predict, record.SerializeToString())[0] == expected
            assert JSON.call(served, predict, encoded(JSON, record))[0] == expected
            for raw_contents in (True, False):
                asked = inference_pb2.ModelInferRequest(model_name="small")
                tensor = asked.inputs.add(name="x", datatype="BYTES", shape=[1, 1])
                text = word.encode()
                if raw_contents:
                    asked.raw_input_contents.append(len(text).to_bytes(4, "little") + text)
                else:
                    tensor.contents.bytes_contents.append(text)
                assert PROTO.call(served, INFER, asked.SerializeToString())[0] == expected


def test_numbers_that_json_has_none_for(tmp_path: Path) -> None:
    """An infinite output is "Infinity" in JSON, as in protobuf, and a number in binary."""
    small.double(tmp_path)
    kind = kinds(manifests.read(tmp_path / "small" / "1" / "manifest.json"))
    predict = "/lifeboat.small.v1.SmallService/Predict"
    with wire(Repository.load(tmp_path)) as served:
        for value, shown in ((3e38, "Infinity"), (-3e38, "-Infinity"), (1.5, 3.0)):
            record = kind["PredictRequest"](x=value)
            _, message, _ = JSON.call(served, predict, encoded(JSON, record))
            assert msgspec.json.decode(message)["value"] == shown
            _, message, _ = PROTO.call(served, predict, record.SerializeToString())
            assert kind["PredictResponse"].FromString(message).value == float(shown)  # type: ignore[attr-defined]


def test_the_default_version_answers(models: Path) -> None:
    """The typed service uses the default version, whether it is the highest or not."""
    shutil.copytree(models / "titanic" / "1", models / "titanic" / "2")
    path = models / "titanic" / "2" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"version": 2}))
    small.digest(path.parent)
    for stable in (1, 2):
        (models / "titanic" / "labels.json").write_text(json.dumps({"stable": stable}))
        with wire(Repository.load(models)) as served:
            _, message, _ = PROTO.call(served, PREDICT, request(**PASSENGER).SerializeToString())
            assert decoded(PROTO, "PredictResponse", message)["version"] == str(stable)


def test_reflection_gives_what_a_file_imports(served: Wire) -> None:
    """Reflection returns the file of a symbol and all files that it imports."""
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol="google.rpc.Status")
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    body = enveloped(asked.SerializeToString())
    answer = http1(served, path, body, "content-type: application/connect+proto")
    (_, message), _ = envelopes(answer.body)
    response = reflection_pb2.ServerReflectionResponse.FromString(message)
    files = [FileDescriptorProto.FromString(each) for each in response.file_descriptor_response.file_descriptor_proto]
    assert [file.name for file in files] == ["status.proto", "google/protobuf/any.proto"]


def test_a_connection_of_many_resets_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection with many resets gets GOAWAY before it reaches the reset limit."""
    monkeypatch.setattr("server.http.http2._MAX_RESETS", 2)
    with wire(Repository.load(MODELS), http2=True, queue_delay_us=50_000) as served, Http2(served) as connection:
        body, fields = request(**PASSENGER).SerializeToString(), (("content-type", "application/proto"),)
        first, second, third = (connection.send(PREDICT, body, *fields) for _ in range(3))
        served.turn()
        connection.reset(first)
        connection.reset(second)
        assert connection.answer(third).status == 200
        assert connection.goaway == third

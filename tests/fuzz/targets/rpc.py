"""Targets for RPC: Connect and gRPC-Web, protobuf and JSON, typed and standard services."""

import base64
import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from server.rpc.proto import health_pb2, inference_pb2, reflection_pb2
from tests.fuzz import mutation, protobuf
from tests.fuzz.mutation import Mutate
from tests.fuzz.service import Outcome, Service
from tests.fuzz.target import Head, Target, body_target
from tests.passenger import PASSENGER
from tests.server.support.rpc import BATCH, INFER, KINDS, PREDICT, SERVICE, STREAM, enveloped, request, tensors

_HEALTH: Final = "/grpc.health.v1.Health"
_REFLECT: Final = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
_SERVER: Final = "/inference.GRPCInferenceService"


def _heads(paths: Sequence[str], *media_types: str, more: tuple[str, ...] = ()) -> list[Head]:
    return [
        Head(f"POST {path}", (f"content-type: application/{kind}", *more)) for path in paths for kind in media_types
    ]


def _typed(kind: str) -> list[bytes]:
    one: Any = request(**PASSENGER)
    many: Any = KINDS[kind](passengers=[one] * 2) if "passengers" in _names(kind) else _many(kind, one)
    return [one.SerializeToString(), many.SerializeToString()]


def _names(kind: str) -> set[str]:
    return {field.name for field in KINDS[kind].DESCRIPTOR.fields}


def _many(kind: str, one: Any) -> Any:  # noqa: ANN401 # a protobuf message
    message: Any = KINDS[kind]()
    for field in KINDS[kind].DESCRIPTOR.fields:
        getattr(message, field.name).extend([one] * 2)
    return message


def _protobuf() -> list[bytes]:
    return [
        *_typed("PredictBatchRequest"),
        tensors(2, raw=True).SerializeToString(),
        tensors(2, raw=False).SerializeToString(),
    ]


def _mapped() -> list[bytes]:
    record = {**PASSENGER, "pclass": "1"}
    inputs = [{"name": "pclass", "datatype": "INT64", "shape": ["1", "1"], "contents": {"int64Contents": ["1"]}}]
    documents: tuple[dict[str, Any], ...] = (
        record,
        {"records": [record] * 2},
        {"modelName": "titanic", "id": "1", "inputs": inputs},
        {},
    )
    return [json.dumps(each).encode() for each in documents]


def _standard() -> list[bytes]:
    messages = (
        health_pb2.HealthCheckRequest(service="lifeboat.titanic.v1.TitanicService"),
        reflection_pb2.ServerReflectionRequest(host="x", list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService"),
        inference_pb2.ModelReadyRequest(name="titanic", version="1"),
    )
    return [each.SerializeToString() for each in messages]


def _framed(messages: Sequence[bytes], *, count: int = 1) -> list[bytes]:
    return [enveloped(each) * count for each in messages]


_STANDARD: Final = (
    f"{_HEALTH}/Check",
    f"{_HEALTH}/List",
    f"{_SERVER}/ServerReady",
    f"{_SERVER}/ModelReady",
    f"{_SERVER}/ModelMetadata",
    f"{_SERVER}/ModelConfig",
    f"{_SERVER}/ModelStatistics",
    f"{_SERVER}/RepositoryIndex",
)
_CALLS: Final = (PREDICT, BATCH, INFER)
_GET_TAIL: Final = b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


def _run_get(service: Service, data: bytes) -> Outcome:
    """Send an input as the query of a Connect GET."""
    text = bytes(each for each in data if each not in b" \r\n\t")
    return service.exchange([b"GET " + PREDICT.encode() + b"?" + text + _GET_TAIL])


def _queries() -> list[bytes]:
    message = _mapped()[0]
    encoded = base64.urlsafe_b64encode(_typed("PredictBatchRequest")[0])
    plain = b"connect=v1&encoding=json&message=" + quote(message).encode()
    return [plain, b"connect=v1&base64=1&encoding=proto&message=" + encoded, plain + b"&compression=gzip"]


def _text(inner: Mutate) -> Mutate:
    """Return a mutation of gRPC-Web text.

    It changes the base64, or by `inner` the decoded body.
    """

    def mutate(data: bytes, chance: Any) -> bytes:  # noqa: ANN401 # Random
        try:
            body = base64.b64decode(data)
        except ValueError:
            return mutation.any_bytes(data, chance)
        return mutation.any_bytes(data, chance) if chance.randrange(4) == 0 else base64.b64encode(inner(body, chance))

    return mutate


_IN_ENVELOPES: Final = protobuf.enveloped(protobuf.message)
_JSON_IN_ENVELOPES: Final = protobuf.enveloped(mutation.json)

TARGETS: Final = (
    body_target("proto", _heads(_CALLS, "proto"), _protobuf, protobuf.message),
    body_target("proto-json", _heads(_CALLS, "json"), _mapped, mutation.json),
    body_target(
        "grpc-web",
        _heads((*_CALLS, STREAM), "grpc-web", "grpc-web+proto"),
        lambda: _framed(_protobuf()),
        _IN_ENVELOPES,
    ),
    body_target(
        "grpc-web-json", _heads((*_CALLS, STREAM), "grpc-web+json"), lambda: _framed(_mapped()), _JSON_IN_ENVELOPES
    ),
    body_target(
        "grpc-web-text",
        _heads(_CALLS, "grpc-web-text"),
        lambda: [base64.b64encode(each) for each in _framed(_protobuf())],
        _text(_IN_ENVELOPES),
    ),
    body_target(
        "connect-stream",
        [*_heads((STREAM,), "connect+proto"), *_heads((_REFLECT,), "connect+proto")],
        lambda: _framed([*_protobuf()[:2], *_standard()], count=2),
        _IN_ENVELOPES,
    ),
    body_target(
        "connect-stream-json",
        _heads((STREAM, _REFLECT), "connect+json"),
        lambda: _framed(_mapped()),
        _JSON_IN_ENVELOPES,
    ),
    body_target("standard-services", _heads(_STANDARD, "proto"), _standard, protobuf.message),
    body_target(
        "unknown-calls",
        _heads((f"{SERVICE}/Nothing", "/a.B/C", PREDICT), "grpc", "json", "xml", "grpc-web+x", "connect+json"),
        lambda: _framed(_mapped()),
        _JSON_IN_ENVELOPES,
    ),
    Target("connect-get", _queries, mutation.query, _run_get),
)

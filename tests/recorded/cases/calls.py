"""RPC requests in JSON and protobuf, shared by the cases of every protocol."""

import struct
from collections.abc import Mapping
from typing import Final

from tests.recorded import inputs
from tests.recorded.cases.tensors import raw_contents
from tests.recorded.inputs import LEAST, RECORD, encoded, record, typed_record
from tests.recorded.messages import message, packed

TYPED: Final = "/lifeboat.titanic.v1.TitanicService"
PREDICT: Final = f"{TYPED}/Predict"
BATCH: Final = f"{TYPED}/PredictBatch"
STREAM: Final = f"{TYPED}/PredictStream"
INFERENCE: Final = "/inference.GRPCInferenceService"
INFER: Final = f"{INFERENCE}/ModelInfer"
STREAM_INFER: Final = f"{INFERENCE}/ModelStreamInfer"
HEALTH: Final = "/grpc.health.v1.Health"
REFLECTION: Final = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
REFLECTION_ALPHA: Final = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
_NAMED: Final = message((1, "titanic"))


def _infer_proto(*, is_raw: bool, more: bytes = b"") -> bytes:
    """Return a ModelInferRequest of two rows, with raw or typed contents."""
    contents = raw_contents()
    parts = [message((1, "titanic"))]
    for each in inputs.tensors():
        shape = packed(each["shape"])
        fields: list[tuple[int, str | bytes]] = [(1, each["name"]), (2, each["datatype"]), (3, shape)]
        if not is_raw:
            fields.append((5, _typed_contents(each["datatype"], contents[each["name"]])))
        parts.append(message((5, message(*fields))))
    raw = [message((7, content)) for content in contents.values()] if is_raw else []
    return b"".join([*parts, *raw]) + more


def _typed_contents(datatype: str, content: bytes) -> bytes:
    """Return the InferTensorContents for the bytes of a tensor with two rows."""
    if datatype == "INT64":
        return message((3, packed(struct.unpack("<2q", content))))
    if datatype == "FP32":
        return message((6, content))
    texts = []
    while content:
        (length,) = struct.unpack_from("<I", content)
        texts.append((8, content[4 : 4 + length]))
        content = content[4 + length :]
    return message(*texts)


PROTO: Final[Mapping[str, tuple[str, bytes]]] = {
    "Predict": (PREDICT, typed_record()),
    "Predict, the least": (PREDICT, typed_record(LEAST)),
    "Predict, empty": (PREDICT, b""),
    "Predict, a wrong category": (PREDICT, typed_record({**RECORD, "sex": "x"})),
    "Predict, a wrong number": (PREDICT, typed_record({**RECORD, "pclass": 9})),
    "Predict, an unknown field": (PREDICT, typed_record() + message((99, 1))),
    "Predict, broken": (PREDICT, typed_record()[:-1]),
    "Predict, a wrong wire type": (PREDICT, message((1, "one"))),
    "PredictBatch": (BATCH, message(*[(1, typed_record(each)) for each in inputs.records(3)])),
    "PredictBatch, empty": (BATCH, b""),
    "PredictBatch, the second wrong": (BATCH, message((1, typed_record()), (1, message((1, 9))))),
    "PredictBatch of 300": (BATCH, message(*[(1, typed_record(each)) for each in inputs.records(300)])),
    "ModelInfer, raw": (INFER, _infer_proto(is_raw=True)),
    "ModelInfer, typed": (INFER, _infer_proto(is_raw=False)),
    "ModelInfer with an id": (INFER, _infer_proto(is_raw=True, more=message((3, "request-1")))),
    "ModelInfer of one output": (INFER, _infer_proto(is_raw=True, more=message((6, message((1, "probabilities")))))),
    "ModelInfer, an unknown output": (INFER, _infer_proto(is_raw=True, more=message((6, message((1, "score")))))),
    "ModelInfer, raw contents behind": (INFER, _infer_proto(is_raw=True, more=message((7, b"x")))),
    "ModelInfer, raw beside typed": (INFER, _infer_proto(is_raw=False, more=message((7, b"x")))),
    "ModelInfer, an unknown model": (INFER, _infer_proto(is_raw=True, more=message((1, "nothing")))),
    "ModelInfer, an unknown version": (INFER, _infer_proto(is_raw=True, more=message((2, "9")))),
    "ModelInfer, empty": (INFER, b""),
    "ModelInfer, broken": (INFER, b"\x0a\x7ftitanic"),
    "ServerLive": (f"{INFERENCE}/ServerLive", b""),
    "ServerReady": (f"{INFERENCE}/ServerReady", b""),
    "ServerMetadata": (f"{INFERENCE}/ServerMetadata", b""),
    "ModelReady": (f"{INFERENCE}/ModelReady", _NAMED),
    "ModelReady, an unknown model": (f"{INFERENCE}/ModelReady", message((1, "nothing"))),
    "ModelMetadata": (f"{INFERENCE}/ModelMetadata", _NAMED),
    "ModelMetadata, an unknown version": (f"{INFERENCE}/ModelMetadata", _NAMED + message((2, "9"))),
    "ModelConfig": (f"{INFERENCE}/ModelConfig", _NAMED),
    "RepositoryIndex": (f"{INFERENCE}/RepositoryIndex", b""),
    "RepositoryIndex, ready": (f"{INFERENCE}/RepositoryIndex", message((2, 1))),
    "RepositoryModelLoad": (f"{INFERENCE}/RepositoryModelLoad", message((2, "titanic"))),
    "RepositoryModelUnload": (f"{INFERENCE}/RepositoryModelUnload", message((2, "titanic"))),
    "Health.Check": (f"{HEALTH}/Check", b""),
    "Health.Check of a service": (f"{HEALTH}/Check", message((1, "inference.GRPCInferenceService"))),
    "Health.Check of an unknown service": (f"{HEALTH}/Check", message((1, "nothing"))),
    "Health.List": (f"{HEALTH}/List", b""),
    "an unknown method": (f"{HEALTH}/Other", b""),
    "an unknown service": ("/a.Service/Method", b""),
}
"""Unary calls in protobuf: path and message."""

JSON: Final[Mapping[str, tuple[str, bytes]]] = {
    "Predict": (PREDICT, record()),
    "Predict, the least": (PREDICT, encoded(LEAST)),
    "Predict, numbers as text": (PREDICT, record(pclass="1", age="29", fare="NaN")),
    "Predict, nulls": (PREDICT, record(age=None, sibsp=None)),
    "Predict, empty": (PREDICT, b"{}"),
    "Predict, no body": (PREDICT, b""),
    "Predict, an unknown name": (PREDICT, record(cabin="x")),
    "Predict, a wrong category": (PREDICT, record(sex="x")),
    "Predict, malformed": (PREDICT, b"{"),
    "Predict, a list": (PREDICT, b"[]"),
    "Predict, a name twice": (PREDICT, record()[:-1] + b',"sex":"male"}'),
    "PredictBatch": (BATCH, encoded({"records": inputs.records(3)})),
    "PredictBatch, empty": (BATCH, b"{}"),
    "PredictBatch, the second wrong": (BATCH, encoded({"records": [RECORD, {**RECORD, "age": -1}]})),
    "PredictBatch of 300": (BATCH, encoded({"records": inputs.records(300)})),
    "ModelInfer": (
        INFER,
        encoded(
            {
                "modelName": "titanic",
                "inputs": [
                    {"name": "pclass", "datatype": "INT64", "shape": [1, "1"], "contents": {"int64Contents": ["3"]}},
                    {"name": "sex", "datatype": "BYTES", "shape": [1, 1], "contents": {"bytesContents": ["bWFsZQ=="]}},
                    {"name": "sibsp", "datatype": "INT64", "shape": [1, 1], "contents": {"int64Contents": [0]}},
                    {"name": "parch", "datatype": "INT64", "shape": [1, 1], "contents": {"int64Contents": [0]}},
                ],
            }
        ),
    ),
    "ModelInfer, an unknown key": (INFER, b'{"model":"titanic"}'),
    "ModelReady": (f"{INFERENCE}/ModelReady", b'{"name":"titanic"}'),
    "ServerLive": (f"{INFERENCE}/ServerLive", b"{}"),
    "ServerReady": (f"{INFERENCE}/ServerReady", b"{}"),
    "ServerMetadata": (f"{INFERENCE}/ServerMetadata", b"{}"),
    "ModelMetadata": (f"{INFERENCE}/ModelMetadata", b'{"name":"titanic"}'),
    "ModelConfig": (f"{INFERENCE}/ModelConfig", b'{"name":"titanic","version":"1"}'),
    "ModelStatistics": (f"{INFERENCE}/ModelStatistics", b'{"name":"titanic"}'),
    "RepositoryIndex": (f"{INFERENCE}/RepositoryIndex", b"{}"),
    "RepositoryModelLoad": (f"{INFERENCE}/RepositoryModelLoad", b'{"modelName":"titanic"}'),
    "RepositoryModelUnload": (f"{INFERENCE}/RepositoryModelUnload", b'{"modelName":"titanic"}'),
    "Health.Check": (f"{HEALTH}/Check", b"{}"),
    "Health.Check of an unknown service": (f"{HEALTH}/Check", b'{"service":"x"}'),
    "Health.List": (f"{HEALTH}/List", b"{}"),
}
"""Unary calls in JSON: path and message."""

STREAMS: Final[Mapping[str, tuple[str, tuple[bytes, ...]]]] = {
    "PredictStream": (STREAM, (message(*[(1, typed_record(each)) for each in inputs.records(5)]),)),
    "PredictStream, the second wrong": (STREAM, (message((1, typed_record()), (1, message((1, 9)))),)),
    "PredictStream, empty": (STREAM, (b"",)),
    "PredictStream, two messages": (STREAM, (message((1, typed_record())),) * 2),
    "PredictStream, no message": (STREAM, ()),
    "ModelStreamInfer": (STREAM_INFER, (_infer_proto(is_raw=True), _infer_proto(is_raw=False))),
    "ModelStreamInfer, a wrong one": (STREAM_INFER, (_infer_proto(is_raw=True), b"", _infer_proto(is_raw=True))),
    "ModelStreamInfer, no message": (STREAM_INFER, ()),
    "reflection: services": (REFLECTION, (message((7, "")),)),
    "reflection: symbols": (
        REFLECTION,
        (
            message((1, "x"), (4, "lifeboat.titanic.v1.TitanicService")),
            message((4, "inference.ModelInferRequest")),
            message((4, "nothing")),
            message((3, "inference.proto")),
            message((3, "nothing.proto")),
            message((6, "inference.ModelInferRequest")),
            message((5, message((1, "inference.ModelInferRequest"), (2, 1)))),
            b"",
        ),
    ),
    "reflection v1alpha: services": (REFLECTION_ALPHA, (message((7, "")),)),
}
"""Calls with several protobuf messages: path and messages."""

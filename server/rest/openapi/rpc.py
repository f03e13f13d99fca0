"""OpenAPI paths of Connect RPCs: typed services of models, inference, health and reflection."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from server.codecs.records import RECORDS
from server.http.message import JSON
from server.models.session import Model
from server.rest.openapi import protobuf as messages
from server.rest.openapi import schemas
from server.rest.openapi.examples import Examples
from server.rest.openapi.operations import BINARY, CALLS, TEXT, Document, content
from server.rpc import method as methods
from server.rpc.protocols.status import HTTP_STATUS, Code
from server.rpc.services import health, open_inference, reflection, typed_descriptor
from server.rpc.services.typed_codec import ResponseEncoder
from server.settings import Settings

_PROTO: Final = "application/proto"
_STREAMS: Final = ("application/connect+json", "application/connect+proto")
_SERVICES: Final = (open_inference.SERVICE, health.SERVICE, *(service for service, _ in reflection.SERVICES))
_SUMMARIES: Final[Mapping[str, str]] = {
    "Check": "Whether the server or the named service accepts RPCs",
    "List": "The health of the server and each service",
    "Watch": "The health of the server or the named service, now and after each change",
    "ServerLive": "Whether the server is alive",
    "ServerReady": "Whether every model is ready",
    "ServerMetadata": "Name, version, extensions",
    "ModelReady": "Whether a model is ready",
    "ModelMetadata": "Inputs and outputs of a model",
    "ModelInfer": "Infer",
    "ModelStreamInfer": "Infer for a stream of requests",
    "ModelConfig": "A model's configuration in Triton's format",
    "ModelStatistics": "Statistics",
    "RepositoryIndex": "All versions and their states",
    "RepositoryModelLoad": "Load or reload a model from its folder",
    "RepositoryModelUnload": "Unload a model",
    "ServerReflectionInfo": "The services and their descriptors",
    "Predict": "Predict for one record",
    "PredictBatch": "Predict for all records together; one invalid record rejects all of them",
    "PredictStream": "Predict for the records one by one, in order; each prediction is sent when it is computed",
}
_CONTROL: Final = frozenset({"RepositoryModelLoad", "RepositoryModelUnload"})
_STREAM_DESCRIPTION: Final = (
    "Each message has an envelope: one byte of flags, four bytes of length, and the message. The last message, with "
    "flag 2, states how the stream ended."
)
_STATUSES: Final = sorted({*HTTP_STATUS.values(), 405, 415})
_QUERY_PARAMETERS: Final[Sequence[tuple[str, Document]]] = (
    ("connect", {"const": "v1"}),
    ("encoding", {"enum": ["json", "proto"]}),
    ("message", TEXT | {"description": "the message, percent-encoded"}),
)


def server_paths() -> Document:
    """Return the RPC paths that belong to no model."""
    return {methods.path(each): _operations(each) for service in _SERVICES for each in service.methods}


def schemas_of() -> Document:
    """Return the schemas of the RPC messages and of a Connect error."""
    detail = schemas.closed_object({"type": TEXT, "value": TEXT | {"contentEncoding": "base64"}})
    error_members = {"code": {"enum": [code.label for code in Code]}, "message": TEXT}
    all_methods = [each for service in _SERVICES for each in service.methods]
    return messages.schemas_of(kind for each in all_methods for kind in (each.input_type, each.output_type)) | {
        "ConnectError": schemas.closed_object(error_members | {"details": {"type": "array", "items": detail}}, ["code"])
    }


def typed_paths(model: Model, settings: Settings, examples: Examples) -> Document:
    """Return the typed RPC paths of a model version, with golden rows as examples."""
    manifest = model.manifest
    pool = DescriptorPool()
    pool.Add(typed_descriptor.file(manifest))
    service = pool.FindServiceByName(f"{typed_descriptor.package(manifest)}.{typed_descriptor.service(manifest)}")
    fields = typed_descriptor.field_names(manifest.features)
    names = {each.name: typed_descriptor.json_name(each, fields[each.name]) for each in manifest.features}
    records = [
        {names[name]: value for name, value in record.items() if value is not None} for record in examples.records
    ]
    encoder = ResponseEncoder(manifest)
    single_response, batch_response = (
        encoder.one("json")(examples.outputs, 0, 1),
        encoder.several("json", examples.outputs, 0, len(records)),
    )
    examples_by_method = {
        "Predict": (records[0], single_response),
        "PredictBatch": ({RECORDS: records}, batch_response),
    }
    one = _message(model, names, settings)
    several = schemas.closed_object({RECORDS: {"type": "array", "items": one}})
    paths: dict[str, Any] = {}
    for method in service.methods:
        is_one = method.name == "Predict"
        request_schema, response_schema = (
            (one if is_one else several),
            _response_schema(model, "Answer" if is_one else "Answers"),
        )
        paths[methods.path(method)] = _operations(
            method, request_schema, response_schema, examples_by_method.get(method.name)
        )
    return paths


def _response_schema(model: Model, kind: str) -> Document:
    """Return the schema of a typed response.

    It is the REST schema, unless the label is a 64-bit integer: protobuf's JSON mapping writes that as a string.
    """
    manifest = model.manifest
    is_text = manifest.kind == "regression" or manifest.output("label").datatype == "BYTES"
    return schemas.ref(f"{schemas.title_of(manifest)}{kind}") if is_text else {"type": "object"}


def _message(model: Model, names: Mapping[str, str], settings: Settings) -> Document:
    """Return the schema of a record as a message. An omitted field is null, or protobuf's zero."""
    properties = schemas.record(model, settings)["properties"]
    return schemas.closed_object({names[name]: schema for name, schema in properties.items()}, [])


def _operations(
    method: MethodDescriptor,
    schema: Document | None = None,
    response_schema: Document | None = None,
    example: tuple[Any, bytes] | None = None,
) -> Document:
    """Return the operations of a method: POST, and GET if unary without side effects."""
    is_stream = method.client_streaming or method.server_streaming
    members: Document = {"tags": [CALLS], "summary": _SUMMARIES[method.name]}
    if method.name in _CONTROL:
        members["security"] = [{"token": []}]
    if is_stream:
        stream_content = {media_type: {"schema": BINARY} for media_type in _STREAMS}
        body = {"required": True, "description": _STREAM_DESCRIPTION, "content": stream_content}
        ok_response: Document = {
            "200": {"description": "Messages in envelopes, and the end of the stream", "content": stream_content}
        }
        error_responses = {str(status): _ref(status) for status in (404, 405, 415)}
        return {"post": members | {"requestBody": body, "responses": ok_response | error_responses}}
    request_schema = schema or schemas.ref(method.input_type.full_name)
    request_example, response_example = example or (None, None)
    named_example = {"record": request_example} if example else None
    body = {"required": True, "content": content(request_schema, named_example, JSON) | {_PROTO: {"schema": BINARY}}}
    responses = _responses(response_schema or schemas.ref(method.output_type.full_name), response_example)
    timeout = {
        "name": "Connect-Timeout-Ms",
        "in": "header",
        "description": "The deadline in milliseconds",
        "schema": {"type": "integer", "minimum": 0, "maximum": 9_999_999_999},
    }
    operations = {"post": members | {"parameters": [timeout], "requestBody": body, "responses": responses}}
    if not methods.has_side_effects(method):
        query_parameters = [
            {"name": name, "in": "query", "required": True, "schema": kind} for name, kind in _QUERY_PARAMETERS
        ]
        operations["get"] = members | {"parameters": [*query_parameters, timeout], "responses": responses}
    return operations


def _responses(schema: Document, response_example: bytes | None) -> Document:
    named_example = None if response_example is None else {"record": msgspec.json.decode(response_example)}
    ok_response = {
        "description": "The response",
        "content": content(schema, named_example, JSON) | {_PROTO: {"schema": BINARY}},
    }
    return {"200": ok_response, **{str(status): _ref(status) for status in _STATUSES}}


def error_responses() -> Document:
    """Return the error responses of RPCs, by the names that operations refer to."""
    return {f"Call{status}": _error_response(status) for status in _STATUSES}


def _ref(status: int) -> Document:
    return {"$ref": f"#/components/responses/Call{status}"}


def _error_response(status: int) -> Document:
    codes = [code for code, number in HTTP_STATUS.items() if number == status]
    if not codes:
        return _plain_error_response(status)
    example = {"code": codes[0].label, "message": "the reason of the error"}
    connect_content = content(schemas.ref("ConnectError"), {codes[0].label: example}, JSON)
    plain_text: Document = {"text/plain": {"schema": TEXT}} if status == 404 else {}
    return {"description": ", ".join(code.label for code in codes), "content": connect_content | plain_text}


def _plain_error_response(status: int) -> Document:
    descriptions = {404: "Unknown RPC method", 405: "Unsupported HTTP method", 415: "Unknown content type"}
    return {"description": descriptions[status], "content": {"text/plain": {"schema": TEXT}}}

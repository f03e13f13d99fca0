"""OpenAPI paths of the Open Inference Protocol and of its Triton extensions."""

from typing import Any, Final

from server.codecs.infer_response import LENGTH_HEADER
from server.http.message import OCTET_STREAM
from server.models.session import Model
from server.rest.openapi import schemas
from server.rest.openapi.examples import Examples
from server.rest.openapi.operations import (
    ANY,
    BINARY,
    BODY,
    CONTROL,
    MODEL,
    OBJECT,
    PROTOCOL,
    RUN,
    TEXT,
    Document,
    body,
    content,
    ok,
    operation,
)
from server.settings import Settings

_BINARY_DESCRIPTION: Final = (
    "Tensors are JSON, or binary by the binary tensor extension: the bytes of an input with "
    f"`parameters.binary_data_size` follow the JSON, and `{LENGTH_HEADER.decode()}` is the length of the JSON. "
    "`binary_data` of an output, or `binary_data_output` for all outputs, requests binary outputs. `classification` "
    "requests the most likely classes."
)
_CONTROL: Final = (*BODY, 401, 403, 404, 501)
_TRUE: Final[Document] = {"const": True}


def server_paths() -> Document:
    """Return the paths that belong to no model."""
    index = body({"type": "object", "properties": {"ready": {"type": "boolean"}}}, required=False)
    states = {"type": "array", "items": schemas.ref("State")}
    live, ready = (ok(_closed_object(**{state: _TRUE}), {state: {state: True}}) for state in ("live", "ready"))
    stats = ok(schemas.ref("Statistics"))
    return {
        "/v2": {"get": operation(PROTOCOL, "Name, version, extensions", ok(schemas.ref("ServerMetadata")), ANY)},
        "/v2/health/live": {"get": operation(PROTOCOL, "Whether the server is alive", live, ANY)},
        "/v2/health/ready": {"get": operation(PROTOCOL, "Whether every model is ready", ready, ANY)},
        "/v2/models/stats": {"get": operation(PROTOCOL, "Statistics of every model", stats, ANY)},
        "/v2/repository/index": {
            "post": operation(PROTOCOL, "All versions and their states", {"requestBody": index} | ok(states), BODY)
        },
    }


def model_paths(name: str) -> Document:
    """Return the paths that load and unload a model."""
    request_body = body({"type": "object", "properties": {"parameters": OBJECT}}, required=False)
    members: Document = {"requestBody": request_body, "security": [{"token": []}]}
    root = f"/v2/repository/models/{name}"
    return {
        f"{root}/load": {"post": operation(CONTROL, "Load or reload the model from its folder", members, _CONTROL)},
        f"{root}/unload": {"post": operation(CONTROL, "Unload the model", members, _CONTROL)},
    }


def paths(root: str, model: Model, examples: Examples) -> Document:
    """Return the paths of a model or of one version, below `root`."""
    ready = ok(_closed_object(name={"const": model.name}, ready=_TRUE), {"ready": {"name": model.name, "ready": True}})
    return {
        root: {"get": operation(PROTOCOL, "Inputs and outputs", ok(schemas.ref("ModelMetadata")), MODEL)},
        f"{root}/ready": {"get": operation(PROTOCOL, "Whether the model is ready", ready, MODEL)},
        f"{root}/stats": {"get": operation(PROTOCOL, "Statistics", ok(schemas.ref("Statistics")), MODEL)},
        f"{root}/config": {"get": operation(PROTOCOL, "Configuration in Triton's format", {}, MODEL)},
        f"{root}/infer": {"post": _infer(model, examples)},
    }


def _infer(model: Model, examples: Examples) -> Document:
    request, infer_response = examples.tensors
    request_body = body(schemas.ref("InferRequest"), {"records": request})
    request_body["content"] |= content(BINARY, None, OCTET_STREAM)
    response_members = ok(schemas.ref("InferResponse"), {"records": infer_response})
    response_members["responses"]["200"]["content"] |= content(BINARY, None, OCTET_STREAM)
    header = {
        "name": LENGTH_HEADER.decode(),
        "in": "header",
        "description": "length of the JSON in bytes, if binary tensors follow it",
        "schema": {"type": "integer", "minimum": 0},
    }
    inputs = ", ".join(f"{each.name} {each.datatype}" for each in model.manifest.features)
    members: dict[str, Any] = {"description": _BINARY_DESCRIPTION, "requestBody": request_body} | response_members
    summary = f"Infer with {model.name} version {model.version}: {inputs}"
    return operation(PROTOCOL, summary, members, (*RUN, 501), parameters=[header])


def schemas_of(settings: Settings) -> Document:
    """Return the schemas that are the same for every model."""
    texts = {"type": "array", "items": TEXT}
    shape = {"type": "array", "items": {"type": "integer"}}
    tensors_metadata = {"type": "array", "items": _closed_object(name=TEXT, datatype=TEXT, shape=shape)}
    output = _closed_object(
        name=TEXT, datatype=TEXT, shape=shape, data={"type": "array"}, parameters=schemas.PARAMETERS
    )
    output["required"] = ["name", "datatype", "shape"]
    infer_response = _closed_object(
        model_name=TEXT, model_version=TEXT, id=TEXT, outputs={"type": "array", "items": output}
    )
    infer_response["required"] = ["model_name", "model_version", "outputs"]
    return {
        "InferRequest": schemas.infer_request(settings),
        "InferResponse": infer_response,
        "ServerMetadata": _closed_object(name=TEXT, version=TEXT, extensions=texts),
        "ModelMetadata": _closed_object(
            name=TEXT, versions=texts, platform=TEXT, inputs=tensors_metadata, outputs=tensors_metadata
        ),
        "Statistics": _closed_object(model_stats={"type": "array", "items": OBJECT}),
        "State": _closed_object(name=TEXT, version=TEXT, state={"enum": ["READY", "UNAVAILABLE"]}, reason=TEXT),
    }


def _closed_object(**properties: Document) -> Document:
    return schemas.closed_object(properties)

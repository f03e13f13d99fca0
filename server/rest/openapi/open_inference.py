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

_BINARY_WORDS: Final = (
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
    live, ready = (ok(_closed(**{word: _TRUE}), {word: {word: True}}) for word in ("live", "ready"))
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
    given = body({"type": "object", "properties": {"parameters": OBJECT}}, required=False)
    members: Document = {"requestBody": given, "security": [{"token": []}]}
    root = f"/v2/repository/models/{name}"
    return {
        f"{root}/load": {"post": operation(CONTROL, "Load or reload the model from its folder", members, _CONTROL)},
        f"{root}/unload": {"post": operation(CONTROL, "Unload the model", members, _CONTROL)},
    }


def paths(root: str, model: Model, examples: Examples) -> Document:
    """Return the paths of a model or of one version, below `root`."""
    ready = ok(_closed(name={"const": model.name}, ready=_TRUE), {"ready": {"name": model.name, "ready": True}})
    return {
        root: {"get": operation(PROTOCOL, "Inputs and outputs", ok(schemas.ref("ModelMetadata")), MODEL)},
        f"{root}/ready": {"get": operation(PROTOCOL, "Whether the model is ready", ready, MODEL)},
        f"{root}/stats": {"get": operation(PROTOCOL, "Statistics", ok(schemas.ref("Statistics")), MODEL)},
        f"{root}/config": {"get": operation(PROTOCOL, "Configuration in Triton's format", {}, MODEL)},
        f"{root}/infer": {"post": _infer(model, examples)},
    }


def _infer(model: Model, examples: Examples) -> Document:
    request, answer = examples.tensors
    given = body(schemas.ref("InferRequest"), {"records": request})
    given["content"] |= content(BINARY, None, OCTET_STREAM)
    answered = ok(schemas.ref("InferResponse"), {"records": answer})
    answered["responses"]["200"]["content"] |= content(BINARY, None, OCTET_STREAM)
    header = {
        "name": LENGTH_HEADER.decode(),
        "in": "header",
        "description": "length of the JSON in bytes, if binary tensors follow it",
        "schema": {"type": "integer", "minimum": 0},
    }
    inputs = ", ".join(f"{each.name} {each.datatype}" for each in model.manifest.features)
    members: dict[str, Any] = {"description": _BINARY_WORDS, "requestBody": given} | answered
    words = f"Infer with {model.name} version {model.version}: {inputs}"
    return operation(PROTOCOL, words, members, (*RUN, 501), parameters=[header])


def schemas_of(settings: Settings) -> Document:
    """Return the schemas that are the same for every model."""
    texts = {"type": "array", "items": TEXT}
    shape = {"type": "array", "items": {"type": "integer"}}
    described = {"type": "array", "items": _closed(name=TEXT, datatype=TEXT, shape=shape)}
    output = _closed(name=TEXT, datatype=TEXT, shape=shape, data={"type": "array"}, parameters=schemas.PARAMETERS)
    output["required"] = ["name", "datatype", "shape"]
    answer = _closed(model_name=TEXT, model_version=TEXT, id=TEXT, outputs={"type": "array", "items": output})
    answer["required"] = ["model_name", "model_version", "outputs"]
    return {
        "InferRequest": schemas.infer_request(settings),
        "InferResponse": answer,
        "ServerMetadata": _closed(name=TEXT, version=TEXT, extensions=texts),
        "ModelMetadata": _closed(name=TEXT, versions=texts, platform=TEXT, inputs=described, outputs=described),
        "Statistics": _closed(model_stats={"type": "array", "items": OBJECT}),
        "State": _closed(name=TEXT, version=TEXT, state={"enum": ["READY", "UNAVAILABLE"]}, reason=TEXT),
    }


def _closed(**properties: Document) -> Document:
    return schemas.closed(properties)

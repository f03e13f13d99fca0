"""Manifests to an OpenAPI 3.1 document: every path that the server has, as its models make it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from server import VERSION
from server.errors import CODES
from server.json_types import INT64_MAX
from server.manifest import Manifest
from server.model import Model
from server.replies import JSON, OCTET_STREAM
from server.repository import Repository
from server.settings import Settings
from server.signature import Column
from server.tensor_answers import LENGTH_HEADER

Document = dict[str, Any]

_PARAMETERS: Final[Document] = {
    "type": ["object", "null"],
    "additionalProperties": {"type": ["boolean", "integer", "number", "string"]},
}
_OBJECT: Final[Document] = {"type": "object"}
_REFUSALS: Final = {
    400: "invalid_argument",
    401: "unauthenticated",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
    415: "unsupported_media_type",
    429: "resource_exhausted",
    500: "internal",
    501: "unimplemented",
    503: "unavailable",
    504: "deadline_exceeded",
}
_ANY: Final = (405, 500, 503)
_BODY: Final = (400, 413, 415, *_ANY)
_MODEL: Final = (404, *_ANY)
_PREDICTION: Final = (*_BODY, 404, 429, 504)


def document(repository: Repository, settings: Settings) -> Document:
    """Return the document of what is served now."""
    paths: Document = {}
    schemas: Document = {"Error": _error(), "InferRequest": _infer_request(settings), "InferResponse": _OBJECT}
    for name, versions in repository.models.items():
        for model in versions.models.values():
            schemas |= _schemas(model, settings)
        paths |= _model_paths(name, versions.default)
        for number, model in versions.models.items():
            paths |= _version_paths(f"/versions/{number}", name, model)
        for label, number in versions.labels.items():
            predict = _predict(versions.models[number])
            paths[f"/api/models/{name}/labels/{label}/predict"] = {"post": predict}
    if repository.default_model in repository.models:
        paths["/api/predict"] = {"post": _predict(repository.resolve())}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Lifeboat", "version": VERSION, "description": "Predictions of the models that are served."},
        "paths": dict(sorted((paths | _server_paths()).items())),
        "components": {
            "schemas": schemas,
            "responses": {str(status): _refusal(code) for status, code in _REFUSALS.items()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _model_paths(name: str, default: Model) -> Document:
    control = (*_BODY, 401, 403, 404, 501)
    body = _body({"type": "object", "properties": {"parameters": _OBJECT}}, required=False)
    paths = _version_paths("", name, default)
    paths[f"/api/models/{name}"] = {"get": _operation(f"The model {name}: signature, scores, provenance", {}, _MODEL)}
    text = {"description": "protobuf's language", "content": {"text/plain": {"schema": {"type": "string"}}}}
    proto = _operation(f"The .proto file of the typed service of {name}", {"responses": {"200": text}}, _MODEL)
    paths[f"/api/models/{name}/service.proto"] = {"get": proto}
    for action, words in (("load", "Read the model's folder again"), ("unload", "Serve the model no longer")):
        operation = _operation(words, {"requestBody": body, "security": [{"token": []}]}, control)
        paths[f"/v2/repository/models/{name}/{action}"] = {"post": operation}
    return paths


def _version_paths(below: str, name: str, model: Model) -> Document:
    root = f"/v2/models/{name}{below}"
    return {
        f"/api/models/{name}{below}/predict": {"post": _predict(model)},
        root: {"get": _operation("Inputs and outputs", {}, _MODEL)},
        f"{root}/ready": {"get": _operation("Whether it is ready", {}, _MODEL)},
        f"{root}/stats": {"get": _operation("Statistics", {}, _MODEL)},
        f"{root}/config": {"get": _operation("Configuration, in Triton's words", {}, _MODEL)},
        f"{root}/infer": {"post": _infer(model)},
    }


def _server_paths() -> Document:
    index = _body({"type": "object", "properties": {"ready": {"type": "boolean"}}}, required=False)
    text = {"description": "Prometheus's text format", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {
        "/api/models": {"get": _operation("What is served", {}, _ANY)},
        "/api/openapi.json": {"get": _operation("This document", {}, _ANY)},
        "/metrics": {"get": _operation("Metrics", {"responses": {"200": text}}, _ANY)},
        "/v2": {"get": _operation("Name, version, extensions", {}, _ANY)},
        "/v2/health/live": {"get": _operation("Whether the server lives", {}, _ANY)},
        "/v2/health/ready": {"get": _operation("Whether every model is ready", {}, _ANY)},
        "/v2/models/stats": {"get": _operation("Statistics of every model", {}, _ANY)},
        "/v2/repository/index": {
            "post": _operation("Every version and its state", {"requestBody": index} | _ok({"type": "array"}), _BODY)
        },
    }


def _predict(model: Model) -> Document:
    """Return the operation that answers records, with the first golden row as its example."""
    manifest = model.manifest
    title = _title(manifest)
    example = manifest.golden.records[0]
    schema = {"oneOf": [_ref(f"{title}Record"), _ref(f"{title}Records")]}
    body = _body(schema)
    body["content"][JSON]["examples"] = {"record": {"value": example}, "records": {"value": {"records": [example]}}}
    answers = {"oneOf": [_ref(f"{title}Answer"), _ref(f"{title}Answers")]}
    return _operation(f"Predict {manifest.target}", {"requestBody": body} | _ok(answers), _PREDICTION)


def _infer(model: Model) -> Document:
    """Return the operation of the Open Inference Protocol."""
    header = {"name": LENGTH_HEADER.decode(), "in": "header", "schema": {"type": "integer", "minimum": 0}}
    body = _body(_ref("InferRequest"))
    body["content"][OCTET_STREAM] = {"schema": {"type": "string", "format": "binary"}}
    answer = _ok(_ref("InferResponse"))
    answer["responses"]["200"]["content"][OCTET_STREAM] = {"schema": {"type": "string", "format": "binary"}}
    inputs = ", ".join(f"{each.name} {each.datatype}" for each in model.manifest.features)
    words = f"Infer with {model.name} version {model.version}: {inputs}"
    return _operation(words, {"parameters": [header], "requestBody": body} | answer, _PREDICTION)


def _schemas(model: Model, settings: Settings) -> Document:
    """Return the schemas of a model's records and answers."""
    manifest, title = model.manifest, _title(model.manifest)
    columns = model.signature.columns
    several = {"type": "array", "minItems": 1, "maxItems": settings.max_rows, "items": _ref(f"{title}Record")}
    answer = _answer(manifest)
    served = {"model": {"const": model.name}, "version": {"const": model.version}}
    answers = {"type": "array", "items": _closed(answer)}
    return {
        f"{title}Record": _closed(
            {column.feature.name: _value(column, settings) for column in columns},
            [column.feature.name for column in columns if not column.feature.nullable],
        ),
        f"{title}Records": _closed({"records": several}),
        f"{title}Answer": _closed(served | answer),
        f"{title}Answers": _closed(served | {"predictions": answers}),
    }


def _value(column: Column, settings: Settings) -> Document:
    """Return the schema of exactly the values that a column takes from JSON."""
    feature = column.feature
    schema: Document = {"description": feature.description, "examples": [feature.example]}
    if feature.categories is not None:
        return schema | {"enum": [*feature.categories, *([None] if feature.nullable else [])]}
    kind, limits = "number", {"minimum": column.low, "maximum": column.high}
    if feature.datatype == "BYTES":
        kind, limits = "string", {"maxLength": settings.max_string_bytes // 4}  # characters, of four bytes at most
    elif feature.datatype == "BOOL":
        kind, limits = "boolean", {}
    elif not feature.is_float:
        kind, limits["maximum"] = "integer", min(int(column.high or 0), INT64_MAX)
    return schema | {"type": [kind, "null"] if feature.nullable else kind} | limits


def _answer(manifest: Manifest) -> Document:
    """Return the members of one answer: those that `server.answers` gives."""
    if manifest.kind == "regression":
        return {"value": {"type": ["number", "null"]}}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    members = {"label": {"enum": manifest.classes}, "probabilities": _closed(dict.fromkeys(manifest.classes, share))}
    return members | ({"probability": share} if manifest.kind == "binary" else {})


def _infer_request(settings: Settings) -> Document:
    data = {"type": "array", "maxItems": settings.max_rows}
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"type": "string"},
            "data": data,
            "parameters": _PARAMETERS,
        },
    }
    output = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "parameters": _PARAMETERS},
    }
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": _PARAMETERS,
            "inputs": {"type": "array", "minItems": 1, "items": tensor},
            "outputs": {"type": ["array", "null"], "items": output},
        },
    }


def _operation(summary: str, members: Mapping[str, Any], refusals: Sequence[int]) -> Document:
    operation: Document = {"summary": summary, **(_ok(_OBJECT) | dict(members))}
    refused = {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(set(refusals))}
    return operation | {"responses": operation["responses"] | refused}


def _ok(schema: Document) -> Document:
    return {"responses": {"200": {"description": "The answer", "content": {JSON: {"schema": schema}}}}}


def _body(schema: Document, *, required: bool = True) -> Document:
    return {"required": required, "content": {JSON: {"schema": schema}}}


def _refusal(code: str) -> Document:
    status = CODES[code].http
    return {"description": f"{code} ({status})", "content": {JSON: {"schema": _ref("Error")}}}


def _error() -> Document:
    schema = _closed({"error": {"type": "string"}, "code": {"enum": list(CODES)}, "field": {"type": "string"}})
    return schema | {"required": ["error", "code"]}


def _closed(properties: Mapping[str, Any], required: Sequence[str] | None = None) -> Document:
    """Return the schema of an object with these members and no other, all required unless told."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties) if required is None else list(required),
        "additionalProperties": False,
    }


def _ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}


def _title(manifest: Manifest) -> str:
    return f"{manifest.name}.{manifest.version}."

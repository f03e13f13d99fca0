"""Manifests to an OpenAPI 3.1 document: every path that the server has, as its models make it."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from server import VERSION, schemas
from server.asked import ALL, ON_ERROR
from server.errors import CODES
from server.model import Model
from server.replies import JSON, OCTET_STREAM
from server.repository import Repository
from server.settings import Settings
from server.tables.forms import CSV, FORMS
from server.tensor_answers import LENGTH_HEADER

Document = dict[str, Any]

_OBJECT: Final[Document] = {"type": "object"}
_BINARY: Final[Document] = {"type": "string", "format": "binary"}
_BATCH_PARAMETERS: Final[Sequence[tuple[str, str, Document]]] = (
    ("columns", "the columns to pass on: all, none, or names with commas", {"type": "string", "default": ALL}),
    ("on_error", "what becomes of a row that can't be scored", {"enum": list(ON_ERROR), "default": ON_ERROR[0]}),
    ("delimiter", "what stands between the columns of a CSV file", {"type": "string", "minLength": 1}),
    ("summary", "last: the counts are a last record, of CSV and NDJSON", {"enum": ["none", "last"]}),
)
_REFUSALS: Final = {
    400: "invalid_argument",
    401: "unauthenticated",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
    415: "unsupported_media_type",
    429: "resource_exhausted",
    499: "canceled",
    500: "internal",
    501: "unimplemented",
    503: "unavailable",
    504: "deadline_exceeded",
}
_SAME: Final[Document] = {"304": {"description": "It is what If-None-Match says"}}
_ANY: Final = (405, 500, 503)
_BODY: Final = (400, 413, 415, *_ANY)
_MODEL: Final = (404, *_ANY)
_PREDICTION: Final = (*_BODY, 404, 429, 504)
_QUERY: Final = (400, 404, 413, 429, 504, *_ANY)


def document(repository: Repository, settings: Settings) -> Document:
    """Return the document of what is served now."""
    paths: Document = {}
    known: Document = {
        "Error": schemas.error(),
        "InferRequest": schemas.infer_request(settings),
        "InferResponse": _OBJECT,
    }
    for name, versions in repository.models.items():
        for model in versions.models.values():
            known |= schemas.of_model(model, settings)
        paths |= _model_paths(name, versions.default, settings)
        for number, model in versions.models.items():
            paths |= _version_paths(f"/versions/{number}", name, model, settings)
        for label, number in versions.labels.items():
            root = f"/api/models/{name}/labels/{label}"
            labelled = versions.models[number]
            paths |= _record_paths(root, labelled, settings) | _card_path(root, labelled)
    if repository.default_model in repository.models:
        paths |= _record_paths("/api", repository.resolve(), settings)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Lifeboat", "version": VERSION, "description": "Predictions of the models that are served."},
        "paths": dict(sorted((paths | _server_paths()).items())),
        "components": {
            "schemas": known,
            "responses": {str(status): _refusal(code) for status, code in _REFUSALS.items()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _model_paths(name: str, default: Model, settings: Settings) -> Document:
    control = (*_BODY, 401, 403, 404, 501)
    body = _body({"type": "object", "properties": {"parameters": _OBJECT}}, required=False)
    paths = _version_paths("", name, default, settings)
    paths[f"/api/models/{name}"] = {"get": _operation(f"The model {name}: signature, scores, provenance", {}, _MODEL)}
    text = {"description": "protobuf's language", "content": {"text/plain": {"schema": {"type": "string"}}}}
    proto = _operation(f"The .proto file of the typed service of {name}", {"responses": {"200": text}}, _MODEL)
    paths[f"/api/models/{name}/service.proto"] = {"get": proto}
    part = {"200": {"description": "HTML", "content": {"text/html": {"schema": {"type": "string"}}}}, **_SAME}
    paths[f"/api/models/{name}/form"] = {"get": _operation(f"The page's part on {name}", {"responses": part}, _MODEL)}
    for action, words in (("load", "Read the model's folder again"), ("unload", "Serve the model no longer")):
        operation = _operation(words, {"requestBody": body, "security": [{"token": []}]}, control)
        paths[f"/v2/repository/models/{name}/{action}"] = {"post": operation}
    return paths


def _version_paths(below: str, name: str, model: Model, settings: Settings) -> Document:
    root = f"/v2/models/{name}{below}"
    return {
        **_record_paths(f"/api/models/{name}{below}", model, settings),
        **_card_path(f"/api/models/{name}{below}", model),
        root: {"get": _operation("Inputs and outputs", {}, _MODEL)},
        f"{root}/ready": {"get": _operation("Whether it is ready", {}, _MODEL)},
        f"{root}/stats": {"get": _operation("Statistics", {}, _MODEL)},
        f"{root}/config": {"get": _operation("Configuration, in Triton's words", {}, _MODEL)},
        f"{root}/infer": {"post": _infer(model)},
    }


def _record_paths(root: str, model: Model, settings: Settings) -> Document:
    batch = _batch(model)
    explained = schemas.explained_records(model.manifest, settings)
    explain = {f"{root}/explain": {"post": _explain(model)}} if explained else {}
    return explain | {
        f"{root}/predict": {"get": _query(model, settings), "post": _predict(model)},
        f"{root}/batch": {"post": batch, "put": batch},
    }


def _card_path(root: str, model: Model) -> Document:
    page = {"description": "A page", "content": {"text/html": {"schema": {"type": "string"}}}}
    responses = {"200": page, "304": {"description": "The page is what If-None-Match says"}}
    words = f"The model card of {model.name} version {model.version}, where it has one"
    return {f"{root}/card": {"get": _operation(words, {"responses": responses}, _MODEL)}}


def _page_paths() -> Document:
    """Return the paths of the page that people look at, and its files."""
    model = {
        "name": "model",
        "in": "query",
        "schema": {"type": "string"},
        "description": "the default one, if left out",
    }
    name = {
        "name": "name",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^[a-z]+[.][a-z]+$"},
    }
    html, file = (
        {"200": {"description": what, "content": {media_type: {"schema": {"type": "string"}}}}, **_SAME}
        for what, media_type in (("HTML", "text/html"), ("A script, a style sheet or a picture", "text/*"))
    )
    return {
        "/": {"get": _operation("The page of a model", {"parameters": [model], "responses": html}, _MODEL)},
        "/web/{name}": {"get": _operation("A file of the page", {"parameters": [name], "responses": file}, _MODEL)},
    }


def _server_paths() -> Document:
    index = _body({"type": "object", "properties": {"ready": {"type": "boolean"}}}, required=False)
    text = {"description": "Prometheus's text format", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {
        **_page_paths(),
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
    """Return the operation that answers records."""
    body, answers = _records(model, "Records"), _one_or_several(model, "Answer", "Answers")
    return _operation(f"Predict {model.manifest.target}", {"requestBody": body} | _ok(answers), _PREDICTION)


def _explain(model: Model) -> Document:
    """Return the operation that explains the answers to records."""
    body, answers = _records(model, "RecordsToExplain"), _one_or_several(model, "Explanation", "Explanations")
    words = f"Predict {model.manifest.target}, and say what each feature adds to the answer"
    return _operation(words, {"requestBody": body} | _ok(answers), (*_PREDICTION, 499, 501))


def _records(model: Model, several: str) -> Document:
    """Return the body that holds a record or the schema of `several`, with the first golden row as its example."""
    example = model.manifest.golden.records[0]
    body = _body(_one_or_several(model, "Record", several))
    body["content"][JSON]["examples"] = {"record": {"value": example}, "records": {"value": {"records": [example]}}}
    return body


def _one_or_several(model: Model, one: str, several: str) -> Document:
    title = schemas.title_of(model.manifest)
    return {"oneOf": [schemas.ref(f"{title}{one}"), schemas.ref(f"{title}{several}")]}


def _query(model: Model, settings: Settings) -> Document:
    """Return the operation that answers one record which is a query."""
    parameters = [schemas.parameter(column, settings) for column in model.signature.columns]
    answer = _ok(schemas.ref(f"{schemas.title_of(model.manifest)}Answer"))
    text: Document = {"schema": {"type": "string"}}
    kept = {
        "ETag": text | {"description": "the same for the same input"},
        "Cache-Control": text | {"description": "how long the answer may be kept"},
    }
    answer["responses"]["200"]["headers"] = kept
    answer["responses"]["304"] = {"description": "The answer is what If-None-Match says", "headers": kept}
    words = f"Predict {model.manifest.target} for one record, by an answer that may be kept"
    return _operation(words, {"parameters": parameters} | answer, _QUERY)


def _batch(model: Model) -> Document:
    """Return the operation that takes files, with a golden row as the example of a CSV file."""
    record = model.manifest.golden.records[0]
    text = io.StringIO()
    rows = csv.DictWriter(text, list(record), lineterminator="\n")
    rows.writeheader()
    rows.writerow(record)
    content = {form.media_type: {"schema": _BINARY} for form in FORMS}
    body: Document = {
        "required": True,
        "content": content | {CSV.media_type: {"schema": _BINARY, "example": text.getvalue()}},
    }
    answer = {"200": {"description": "Each row, and its answer behind it", "content": content}}
    parameters = [
        {"name": name, "in": "query", "description": words, "schema": schema}
        for name, words, schema in _BATCH_PARAMETERS
    ]
    words = f"Score a file of rows: adds predicted_{model.manifest.target}"
    members = {"parameters": parameters, "requestBody": body, "responses": answer}
    return _operation(words, members, (*_PREDICTION, 499))


def _infer(model: Model) -> Document:
    """Return the operation of the Open Inference Protocol."""
    header = {"name": LENGTH_HEADER.decode(), "in": "header", "schema": {"type": "integer", "minimum": 0}}
    body = _body(schemas.ref("InferRequest"))
    body["content"][OCTET_STREAM] = {"schema": _BINARY}
    answer = _ok(schemas.ref("InferResponse"))
    answer["responses"]["200"]["content"][OCTET_STREAM] = {"schema": _BINARY}
    inputs = ", ".join(f"{each.name} {each.datatype}" for each in model.manifest.features)
    words = f"Infer with {model.name} version {model.version}: {inputs}"
    return _operation(words, {"parameters": [header], "requestBody": body} | answer, _PREDICTION)


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
    return {"description": f"{code} ({status})", "content": {JSON: {"schema": schemas.ref("Error")}}}

"""OpenAPI paths for models, cards, typed services, the document itself and server metrics."""

from typing import Any, Final

from server.models.session import Model
from server.rest.openapi import schemas
from server.rest.openapi.operations import ANY, MODEL, MODELS, OBJECT, SERVER, TEXT, Document, ok, operation

_PAGE: Final = "text/html"


def server_paths() -> Document:
    """Return the paths that belong to no model."""
    document = operation(SERVER, "This document", _cacheable_response(ok(OBJECT)["responses"]["200"]), ANY)
    page = operation(
        SERVER, "This document as a web page, with a form to try each operation", _cacheable_response(_page()), ANY
    )
    metrics = operation(
        SERVER, "Metrics for Prometheus; not available through the Worker", _ok_response(_text("metrics")), ANY
    )
    return _page_paths() | {
        "/api/models": {"get": operation(MODELS, "The served models", ok(schemas.ref("Models")), ANY)},
        "/api/openapi.json": {"get": document},
        "/api/docs": {"get": page},
        "/metrics": {"get": metrics},
    }


def _page_paths() -> Document:
    """Return the paths of the HTML page of a model and of all static files."""
    model = {"name": "model", "in": "query", "schema": TEXT, "description": "if omitted, the default model"}
    name = {"name": "name", "in": "path", "required": True, "schema": TEXT | {"pattern": "^[a-z-]+[.][a-z]+$"}}
    file = {"description": "A script, style sheet or image", "content": {"text/*": {"schema": TEXT}}}
    page = operation(MODELS, "The web page of a model", _cacheable_response(_page()), MODEL, parameters=[model])
    return {
        "/": {"get": page},
        "/web/{name}": {
            "get": operation(
                SERVER, "A static file of the web pages", _cacheable_response(file), MODEL, parameters=[name]
            )
        },
    }


def model_paths(name: str) -> Document:
    """Return the paths that describe a model."""
    summary = f"The model {name}: signature, scores, provenance"
    proto = f"The .proto file of the typed service of {name}"
    form = operation(MODELS, f"The main part of the web page, for {name}", _cacheable_response(_page()), MODEL)
    return {
        f"/api/models/{name}/form": {"get": form},
        f"/api/models/{name}": {"get": operation(MODELS, summary, ok(schemas.ref("Model")), MODEL)},
        f"/api/models/{name}/service.proto": {"get": operation(MODELS, proto, _ok_response(_text("the file")), MODEL)},
    }


def card_path(root: str, model: Model) -> Document:
    """Return the path of the card of a model version, below `root`."""
    summary = f"The model card of {model.name} version {model.version}, if it has one"
    return {f"{root}/card": {"get": operation(MODELS, summary, _cacheable_response(_page()), MODEL)}}


def drift_path(root: str, model: Model) -> Document:
    """Return the path of the drift report of a model version, below `root`."""
    schema = {"enum": ["requests", "files"], "default": "requests"}
    of = {"name": "of", "in": "query", "description": "the source of the rows: requests or files", "schema": schema}
    summary = f"Drift of the rows that {model.name} version {model.version} received, compared with its training rows"
    members = ok(schemas.ref("Drift"))
    return {f"{root}/drift": {"get": operation(MODELS, summary, members, (400, 501, *MODEL), parameters=[of])}}


def schemas_of() -> Document:
    """Return the schemas of the responses."""
    texts = {"type": "array", "items": TEXT}
    summary = {
        "name": TEXT,
        "version": TEXT | {"description": "the version that serves requests without a version"},
        "versions": texts,
        "labels": {"type": "object", "additionalProperties": TEXT},
        "kind": {"enum": ["binary", "multiclass", "regression"]},
        "description": TEXT,
    }
    feature: dict[str, Any] = {
        "name": TEXT,
        "datatype": TEXT,
        "nullable": {"type": "boolean"},
        "categories": {"type": ["array", "null"]},
        "minimum": {"type": ["number", "null"]},
        "maximum": {"type": ["number", "null"]},
        "description": TEXT,
        "example": {},
    }
    model_members = summary | {
        "target": TEXT,
        "classes": texts,
        "positive_class": {"type": ["string", "null"]},
        "api_version": {"type": "integer"},
        "features": {"type": "array", "items": schemas.closed_object(feature)},
        "example": OBJECT,
        "metrics": {"type": ["object", "null"]},
        "parity": OBJECT,
        "provenance": OBJECT,
        "sha256": TEXT,
    }
    summaries = {"type": "array", "items": schemas.closed_object(summary)}
    return {
        "Error": schemas.error(),
        "Drift": schemas.drift(),
        "Models": schemas.closed_object({"default": TEXT, "models": summaries}),
        "Model": schemas.closed_object(model_members),
    }


def _page() -> Document:
    return {"description": "A web page", "content": {_PAGE: {"schema": TEXT}}}


def _text(description: str) -> Document:
    return {"description": description, "content": {"text/plain": {"schema": TEXT}}}


def _ok_response(content: Document) -> Document:
    return {"responses": {"200": content}}


def _cacheable_response(content: Document) -> Document:
    """Return the responses of a cacheable operation: 200 and 304."""
    return {"responses": {"200": content, "304": {"description": "Not modified: the ETag matches If-None-Match"}}}

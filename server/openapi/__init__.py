"""Manifests to an OpenAPI 3.1 document: every path that the server has, as its models make it."""

import re
from collections.abc import Mapping
from typing import Final

from server import VERSION, schemas
from server.model import Model
from server.openapi import calls, inference, predictions, served
from server.openapi.examples import Examples
from server.openapi.operations import SECURITY, TAGS, Document, components
from server.repository import Repository
from server.rpc import typed_file
from server.rpc.services import typed_models
from server.settings import Settings
from server.versions import Versions

_DESCRIPTION: Final = (
    "Predictions of the models that are served, derived from their manifests.\n\n"
    "Every failure is one envelope, `{error, code, field}`; calls have Connect's, `{code, message, details}`. "
    "The examples are golden rows of the models, and the answers to them are this server's own.\n\n"
    "Where a Worker stands before the server, it may ask for a key; it answers `/healthz` and `/status` itself, and "
    "passes on neither `/metrics` nor model control."
)
_NO_IDENTIFIER: Final = re.compile(r"[^A-Za-z0-9]+")


def document(repository: Repository, settings: Settings) -> Document:
    """Return the document of what is served now; to be made in a thread: it runs the models."""
    models = dict(repository.models)
    examples = {model: Examples(model, settings) for versions in models.values() for model in versions.models.values()}
    default = models.get(repository.default_model)
    paths = served.server_paths() | calls.server_paths() | inference.server_paths()
    if default is not None:
        paths |= predictions.paths("/api", default.default, settings, examples[default.default])
    typed: dict[str, Model] = {}
    for versions in models.values():
        paths |= _model_paths(versions, settings, examples)
        for model in typed_models(versions):
            typed.setdefault(typed_file.package(model.manifest), model)  # of two that share a name the first has it
    for model in typed.values():
        paths |= calls.typed_paths(model, settings, examples[model])
    known = served.schemas_of() | inference.schemas_of(settings) | calls.schemas_of()
    for model in examples:
        known |= schemas.of_model(model, settings)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Lifeboat", "version": VERSION, "description": _DESCRIPTION},
        "tags": [{"name": name, "description": words} for name, words in TAGS.items()],
        "security": SECURITY,
        "paths": _identified(dict(sorted(paths.items()))),
        "components": components(calls.refusals()) | {"schemas": dict(sorted(known.items()))},
    }


def _model_paths(versions: Versions, settings: Settings, examples: Mapping[Model, Examples]) -> Document:
    """Return the paths of one model: as it answers by default, and below them each version and each label."""
    name, default = versions.name, versions.default
    places = [("", default)]
    places += [(f"/versions/{number}", model) for number, model in versions.models.items()]
    labels = [(f"/labels/{label}", versions.models[number]) for label, number in versions.labels.items()]
    paths = served.model_paths(name) | inference.model_paths(name)
    for below, model in places + labels:
        root = f"/api/models/{name}{below}"
        paths |= predictions.paths(root, model, settings, examples[model])
        paths |= served.card_path(root, model) | served.drift_path(root, model)
    for below, model in places:
        paths |= inference.paths(f"/v2/models/{name}{below}", model, examples[model])
    return paths


def _identified(paths: Document) -> Document:
    """Return the same with a name for each operation, of its method and path: generated clients call it by that."""
    taken: set[str] = set()
    for path, operations in paths.items():
        for method, operation in operations.items():
            name = _NO_IDENTIFIER.sub("_", f"{method}{path}").strip("_")
            while name in taken:
                name += "_"
            taken.add(name)
            operations[method] = {"operationId": name, **operation}
    return paths

"""OpenAPI 3.1 document of all paths of the server, derived from the model manifests."""

import re
from collections.abc import Mapping
from typing import Final

from server import VERSION
from server.models.repository import Repository
from server.models.session import Model
from server.models.versions import Versions
from server.rest.openapi import catalog, open_inference, predictions, schemas
from server.rest.openapi import rpc as calls
from server.rest.openapi.examples import Examples
from server.rest.openapi.operations import SECURITY, TAGS, Document, components
from server.rpc.app import typed_models
from server.rpc.services import typed_descriptor
from server.settings import Settings

_DESCRIPTION: Final = (
    "Predictions of the served models. This document is derived from their manifests.\n\n"
    "Every error has the same JSON envelope, `{error, code, field}`; RPC errors have Connect's, "
    "`{code, message, details}`. The example requests are golden rows of the models; the example responses were "
    "computed by this server.\n\n"
    "If a Worker forwards requests to the server, it may require an API key. It responds to `/healthz` and `/status` "
    "itself, and does not forward `/metrics` and model control."
)
_NO_IDENTIFIER: Final = re.compile(r"[^A-Za-z0-9]+")


def document(repository: Repository, settings: Settings) -> Document:
    """Return the OpenAPI document of the served models. Call it in a thread: it runs the models."""
    models = dict(repository.models)
    examples = {model: Examples(model, settings) for versions in models.values() for model in versions.models.values()}
    default = models.get(repository.default_model)
    paths = catalog.server_paths() | calls.server_paths() | open_inference.server_paths()
    if default is not None:
        paths |= predictions.paths("/api", default.default, settings, examples[default.default])
    typed_models_by_package: dict[str, Model] = {}
    for versions in models.values():
        paths |= _model_paths(versions, settings, examples)
        for model in typed_models(versions):
            typed_models_by_package.setdefault(
                typed_descriptor.package(model.manifest), model
            )  # two models may share a name: the first model wins
    for model in typed_models_by_package.values():
        paths |= calls.typed_paths(model, settings, examples[model])
    all_schemas = catalog.schemas_of() | open_inference.schemas_of(settings) | calls.schemas_of()
    for model in examples:
        all_schemas |= schemas.of_model(model, settings)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Lifeboat", "version": VERSION, "description": _DESCRIPTION},
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "security": SECURITY,
        "paths": _identified(dict(sorted(paths.items()))),
        "components": components(calls.error_responses()) | {"schemas": dict(sorted(all_schemas.items()))},
    }


def _model_paths(versions: Versions, settings: Settings, examples: Mapping[Model, Examples]) -> Document:
    """Return the paths of one model: default, by version and by label."""
    name, default = versions.name, versions.default
    paths_and_models = [("", default)]
    paths_and_models += [(f"/versions/{number}", model) for number, model in versions.models.items()]
    labels = [(f"/labels/{label}", versions.models[number]) for label, number in versions.labels.items()]
    paths = catalog.model_paths(name) | open_inference.model_paths(name)
    for suffix, model in paths_and_models + labels:
        root = f"/api/models/{name}{suffix}"
        paths |= predictions.paths(root, model, settings, examples[model])
        paths |= catalog.card_path(root, model) | catalog.drift_path(root, model)
    for suffix, model in paths_and_models:
        paths |= open_inference.paths(f"/v2/models/{name}{suffix}", model, examples[model])
    return paths


def _identified(paths: Document) -> Document:
    """Return the paths with an operationId for each operation, from its method and path.

    Generated clients use the operationId as the name of the operation.
    """
    taken: set[str] = set()
    for path, operations in paths.items():
        for method, operation in operations.items():
            name = _NO_IDENTIFIER.sub("_", f"{method}{path}").strip("_")
            while name in taken:
                name += "_"
            taken.add(name)
            operations[method] = {"operationId": name, **operation}
    return paths

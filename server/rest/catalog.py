"""GET /api/models: describe the served models from their manifests; GET /: the HTML pages."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.http.caching import Tagged, tagged
from server.http.message import JSON
from server.http.responses import json_response, revalidated
from server.http.routes import API_MODEL, API_MODEL_VERSIONS
from server.inference.runner import Runners
from server.models.manifest import Feature
from server.models.repository import Repository, Versions
from server.models.threads import SharedWork
from server.settings import Settings

if TYPE_CHECKING:
    from server.rest.card import Cards
    from server.rest.pages import Pages


class _Documents:
    """Documents that are built once for a given set of served models."""

    def __init__(self, models: Mapping[str, Versions]) -> None:
        """Build documents for `models`."""
        self.models = models
        self.shared_work = SharedWork()
        self.openapi: Tagged | None = None
        self.services: dict[str, str] = {}
        """The .proto files of typed services, by model name."""


class DescribeEndpoint:
    """Routes that describe the served models and their inputs."""

    def __init__(self, repository: Repository, runners: Runners, settings: Settings) -> None:
        """Describe the models of `repository`, and the drift statistics of `runners`."""
        self._repository = repository
        self._runners = runners
        self._settings = settings
        self._cached_documents = _Documents({})

    @cached_property
    def _pages(self) -> "Pages":
        from server.rest.pages import Pages  # imported lazily, as below, to keep startup fast

        return Pages(self._repository)

    @cached_property
    def _cards(self) -> "Cards":
        from server.rest.card import Cards

        return Cards()

    @property
    def _documents(self) -> _Documents:
        """The documents for the models that are served now."""
        models = dict(self._repository.models)
        if self._cached_documents.models != models:
            self._cached_documents = _Documents(models)
        return self._cached_documents

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/", self.page, methods=["GET"]),
            Route("/web/{name}", self.file, methods=["GET"]),
            Route("/api/models", self.list_models, methods=["GET"]),
            Route(API_MODEL, self.describe_model, methods=["GET"]),
            Route(f"{API_MODEL}/form", self.form, methods=["GET"]),
            Route(f"{API_MODEL}/service.proto", self.service, methods=["GET"]),
            Route("/api/openapi.json", self.openapi, methods=["GET"]),
            Route("/api/docs", self.docs, methods=["GET"]),
            *(
                Route(f"{path}/{name}", endpoint, methods=["GET"])
                for name, endpoint in (("card", self.card), ("drift", self.drift))
                for path in API_MODEL_VERSIONS
            ),
        ]

    async def page(self, request: Request) -> Response:
        """Return the page of the default model, or of the model in `?model=`."""
        return await self._pages.page(request)

    async def form(self, request: Request) -> Response:
        """Return the part of the page that belongs to one model."""
        return await self._pages.form(request)

    async def file(self, request: Request) -> Response:
        """Return a static file of the pages."""
        return await self._pages.file(request)

    async def list_models(self, _request: Request) -> Response:
        """Return `{"default": name, "models": [{...}]}`, with a summary of each model."""
        models = [_summary(versions) for versions in self._repository.models.values()]
        return json_response({"default": self._repository.default_model, "models": models})

    async def openapi(self, request: Request) -> Response:
        """Return the OpenAPI document of the served models, or 304 if the client has it.

        The document is built once for the same set of models.
        """
        documents = self._documents
        if documents.openapi is None:
            documents.openapi = await documents.shared_work.run(self._document)
        return revalidated(request, documents.openapi, JSON, {})

    def _document(self) -> Tagged:
        """Build the document. Runs in a thread: predictions must not wait for the imports of the first call."""
        from server.rest.openapi import document

        return tagged(msgspec.json.encode(document(self._repository, self._settings)))

    async def docs(self, request: Request) -> Response:
        """Return the page that displays the OpenAPI document."""
        return await self._pages.docs(request)

    async def card(self, request: Request) -> Response:
        """Return the model card of the default version, or of the named version."""
        return await self._cards.respond(request, self._repository)

    async def drift(self, request: Request) -> Response:
        """Return the drift of a version's inputs and predictions from its training data."""
        from server.rest.drift import respond  # imported lazily to keep startup fast

        return respond(request, self._repository, self._runners)

    async def service(self, request: Request) -> Response:
        """Return the .proto file of the model's typed service, for code generation."""
        from server.rpc.services.typed_proto_text import text  # imported lazily: predictions do not need it

        name, services = request.path_params["model"], self._documents.services
        manifest = self._repository.versions(name).default.manifest
        if name not in services:
            services[name] = text(manifest)
        return Response(services[name], media_type="text/plain")

    async def describe_model(self, request: Request) -> Response:
        """Return the full description of a model: its signature, scores, parity and provenance."""
        versions = self._repository.versions(request.path_params["model"])
        manifest = versions.default.manifest
        return json_response(
            _summary(versions)
            | {
                "target": manifest.target,
                "classes": manifest.classes,
                "positive_class": manifest.positive_class,
                "api_version": manifest.api_version,
                "features": [_feature(feature) for feature in manifest.features],
                "example": {feature.name: feature.example for feature in manifest.features},
                "metrics": manifest.metrics,
                "parity": manifest.parity,
                "provenance": manifest.provenance,
                "sha256": manifest.sha256,
            }
        )


def _summary(versions: Versions) -> dict[str, Any]:
    manifest = versions.default.manifest
    return {
        "name": versions.name,
        "version": versions.default.version,
        "versions": [model.version for model in versions.models.values()],
        "labels": {label: str(version) for label, version in versions.labels.items()},
        "kind": manifest.kind,
        "description": manifest.description,
    }


def _feature(feature: Feature) -> dict[str, Any]:
    """Return the description of a feature for clients: all public members, no server internals."""
    names = ("name", "datatype", "nullable", "categories", "minimum", "maximum", "description", "example")
    return {name: getattr(feature, name) for name in names}

"""GET /api/models: what is served, described from the manifests; GET /: the page that is made of them."""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.manifest import Feature
from server.replies import JSON
from server.repository import Repository, Versions
from server.responses import json_response, revalidated
from server.runner import Runners
from server.settings import Settings


class _Document(NamedTuple):
    """The document, and the models that it was made of."""

    models: Mapping[str, Versions]
    content: bytes


class DescribeEndpoint:
    """The routes that say what is served and what it takes."""

    def __init__(self, repository: Repository, runners: Runners, settings: Settings) -> None:
        """Describe the models of `repository`, and what `runners` were asked."""
        self._repository = repository
        self._runners = runners
        self._settings = settings
        self._document: _Document | None = None

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/", self.page, methods=["GET"]),
            Route("/web/{name}", self.file, methods=["GET"]),
            Route("/api/models", self.list_models, methods=["GET"]),
            Route("/api/models/{model}", self.describe_model, methods=["GET"]),
            Route("/api/models/{model}/form", self.form, methods=["GET"]),
            Route("/api/models/{model}/service.proto", self.service, methods=["GET"]),
            Route("/api/openapi.json", self.openapi, methods=["GET"]),
            Route("/api/docs", self.docs, methods=["GET"]),
            *(
                Route(f"/api/models/{{model}}{below}/{name}", endpoint, methods=["GET"])
                for name, endpoint in (("card", self.card), ("drift", self.drift))
                for below in ("", "/versions/{version}", "/labels/{label}")
            ),
        ]

    async def page(self, request: Request) -> Response:
        """Answer the page of the default model, or of the one that `?model=` names."""
        from server.endpoints.page import page  # here, as below: no start pays for it

        return await page(request, self._repository)

    async def form(self, request: Request) -> Response:
        """Answer the part of the page that is one model's."""
        from server.endpoints.page import form

        return await form(request, self._repository)

    async def file(self, request: Request) -> Response:
        """Answer a file of the page."""
        from server.endpoints.page import file

        return await file(request)

    async def list_models(self, _request: Request) -> Response:
        """Answer `{"default": name, "models": [{...}]}`, a summary each."""
        models = [_summary(versions) for versions in self._repository.models.values()]
        return json_response({"default": self._repository.default_model, "models": models})

    async def openapi(self, request: Request) -> Response:
        """Answer the OpenAPI document of what is served now; 304 to who has it. It is made once for the same models."""
        models = dict(self._repository.models)
        document = self._document
        if document is None or document.models != models:
            content = await asyncio.to_thread(_document, self._repository, self._settings)
            document = self._document = _Document(models, content)
        return revalidated(request, document.content, JSON, {})

    async def docs(self, request: Request) -> Response:
        """Answer the page that shows the document."""
        from server.endpoints.page import docs

        return await docs(request)

    async def card(self, request: Request) -> Response:
        """Answer the model card of the version that answers, or of the one that is named."""
        from server.endpoints.card import answer  # here: no start pays for it

        return await answer(request, self._repository)

    async def drift(self, request: Request) -> Response:
        """Answer how far what a version was asked, and answered, is from what it was trained on."""
        from server.endpoints.drift import answer  # here: no start pays for it

        return answer(request, self._repository, self._runners)

    async def service(self, request: Request) -> Response:
        """Answer the .proto file of the model's typed service, for code generation."""
        from server.rpc.typed_text import text  # here: no prediction pays for it

        manifest = self._repository.versions(request.path_params["model"]).default.manifest
        return Response(text(manifest), media_type="text/plain")

    async def describe_model(self, request: Request) -> Response:
        """Answer a model's whole description: its signature, scores, parity and provenance."""
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


def _document(repository: Repository, settings: Settings) -> bytes:
    """Make the document, in a thread: what it needs is imported by the first one, and no prediction waits for it."""
    from server.openapi import document

    return msgspec.json.encode(document(repository, settings))


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
    """Describe a feature to a caller: every member written out, and none that only the server needs."""
    names = ("name", "datatype", "nullable", "categories", "minimum", "maximum", "description", "example")
    return {name: getattr(feature, name) for name in names}

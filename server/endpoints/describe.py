"""GET /api/models: what is served, described from the manifests; GET /: the page that is made of them."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.manifest import Feature
from server.repository import Repository, Versions
from server.responses import json_response
from server.settings import Settings


class DescribeEndpoint:
    """The routes that say what is served and what it takes."""

    def __init__(self, repository: Repository, settings: Settings) -> None:
        """Describe the models of `repository`."""
        self._repository = repository
        self._settings = settings

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
            Route("/api/models/{model}/card", self.card, methods=["GET"]),
            Route("/api/models/{model}/versions/{version}/card", self.card, methods=["GET"]),
            Route("/api/models/{model}/labels/{label}/card", self.card, methods=["GET"]),
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

    async def openapi(self, _request: Request) -> Response:
        """Answer the OpenAPI document of what is served now."""
        from server.openapi import document  # here: no prediction pays for it

        return json_response(document(self._repository, self._settings))

    async def card(self, request: Request) -> Response:
        """Answer the model card of the version that answers, or of the one that is named."""
        from server.endpoints.card import answer  # here: no start pays for it

        return await answer(request, self._repository)

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

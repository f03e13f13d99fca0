"""/v2: Triton extensions of the Open Inference Protocol: statistics, model configuration, repository index."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.codecs.json_errors import reason, without_bom
from server.codecs.json_types import MALFORMED
from server.errors import InvalidArgument
from server.http.message import ANY_BYTES
from server.http.request_body import read_body
from server.http.responses import json_response
from server.http.routes import V2_MODEL_VERSIONS
from server.inference.metadata import MetadataService


class TritonEndpoint:
    """Triton extension routes."""

    def __init__(self, descriptions: MetadataService, max_body_bytes: int) -> None:
        """Serve the data of `descriptions`."""
        self._descriptions = descriptions
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """Return the routes."""
        routes = [
            Route("/v2/models/stats", self.statistics, methods=["GET"]),
            Route("/v2/repository/index", self.index, methods=["POST"]),
        ]
        for model in V2_MODEL_VERSIONS:
            routes += [
                Route(f"{model}/stats", self.statistics, methods=["GET"]),
                Route(f"{model}/config", self.configuration, methods=["GET"]),
            ]
        return routes

    async def statistics(self, request: Request) -> Response:
        """Return the statistics of all models, of one model, or of one version."""
        path_params = request.path_params
        return json_response(self._descriptions.statistics(path_params.get("model"), path_params.get("version")))

    async def configuration(self, request: Request) -> Response:
        """Return the configuration of a version in Triton's format."""
        path_params = request.path_params
        return json_response(self._descriptions.configuration(path_params["model"], path_params.get("version")))

    async def index(self, request: Request) -> Response:
        """Return a bare array of all versions: the state of each, with the reason.

        `{"ready": true}` in the body selects the versions that are ready.
        """
        body = await read_body(request.scope, request.receive, self._max_body_bytes, ANY_BYTES)
        try:
            options = msgspec.json.decode(without_bom(body) or body or b"{}", type=_IndexRequest)
        except MALFORMED as error:
            message = f"expected an object with ready at most: {reason(body, error)}"
            raise InvalidArgument(f"body: {message}") from None
        return json_response(self._descriptions.index(ready=options.ready))


class _IndexRequest(msgspec.Struct):
    ready: bool = False

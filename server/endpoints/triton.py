"""/v2: Triton's extensions of the Open Inference Protocol: statistics, model configuration, repository index."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.descriptions import Descriptions
from server.errors import InvalidArgument
from server.replies import ANY_BYTES
from server.requests import read_body
from server.responses import json_response


class TritonEndpoint:
    """What Triton's clients ask beside inference."""

    def __init__(self, descriptions: Descriptions, max_body_bytes: int) -> None:
        """Tell by `descriptions`."""
        self._descriptions = descriptions
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """Return the routes."""
        routes = [
            Route("/v2/models/stats", self.statistics, methods=["GET"]),
            Route("/v2/repository/index", self.index, methods=["POST"]),
        ]
        for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes += [
                Route(f"{model}/stats", self.statistics, methods=["GET"]),
                Route(f"{model}/config", self.configuration, methods=["GET"]),
            ]
        return routes

    async def statistics(self, request: Request) -> Response:
        """Answer the statistics of every version of every model, of a model, or of the one version that is named."""
        where = request.path_params
        return json_response(self._descriptions.statistics(where.get("model"), where.get("version")))

    async def configuration(self, request: Request) -> Response:
        """Answer a version's configuration as Triton would have it."""
        where = request.path_params
        return json_response(self._descriptions.configuration(where["model"], where.get("version")))

    async def index(self, request: Request) -> Response:
        """Answer every version there is, a bare array: its state, and why it isn't ready. `{"ready": true}`: those."""
        body = await read_body(request.scope, request.receive, self._max_body_bytes, ANY_BYTES)
        try:
            asked = msgspec.json.decode(body or b"{}", type=_IndexRequest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"body: expected an object with ready at most: {error}") from None
        return json_response(self._descriptions.index(ready=asked.ready))


class _IndexRequest(msgspec.Struct):
    ready: bool = False

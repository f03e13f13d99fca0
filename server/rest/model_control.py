"""POST /v2/repository/models/{model}/load and /unload: model control for clients with the token."""

from typing import Any

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
from server.models.control import ModelControl


class AdminEndpoint:
    """Routes that change which models are served."""

    def __init__(self, control: ModelControl, max_body_bytes: int) -> None:
        """Change the served models through `control`."""
        self._control = control
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """Return the routes."""
        model = "/v2/repository/models/{model}"
        return [
            Route(f"{model}/load", self.load, methods=["POST"]),
            Route(f"{model}/unload", self.unload, methods=["POST"]),
        ]

    async def load(self, request: Request) -> Response:
        """Load a model from its folder. On failure, keep the old versions and return the reason."""
        parameters = await self._parameters(request)
        await self._control.load(request.path_params["model"], parameters)
        return json_response({})

    async def unload(self, request: Request) -> Response:
        """Unload a model; requests in progress still complete."""
        await self._parameters(request)
        await self._control.unload(request.path_params["model"])
        return json_response({})

    async def _parameters(self, request: Request) -> dict[str, Any]:
        """Check the token of a request and return the parameters in its body."""
        self._control.check_token(request.headers.get("authorization", ""))
        body = await read_body(request.scope, request.receive, self._max_body_bytes, ANY_BYTES)
        try:
            return msgspec.json.decode(without_bom(body) or body or b"{}", type=_ControlRequest).parameters
        except MALFORMED as error:
            message = f"expected an object with parameters at most: {reason(body, error)}"
            raise InvalidArgument(f"body: {message}") from None


class _ControlRequest(msgspec.Struct):
    parameters: dict[str, Any] = {}

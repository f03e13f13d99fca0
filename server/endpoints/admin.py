"""POST /v2/repository/models/{model}/load and /unload: model control, for who has the token."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.control import ModelControl
from server.errors import InvalidArgument
from server.replies import ANY_BYTES
from server.requests import read_body
from server.responses import json_response


class AdminEndpoint:
    """The routes that change what is served."""

    def __init__(self, control: ModelControl, max_body_bytes: int) -> None:
        """Change it by `control`."""
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
        """Read a model from its folder; where that fails the old versions stay, and the answer says why."""
        parameters = await self._parameters(request)
        await self._control.load(request.path_params["model"], parameters)
        return json_response({})

    async def unload(self, request: Request) -> Response:
        """Serve a model no longer; what is under way is still answered."""
        await self._parameters(request)
        await self._control.unload(request.path_params["model"])
        return json_response({})

    async def _parameters(self, request: Request) -> dict[str, Any]:
        """Return what a request that has the token gives beside the model's name."""
        self._control.check_token(request.headers.get("authorization", ""))
        body = await read_body(request.scope, request.receive, self._max_body_bytes, ANY_BYTES)
        try:
            return msgspec.json.decode(body or b"{}", type=_ControlRequest).parameters
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"body: expected an object with parameters at most: {error}") from None


class _ControlRequest(msgspec.Struct):
    parameters: dict[str, Any] = {}

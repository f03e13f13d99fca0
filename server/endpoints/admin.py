"""POST /v2/repository/models/{model}/load and /unload: model control, for who has the token."""

import asyncio
import hmac
import logging
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.endpoints.responses import json_response
from server.errors import InvalidArgument, ModelError, PermissionDenied, Unauthenticated, Unimplemented
from server.replies import ANY_BYTES
from server.repository import Repository
from server.requests import read_body
from server.settings import Settings

_log = logging.getLogger("lifeboat.admin")


class AdminEndpoint:
    """Loads and unloads models while the others, and the one in question, go on answering."""

    def __init__(self, repository: Repository, settings: Settings, changed: Callable[[], None]) -> None:
        """Change `repository`, and call `changed` after each change."""
        self._repository = repository
        self._settings = settings
        self._changed = changed
        self._one_at_a_time = asyncio.Lock()

    def routes(self) -> list[Route]:
        """Return the routes."""
        model = "/v2/repository/models/{model}"
        return [
            Route(f"{model}/load", self.load, methods=["POST"]),
            Route(f"{model}/unload", self.unload, methods=["POST"]),
        ]

    async def load(self, request: Request) -> Response:
        """Read a model from its folder, whatever was there before: the old versions serve until the new ones are warm.

        Where that fails the old versions stay, and the answer says why.
        """
        self._check_token(request)
        parameters = await self._parameters(request)
        if any(name == "config" or name.startswith("file:") for name in parameters):
            raise Unimplemented("a model is loaded from its folder: neither config nor files can be given")
        name = request.path_params["model"]
        async with self._one_at_a_time:
            try:
                versions = await asyncio.to_thread(self._repository.read, name)
            except ModelError as error:
                _log.error("load of %s refused: %s", name[:64], error)  # the message says it all
                raise InvalidArgument(f"load: {error}", field="model") from None
            self._repository.replace(versions)
            self._changed()
        _log.info("loaded %s: versions %s", name, ", ".join(map(str, versions.models)))
        return json_response({})

    async def unload(self, request: Request) -> Response:
        """Serve a model no longer; what is under way is still answered."""
        self._check_token(request)
        await self._parameters(request)
        async with self._one_at_a_time:
            self._repository.unload(request.path_params["model"])
            self._changed()
        _log.info("unloaded %s", request.path_params["model"])
        return json_response({})

    def _check_token(self, request: Request) -> None:
        """Raise PermissionDenied or Unauthenticated unless the request has the token."""
        if not self._settings.admin_token:
            raise PermissionDenied("model control is off: LIFEBOAT_ADMIN_TOKEN is not set")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("model control takes a bearer token")
        if not hmac.compare_digest(token.strip().encode(), self._settings.admin_token.encode()):
            raise PermissionDenied("the bearer token is not the one")

    async def _parameters(self, request: Request) -> dict[str, Any]:
        body = await read_body(request.scope, request.receive, self._settings.max_body_bytes, ANY_BYTES)
        try:
            return msgspec.json.decode(body or b"{}", type=_ControlRequest).parameters
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"body: expected an object with parameters at most: {error}") from None


class _ControlRequest(msgspec.Struct):
    parameters: dict[str, Any] = {}

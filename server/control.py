"""Model control: loading and unloading while the others, and the model in question, go on answering."""

import asyncio
import hmac
import logging
from collections.abc import Callable, Iterable

from server.errors import InvalidArgument, ModelError, PermissionDenied, Unauthenticated, Unimplemented
from server.repository import Repository

_log = logging.getLogger("lifeboat.admin")


class ModelControl:
    """Changes what is served, for who has the token."""

    def __init__(self, repository: Repository, token: str, changed: Callable[[], None]) -> None:
        """Change `repository`, and call `changed` after each change. Without a token nothing can be changed."""
        self._repository = repository
        self._token = token
        self._changed = changed
        self._one_at_a_time = asyncio.Lock()

    async def load(self, name: str, parameters: Iterable[str]) -> None:
        """Read a model from its folder, whatever was there before: the old versions serve until the new ones are warm.

        `parameters` are the names of what the caller gave beside it. Raises InvalidArgument where the model can't be
        served, and says why: the old versions stay.
        """
        if any(given == "config" or given.startswith("file:") for given in parameters):
            raise Unimplemented("a model is loaded from its folder: neither config nor files can be given")
        async with self._one_at_a_time:
            try:
                versions = await asyncio.to_thread(self._repository.read, name)
            except ModelError as error:
                _log.error("load of %s refused: %s", name[:64], error)  # the message says it all
                raise InvalidArgument(f"load: {error}", field="model") from None
            self._repository.replace(versions)
            self._changed()
        _log.info("loaded %s: versions %s", name, ", ".join(map(str, versions.models)))

    async def unload(self, name: str) -> None:
        """Serve a model no longer; what is under way is still answered. Raises NotFound."""
        async with self._one_at_a_time:
            self._repository.unload(name)
            self._changed()
        _log.info("unloaded %s", name)

    def check_token(self, authorization: str) -> None:
        """Raise PermissionDenied or Unauthenticated unless a request's Authorization has the token."""
        if not self._token:
            raise PermissionDenied("model control is off: LIFEBOAT_ADMIN_TOKEN is not set")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("model control takes a bearer token")
        if not hmac.compare_digest(token.strip().encode(), self._token.encode()):
            raise PermissionDenied("the bearer token is not the one")

"""Model control: what is served changes while the others, and the model in question, go on answering."""

import asyncio
import gc
import hmac
import logging
from collections.abc import Callable, Iterable

from server.errors import (
    InvalidArgument,
    MissingModelError,
    ModelError,
    PermissionDenied,
    Unauthenticated,
    Unimplemented,
)
from server.repository import Repository
from server.versions import Versions

_log = logging.getLogger("lifeboat.admin")


class ModelControl:
    """Changes what is served, one change at a time: for who has the token, and for who follows the folder."""

    def __init__(self, repository: Repository, token: str, changed: Callable[[], None]) -> None:
        """Change `repository`, and call `changed` after each change. Without a token nothing can be changed by hand."""
        self._repository = repository
        self._token = token
        self._changed = changed
        self._one_at_a_time = asyncio.Lock()

    async def load(self, name: str, parameters: Iterable[str]) -> None:
        """Read a model from its folder, whatever was there before: the old versions serve until the new ones are warm.

        `parameters` are the names of what the caller gave beside it. Raises InvalidArgument where callers who name no
        version, or a label, can't be answered by what the folder has for them, and says why: for them nothing changes.
        """
        if any(given == "config" or given.startswith("file:") for given in parameters):
            raise Unimplemented("a model is loaded from its folder: neither config nor files can be given")
        async with self._one_at_a_time:
            reason = await self._read_again(name, by_hand=True)
        if reason:
            raise InvalidArgument(f"load: {reason}", field="model")

    async def follow(self, name: str) -> None:
        """Read a model from its folder, which has changed. What can't be served is logged, once."""
        async with self._one_at_a_time:
            await self._read_again(name, by_hand=False)

    async def unload(self, name: str) -> None:
        """Serve a model no longer; what is under way is still answered. Raises NotFound."""
        async with self._one_at_a_time:
            self._repository.unload(name)
            self._changed()
        _log.info("unloaded %s", name)

    async def remove(self, name: str) -> None:
        """Serve a model no longer, and forget it: its folder is gone."""
        async with self._one_at_a_time:
            if self._repository.remove(name):
                self._changed()
                _log.info("unloaded %s: its folder is gone", name)

    def check_token(self, authorization: str) -> None:
        """Raise PermissionDenied or Unauthenticated unless a request's Authorization has the token."""
        if not self._token:
            raise PermissionDenied("model control is off: LIFEBOAT_ADMIN_TOKEN is not set")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("model control takes a bearer token")
        if not hmac.compare_digest(token.strip().encode(), self._token.encode()):
            raise PermissionDenied("the bearer token is not the one")

    async def _read_again(self, name: str, *, by_hand: bool) -> str:
        """Read a model, and put in place what can be. Returns why that isn't all that its callers are to have."""
        repository = self._repository
        try:
            versions = await asyncio.to_thread(repository.read, name, by_hand=by_hand)
        except ModelError as error:  # nothing of it was served before
            reason = str(error) if repository.loader is None else repository.loader.told(error)
            if by_hand or repository.failed.get(name) != reason:
                _log.error("load of %s refused: %s", name[:64], reason)  # the message says it all
            if not isinstance(error, MissingModelError):
                repository.fail(name, reason)
                repository.count(name, "refused")
            return reason
        is_other, reason = self._put_in_place(versions)
        if is_other:
            gc.collect()  # 2 ms: types made for a model stand in circles, and would gather until many of them are there
            _log.info("loaded %s: %s", name, _told(versions))
        repository.count(name, "refused" if reason else "changed" if is_other else "unchanged")
        return reason

    def _put_in_place(self, versions: Versions) -> tuple[bool, str]:
        """Serve what was read. Returns whether it is other than before, and why it isn't all that it should be.

        Where an interface can't be made for it, what nobody foresaw, what was served before is served again.
        """
        name = versions.name
        served, failed = self._repository.models.get(name), self._repository.failed.get(name, "")
        if not self._repository.replace(versions):
            return False, versions.problem
        try:
            self._changed()
        except Exception:  # noqa: BLE001 # logged, whatever it is
            reason = f"{name}: no interface can be made for it; the log says more"
            _log.exception(reason)
            if served is None:
                self._repository.fail(name, failed or reason)
            else:
                self._repository.replace(served.refusing(reason))
            self._changed()
            return False, reason
        return True, versions.problem


def _told(versions: Versions) -> str:
    labels = ", ".join(f"{label} is {version}" for label, version in versions.labels.items())
    return f"versions {', '.join(map(str, versions.models))}" + (f"; {labels}" if labels else "")

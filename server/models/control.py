"""Model control: load, unload and reload models while all models keep serving."""

import asyncio
import gc
import hmac
import logging
from collections.abc import Callable, Iterable
from functools import partial
from weakref import WeakValueDictionary

from server.errors import (
    InvalidArgument,
    MissingModelError,
    ModelError,
    PermissionDenied,
    Unauthenticated,
    Unimplemented,
)
from server.models.free_memory import release_free_memory
from server.models.repository import Repository
from server.models.threads import in_new_thread
from server.models.versions import Versions

_log = logging.getLogger("lifeboat.admin")


class ModelControl:
    """Changes the served models, one change per model at a time.

    Clients with the token and the repository watcher use it.
    """

    def __init__(self, repository: Repository, token: str, on_change: Callable[[], None]) -> None:
        """Change `repository`, and call `on_change` after each change.

        Without a token, clients can't change anything.
        """
        self._repository = repository
        self._token = token
        self._on_change = on_change
        self._unloads: dict[str, int] = {}
        """Number of unloads of each model while a load might have been running."""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def load(self, name: str, parameters: Iterable[str]) -> None:
        """Reload a model from its folder; old versions serve until new ones are warm."""
        if any(parameter == "config" or parameter.startswith("file:") for parameter in parameters):
            raise Unimplemented("a model is loaded from its folder: config and files in the request are not supported")
        async with self._lock(name):
            reason = await self._reload(name, is_manual=True)
        if reason:
            raise InvalidArgument(f"load: {reason}", field="model")

    async def follow(self, name: str) -> None:
        """Reload a model whose folder has changed. Each error is logged once."""
        async with self._lock(name):
            await self._reload(name, is_manual=False)

    async def unload(self, name: str) -> None:
        """Unload a model; running requests still get their responses. Raises NotFound."""
        self._repository.unload(name)
        self._give_up_loads(name)
        self._on_change()
        _log.info("unloaded %s", name)

    async def remove(self, name: str) -> None:
        """Unload a model whose folder was removed, and drop its state."""
        self._give_up_loads(name)
        if self._repository.remove(name):
            self._on_change()
            _log.info("unloaded %s: its folder was removed", name)

    def _lock(self, name: str) -> asyncio.Lock:
        """Return the lock of a model's changes: a slow load delays only that model."""
        return self._locks.setdefault(name, asyncio.Lock())

    def _give_up_loads(self, name: str) -> None:
        """Discard the running loads of a model, which may take long: it is unloaded now."""
        self._unloads[name] = self._unloads.get(name, 0) + 1

    def check_token(self, authorization: str) -> None:
        """Raise PermissionDenied or Unauthenticated unless a request's Authorization has the token."""
        if not self._token:
            raise PermissionDenied("model control is disabled: LIFEBOAT_ADMIN_TOKEN is not set")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("model control requires a bearer token")
        if not hmac.compare_digest(token.strip().encode(), self._token.encode()):
            raise PermissionDenied("the bearer token is wrong")

    async def _reload(self, name: str, *, is_manual: bool) -> str:
        """Reload a model, and serve the versions that can be served.

        Returns the reason if some versions that clients request can't be served, else "".
        """
        repository = self._repository
        unloads = self._unloads.get(name)
        try:
            versions = await in_new_thread(partial(repository.read, name, is_manual=is_manual))
        except ModelError as error:  # no version of it was served before
            reason = str(error) if repository.loader is None else repository.loader.reason(error)
            if is_manual or repository.failed.get(name) != reason:
                _log.error("load of %s rejected: %s", name[:64], reason)  # the message is complete without a traceback
            if not isinstance(error, MissingModelError):
                repository.fail(name, reason)
                repository.count(name, "refused")
            return reason
        except Exception:  # noqa: BLE001 # logged
            return self._keep_serving(name)
        if self._unloads.get(name) != unloads:
            return f"{name[:64]}: it was unloaded during the load"
        has_changed, reason = self._serve(versions)
        if has_changed:
            gc.collect()  # 2 ms: a model's types are in reference cycles, and many would pile up before a collection
            await asyncio.to_thread(release_free_memory)  # the thread of each load has its own heap
            _log.info("loaded %s: %s", name, _summary(versions))
        repository.count(name, "refused" if reason else "changed" if has_changed else "unchanged")
        return reason

    def _keep_serving(self, name: str) -> str:
        """Keep serving the current versions after an unexpected reload error. Returns the reason.

        Call this in the exception handler.
        """
        reason = f"{name[:64]}: it can't be read; see the server's log"
        _log.exception(reason)
        served = self._repository.models.get(name)
        if served is None:
            self._repository.fail(name, reason)
        else:
            self._repository.replace(served.with_reload_error(reason))
        self._repository.count(name, "refused")
        return reason

    def _serve(self, versions: Versions) -> tuple[bool, str]:
        """Serve the loaded versions. Returns whether they changed, and the problem if there is one.

        If an interface can't be created for them (an unexpected error), the previous versions are served again.
        """
        name = versions.name
        served, failed = self._repository.models.get(name), self._repository.failed.get(name, "")
        if not self._repository.replace(versions):
            return False, versions.problem
        try:
            self._on_change()
        except Exception:  # noqa: BLE001 # logged
            reason = f"{name}: its typed service can't be created; see the server's log"
            _log.exception(reason)
            if served is None:
                self._repository.fail(name, failed or reason)
            else:
                self._repository.replace(served.with_reload_error(reason))
            self._on_change()
            return False, reason
        return True, versions.problem


def _summary(versions: Versions) -> str:
    labels = ", ".join(f"{label} is {version}" for label, version in versions.labels.items())
    return f"versions {', '.join(map(str, versions.models))}" + (f"; {labels}" if labels else "")

"""/package.Service/Method: the door to the RPC layer, which is imported when the first call comes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

if TYPE_CHECKING:
    from server.rpc.services import Services


def is_call(path: str) -> bool:
    """Return whether a path is that of a call: a service, whose name has its package before it, and a method."""
    service, _, method = path[1:].partition("/")
    return "." in service and bool(method) and "/" not in method


class RpcDoor:
    """Answers calls. A start without HTTP/2 doesn't pay for what they need, the first call does."""

    def __init__(self, make: "Callable[[type[Services]], Services]", loaded: Callable[[], None]) -> None:
        """Let `make` make the services, and call `loaded` when they are there."""
        self._make = make
        self._loaded = loaded
        self._services: Services | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call."""
        await self.load()(scope, receive, send)

    def load(self) -> "Services":
        """Return the services; import and make them where that hasn't been done."""
        if self._services is None:
            from server.rpc.services import Services

            self._services = self._make(Services)
            self._loaded()
        return self._services

    @property
    def services(self) -> "Services | None":
        """The services, where they were made."""
        return self._services

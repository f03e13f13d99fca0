"""RPC application that imports the RPC layer on the first call."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from server.errors import RequestError
from server.http.message import Headers, HttpResponse

if TYPE_CHECKING:
    from server.rpc.app import Services


class LazyRpcApp:
    """ASGI application that loads the RPC services on demand.

    A server start without HTTP/2 does not pay the import cost; the first call pays it.
    """

    def __init__(self, make: "Callable[[type[Services]], Services]", on_load: Callable[[], None]) -> None:
        """Create the services with `make`, then call `on_load`."""
        self._make = make
        self._on_load = on_load
        self._services: Services | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one RPC call."""
        await self.load()(scope, receive, send)

    def load(self) -> "Services":
        """Return the services; import and create them on the first use."""
        if self._services is None:
            from server.rpc.app import Services

            self._services = self._make(Services)
            self._on_load()
        return self._services

    def reject(self, error: RequestError, headers: Headers) -> HttpResponse:
        """Return the response to a call rejected for its headers, in the client's protocol.

        The content type of the request selects the protocol.
        """
        from server.rpc.negotiation import error_response

        return error_response(error, headers)

    @property
    def services(self) -> "Services | None":
        """The services; None if they are not loaded yet."""
        return self._services

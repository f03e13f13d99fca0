"""gRPC health service grpc.health.v1.Health, for orchestrators and load balancers.

It reports the state of the server and of each service by name.
"""

from collections.abc import AsyncIterator, Callable
from typing import Final

from server.errors import NotFound
from server.http.lifecycle import Draining
from server.rpc.method import Context
from server.rpc.proto import health_pb2 as pb

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Health"]
SERVING: Final = pb.HealthCheckResponse.SERVING
NOT_SERVING: Final = pb.HealthCheckResponse.NOT_SERVING


class HealthHandlers:
    """Handlers of the health service; `names` returns the current service names."""

    def __init__(self, names: Callable[[], list[str]], draining: Draining) -> None:
        """Report services as serving until `draining` begins."""
        self._names = names
        self._draining = draining

    async def check(self, request: pb.HealthCheckRequest, _context: Context) -> pb.HealthCheckResponse:
        """Return the status of a service, or of the server if no name is given.

        Raises NotFound.
        """
        if request.service and request.service not in self._names():
            raise NotFound(f"there is no service {request.service[:128]!r}", field="service")
        return pb.HealthCheckResponse(status=self._status())

    async def list(self, _request: pb.HealthListRequest, _context: Context) -> pb.HealthListResponse:
        """Return the status of the server, under the empty name, and of each service."""
        status = pb.HealthCheckResponse(status=self._status())
        return pb.HealthListResponse(statuses=dict.fromkeys(["", *self._names()], status))

    async def watch(self, request: pb.HealthCheckRequest, _context: Context) -> AsyncIterator[pb.HealthCheckResponse]:
        """Yield the status now and again when the server starts to drain, then end."""
        if request.service and request.service not in self._names():
            yield pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVICE_UNKNOWN)
        else:
            yield pb.HealthCheckResponse(status=self._status())
        if not self._draining.has_begun:
            await self._draining.wait_for_begin()
            yield pb.HealthCheckResponse(status=NOT_SERVING)

    def _status(self) -> pb.HealthCheckResponse.ServingStatus:
        return NOT_SERVING if self._draining.has_begun else SERVING

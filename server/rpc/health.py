"""grpc.health.v1.Health: what orchestrators and load balancers ask, of the server and of each service by its name."""

from collections.abc import AsyncIterator, Callable
from typing import Final

from server.draining import Draining
from server.errors import NotFound
from server.rpc.methods import Context
from server.rpc.proto import health_pb2 as pb

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Health"]
SERVING: Final = pb.HealthCheckResponse.SERVING
NOT_SERVING: Final = pb.HealthCheckResponse.NOT_SERVING


class HealthHandlers:
    """Tells of the services that `names` gives when it is asked."""

    def __init__(self, names: Callable[[], list[str]], draining: Draining) -> None:
        """Tell of services; all of them stop serving when `draining` begins."""
        self._names = names
        self._draining = draining

    async def check(self, request: pb.HealthCheckRequest, _context: Context) -> pb.HealthCheckResponse:
        """Answer for a service, or for the server where none is named. Raises NotFound."""
        if request.service and request.service not in self._names():
            raise NotFound(f"there is no service {request.service[:128]!r}", field="service")
        return pb.HealthCheckResponse(status=self._status())

    async def list(self, _request: pb.HealthListRequest, _context: Context) -> pb.HealthListResponse:
        """Answer for the server, under the empty name, and for each service."""
        status = pb.HealthCheckResponse(status=self._status())
        return pb.HealthListResponse(statuses=dict.fromkeys(["", *self._names()], status))

    async def watch(self, request: pb.HealthCheckRequest, _context: Context) -> AsyncIterator[pb.HealthCheckResponse]:
        """Answer now, and once more when the server begins to drain, which ends it."""
        if request.service and request.service not in self._names():
            yield pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVICE_UNKNOWN)
        else:
            yield pb.HealthCheckResponse(status=self._status())
        if not self._draining.has_begun:
            await self._draining.begins()
            yield pb.HealthCheckResponse(status=NOT_SERVING)

    def _status(self) -> pb.HealthCheckResponse.ServingStatus:
        return NOT_SERVING if self._draining.has_begun else SERVING

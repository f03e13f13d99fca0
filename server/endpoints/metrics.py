"""GET /metrics: what the server has done, for Prometheus."""

import asyncio
from types import ModuleType

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.repository import Repository
from server.runner import Runners
from server.start import Start


class MetricsEndpoint:
    """The route that a scraper calls."""

    def __init__(self, repository: Repository, runners: Runners, start: Start) -> None:
        """Tell what of `repository` is served, what `runners` have done, and how long the `start` took."""
        self._repository = repository
        self._runners = runners
        self._start = start

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route("/metrics", self.metrics, methods=["GET"])]

    async def metrics(self, _request: Request) -> Response:
        """Answer in Prometheus's text format, version 0.0.4."""
        metrics = await asyncio.to_thread(_import)
        text = metrics.exposition(self._repository, self._runners, self._start)
        return Response(text, media_type=metrics.CONTENT_TYPE)


def _import() -> ModuleType:
    """Import the library at the first scrape: a start never pays for it, and nobody's prediction waits for it."""
    from server import metrics

    return metrics

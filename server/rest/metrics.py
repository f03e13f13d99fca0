"""GET /metrics: server metrics for Prometheus."""

import asyncio
from types import ModuleType

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.http.lifecycle import Start
from server.http.watchdog import Watchdog
from server.inference.runner import Runners
from server.models.repository import Repository


class MetricsEndpoint:
    """The route that a Prometheus scraper calls."""

    def __init__(self, repository: Repository, runners: Runners, start: Start, watchdog: Watchdog) -> None:
        """Export the state of `repository`, `runners`, the `start` and the event loop `watchdog`."""
        self._repository = repository
        self._runners = runners
        self._start = start
        self._watchdog = watchdog
        self._metrics: ModuleType | None = None

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route("/metrics", self.metrics, methods=["GET"])]

    async def metrics(self, _request: Request) -> Response:
        """Return the metrics in Prometheus text format, version 0.0.4."""
        metrics = self._metrics
        if metrics is None:
            metrics = self._metrics = await asyncio.to_thread(_import)
        text = metrics.exposition(self._repository, self._runners, self._start, self._watchdog)
        return Response(text, media_type=metrics.CONTENT_TYPE)


def _import() -> ModuleType:
    """Import the metrics library at the first scrape: neither startup nor predictions wait for it."""
    from server.telemetry import metrics

    return metrics

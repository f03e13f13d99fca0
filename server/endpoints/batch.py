"""POST or PUT /api/batch: a file of rows in, a file of scored rows out, as a stream."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import InvalidArgument, ResourceExhausted
from server.repository import Repository
from server.requests import timeout
from server.runner import Runners
from server.settings import Settings

if TYPE_CHECKING:
    from server.asked import Asked


class BatchEndpoint:
    """The routes that take files, for the default model and for a named model, version or label."""

    def __init__(self, repository: Repository, runners: Runners, settings: Settings) -> None:
        """Answer from the models of `repository`."""
        self._repository = repository
        self._runners = runners
        self._settings = settings
        self._executor: ThreadPoolExecutor | None = None
        self._under_way = 0

    def routes(self) -> list[Route]:
        """Return the routes."""
        model = "/api/models/{model}"
        paths = (
            "/api/batch",
            f"{model}/batch",
            f"{model}/versions/{{version}}/batch",
            f"{model}/labels/{{label}}/batch",
        )
        return [Route(path, self.batch, methods=["POST", "PUT"]) for path in paths]

    async def batch(self, request: Request) -> ASGIApp:
        """Take a file. What can be told from the head alone is refused before a byte of it is read."""
        where = request.path_params
        model = self._repository.resolve(where.get("model"), where.get("version"), where.get("label"))
        if request.scope["http_version"] == "1.0":
            raise InvalidArgument("request: expected HTTP/1.1 or 2: 1.0 can't tell an answer that is broken off")
        if self._executor is None:
            await asyncio.to_thread(_import)
        from server.asked import asked_for

        asked = asked_for(model, request.query_params, request.headers)
        timeout_s = timeout(request.scope)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await self._answer(asked, timeout_s, scope, receive, send)

        return answer

    async def _answer(
        self, asked: "Asked", timeout_s: float | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Score one file in a thread, and count it. Raises ResourceExhausted where as many are under way as may be."""
        from server.endpoints.scored import ScoredFile

        if self._under_way >= self._settings.max_batches:
            raise ResourceExhausted(f"{self._under_way} files are being scored, as many as may be; try again")
        self._under_way += 1
        runner = self._runners[asked.model]
        counters = runner.counters
        counters.pending += 1
        try:
            self._executor = self._executor or self._threads()
            file = ScoredFile(asked, self._settings, runner, scope, send)
            await file.answer(self._executor, timeout_s, receive)
        finally:
            counters.pending -= 1
            self._under_way -= 1

    def _threads(self) -> ThreadPoolExecutor:
        from server.batch import SWITCH_S, yield_to_others

        sys.setswitchinterval(SWITCH_S)
        return ThreadPoolExecutor(self._settings.max_batches, "batch", yield_to_others)


def _import() -> None:
    """Import what files need, when the first comes, in a thread: no start and nobody's prediction waits for it."""
    import server.batch
    import server.endpoints.scored  # noqa: F401

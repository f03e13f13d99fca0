"""POST or PUT /api/batch: score a file of rows and stream the scored rows."""

import asyncio
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import DeadlineExceeded, InvalidArgument, RequestError, ResourceExhausted
from server.http.handler import min_timeout
from server.http.request_body import timeout
from server.http.routes import API_MODEL_ROOTS
from server.inference.runner import Runner, Runners
from server.models.free_memory import release_free_memory
from server.models.repository import Repository
from server.models.session import Model
from server.settings import Settings

if TYPE_CHECKING:
    from server.batch.options import BatchOptions
    from server.http.multipart import FormFile


_SMALL_S = 0.02
"""Maximum duration of a batch that needs no release of memory, in seconds.

After a longer batch, free memory is returned to the operating system."""


class BatchEndpoint:
    """Batch routes of the default model and of a named model, version or label."""

    def __init__(self, repository: Repository, runners: Runners, settings: Settings) -> None:
        """Serve the models of `repository`."""
        self._repository = repository
        self._runners = runners
        self._settings = settings
        self._executor: ThreadPoolExecutor | None = None
        self._running = 0

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(f"{root}/batch", self.batch, methods=["POST", "PUT"]) for root in API_MODEL_ROOTS]

    async def batch(self, request: Request) -> ASGIApp:
        """Validate the request headers and return the application that scores the file.

        Errors that are visible in the headers are raised before any byte of the body is read.
        """
        path_params = request.path_params
        model = self._repository.resolve(path_params.get("model"), path_params.get("version"), path_params.get("label"))
        if request.scope["http_version"] == "1.0":
            raise InvalidArgument("request: expected HTTP/1.1 or 2: 1.0 can't signal that a response is incomplete")
        if self._executor is None:
            await asyncio.to_thread(_import)
        from server.batch.options import parse_options
        from server.http.multipart import boundary_of, without_form

        boundary = boundary_of(request.headers)
        headers = request.headers if boundary is None else without_form(request.headers)
        options = parse_options(model, request.query_params, headers)
        timeout_s = timeout(request.scope)

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            with self._count_running(model) as runner:
                if boundary is None:
                    await self._score(options, timeout_s, scope, receive, send)
                    return
                file, media_type = await self._open_file(runner, boundary, timeout_s, receive)
                form_options = parse_options(model, request.query_params, without_form(request.headers, media_type))
                await self._score(form_options, timeout_s, scope, file.receive, send)

        return respond

    async def _score(
        self, options: "BatchOptions", timeout_s: float | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Score one file in a thread."""
        from server.batch.response import ScoredFile

        self._executor = self._executor or self._threads()
        file = ScoredFile(options, self._settings, self._runners[options.model], scope, send)
        await file.respond(self._executor, timeout_s, receive)

    @contextmanager
    def _count_running(self, model: Model) -> Iterator[Runner]:
        """Count a batch of `model` while it runs.

        Raises ResourceExhausted if `max_batches` batches are already running.
        """
        if self._running >= self._settings.max_batches:
            raise ResourceExhausted(f"{self._running} files are being scored, which is the maximum; try again")
        self._running += 1
        runner = self._runners[model]
        runner.counters.pending += 1
        clock = asyncio.get_running_loop().time
        start_s = clock()
        try:
            yield runner
        finally:
            runner.counters.pending -= 1
            self._running -= 1
            if self._executor is not None and clock() - start_s > _SMALL_S:
                self._executor.submit(release_free_memory)

    async def _open_file(
        self, runner: Runner, boundary: bytes, timeout_s: float | None, receive: Receive
    ) -> "tuple[FormFile, str]":
        """Return the file of a multipart form and its media type.

        Raises RequestError if the form has no file, DeadlineExceeded if the file does not begin in time.
        """
        from server.http.multipart import FormFile

        file = FormFile(receive, boundary)
        try:
            async with asyncio.timeout(min_timeout(timeout_s, self._settings.max_idle_s)):
                return file, (await file.open()).table_type()
        except TimeoutError:
            timeout_error = DeadlineExceeded("the deadline passed before the form's file began")
            runner.counters.fail(timeout_error)
            raise timeout_error from None
        except RequestError as error:
            runner.counters.fail(error)
            raise

    def _threads(self) -> ThreadPoolExecutor:
        from server.batch.job import SWITCH_S, lower_priority

        sys.setswitchinterval(SWITCH_S)
        return ThreadPoolExecutor(self._settings.max_batches, "batch", lower_priority)


def _import() -> None:
    """Import the batch modules in a thread: neither startup nor predictions wait for it."""
    import server.batch.job
    import server.batch.response
    import server.http.multipart  # noqa: F401

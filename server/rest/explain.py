"""POST /api/explain: return predictions for feature records, each with its feature contributions."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import msgspec
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import Canceled, DeadlineExceeded, ResourceExhausted
from server.http.handler import SHORT_BYTES
from server.http.message import Body
from server.http.request_body import ReceivedBody, receive_body, timeout, wait_for_disconnect
from server.http.request_context import current
from server.http.responses import asgi_response, envelope, failure
from server.http.routes import API_MODEL_ROOTS
from server.inference.runner import Runners
from server.inference.statistics import Counters
from server.models.repository import Repository
from server.models.session import Model
from server.settings import Settings

if TYPE_CHECKING:
    from server.inference.explain.explainer import Explainer, Turns

T = TypeVar("T")


class _Target(NamedTuple):
    """The model version of a request, its explainer and its counters."""

    model: Model
    explainer: "Explainer"
    counters: Counters


class ExplainEndpoint:
    """Explanation routes of the default model and of a named model, version or label."""

    def __init__(self, repository: Repository, runners: Runners, settings: Settings) -> None:
        """Explain the predictions of the models of `repository`."""
        self._repository = repository
        self._runners = runners
        self._settings = settings
        self._explainers: WeakKeyDictionary[Model, Explainer] = WeakKeyDictionary()
        self._turns: Turns | None = None
        self._running = 0

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(f"{root}/explain", self.explain, methods=["POST"]) for root in API_MODEL_ROOTS]

    async def explain(self, request: Request) -> ASGIApp:
        """Explain `{"pclass":1,...}` or `{"records":[{...},...]}`.

        A model that cannot be explained is rejected before the body is read.
        """
        path_params = request.path_params
        model = self._repository.resolve(path_params.get("model"), path_params.get("version"), path_params.get("label"))
        if self._turns is None:
            await asyncio.to_thread(_import)
        explainer = self._explainer(model)

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            counters = self._runners[model].explanations
            start_ns = time.perf_counter_ns()
            try:
                body = await self._respond(_Target(model, explainer, counters), scope, receive)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 # nothing is sent yet: send any error
                request_error = failure(error, scope["headers"])
                counters.fail(request_error, time.perf_counter_ns() - start_ns)
                body = envelope(request_error)
            else:
                counters.requests += 1
                counters.request_ns += time.perf_counter_ns() - start_ns
            await asgi_response(body)(scope, receive, send)

        return respond

    def _explainer(self, model: Model) -> "Explainer":
        """Return the explainer of a model, created on first use."""
        from server.inference.explain.explainer import Explainer, Turns

        if self._turns is None:
            self._turns = Turns()
        if model not in self._explainers:
            self._explainers[model] = Explainer(model.manifest, model.signature, self._settings)
        return self._explainers[model]

    async def _respond(self, target: "_Target", scope: Scope, receive: Receive) -> Body:
        """Return the response to a request.

        Raises RequestError: DeadlineExceeded if the deadline passes, Canceled if the client disconnects.
        """
        loop = asyncio.get_running_loop()
        self._check_room()
        timeout_s = timeout(scope)
        due_s = None if timeout_s is None else loop.time() + timeout_s
        try:
            async with asyncio.timeout_at(due_s):
                body = await receive_body(scope, receive, self._settings.max_body_bytes)
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before the request was complete") from None
        return await _run_until_disconnect(self._explain(target, body), receive, due_s)

    def _check_room(self) -> None:
        """Raise ResourceExhausted if the maximum number of explanations is already running."""
        if self._running >= self._settings.max_explanations:
            raise ResourceExhausted(f"{self._running} explanations are in progress, which is the maximum; try again")

    async def _decode(self, explainer: "Explainer", body: ReceivedBody) -> tuple[Sequence[Any], bool]:
        """Return the columns of a body, and whether it was a list. Decodes a large body in a thread."""
        small = body.small(SHORT_BYTES)
        if small is not None:
            return explainer.decode(small)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._runners.executor, lambda: explainer.decode(body.take()))

    async def _explain(self, target: "_Target", body: ReceivedBody) -> Body:
        """Return the response to a body. Raises ResourceExhausted if too many explanations are running."""
        model, explainer, counters = target
        self._check_room()  # check again: other requests may have started while the body arrived
        assert self._turns is not None  # noqa: S101 # created with the first explainer
        self._running += 1
        counters.pending += 1
        try:
            columns, several = await self._decode(explainer, body)
            if (observation := current.get()) is not None:
                observation.add_rows(model.name, model.version, len(columns[0]))
            explanations = await explainer.explain(model, columns, self._turns, counters)
        finally:
            self._running -= 1
            counters.pending -= 1
        response: dict[str, Any] = {"model": model.name, "version": model.version}
        return msgspec.json.encode(response | ({"explanations": explanations} if several else explanations[0]))


async def _run_until_disconnect(explanation: Coroutine[Any, Any, T], receive: Receive, due_s: float | None) -> T:
    """Return the result of `explanation`; cancel it if the client disconnects or `due_s` passes."""
    loop = asyncio.get_running_loop()
    task, disconnect = loop.create_task(explanation), loop.create_task(wait_for_disconnect(receive))
    try:
        timeout_s = None if due_s is None else max(0.0, due_s - loop.time())
        done, _ = await asyncio.wait((task, disconnect), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        if disconnect in done:
            raise Canceled("the client disconnected before the response")
        raise DeadlineExceeded("the deadline passed before the response")
    finally:
        disconnect.cancel()
        if task.cancel():
            await asyncio.wait((task,))  # a run that has started must end first


def _import() -> None:
    """Import the explainer in a thread on first use: predictions do not wait for it."""
    import server.inference.explain.explainer  # noqa: F401
